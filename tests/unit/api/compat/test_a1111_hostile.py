"""Requests that are made to harm A1111's routes: each gets the right 4xx, and nothing happens."""

import struct
import zlib
from base64 import b64encode
from typing import Any

import msgspec
import pytest

from tests.unit.api.compat.a1111_stage import IMAGES, TEXTS, add_checkpoint, png
from tests.unit.api.sample_pictures import PNG_TEXT, moving
from tests.unit.api.stage import Stage

DETECT, REMBG, EXTRA, INFO = (
    "/controlnet/detect", "/rembg", "/sdapi/v1/extra-single-image", "/sdapi/v1/png-info",
)  # fmt: skip


def bomb(side_px: int) -> str:
    """A small file that says to have very many pixels."""
    head = struct.pack(">IIBBBBB", side_px, side_px, 8, 6, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def packed_text() -> str:
    """A text that is a thousand times longer when it is unpacked."""
    data = b"parameters\0\0" + zlib.compress(bytes(50_000_000))
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    file = png()
    return b64encode(file[:33] + chunk + file[33:]).decode()


NO_IMAGES = {
    "a bomb": bomb(60_000),
    "too large": bomb(9_000),
    "no base64": "\u20ac\u20ac\u20ac",
    "half": PNG_TEXT[: len(PNG_TEXT) // 2],
    "of no type": b64encode(b"GIF89a" + bytes(100)).decode(),
    "moving": b64encode(moving("WEBP")).decode(),
    "an address": "https://127.0.0.1:1/a.png",
    "a file": "file:///etc/passwd",
    "a path": "/etc/passwd",
    "tiny": b64encode(png(size=(1, 1))).decode(),
    "a text that grows": packed_text(),
}
FIELDS = {
    IMAGES: lambda image: {"init_images": [image]},
    DETECT: lambda image: {"controlnet_images": [image], "controlnet_module": "canny"},
    REMBG: lambda image: {"input_image": image},
    EXTRA: lambda image: {"image": image, "upscaler_1": "Lanczos"},
    INFO: lambda image: {"image": image},
}


@pytest.fixture(autouse=True)
def checkpoint(stage: Stage) -> None:
    add_checkpoint(stage)
    add_checkpoint(stage, "c1", "net", model_type="controlnet", control_type="canny")
    add_checkpoint(stage, "b1", "u2net", model_type="background")


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_image_is_refused_before_anything_happens(stage: Stage, path: str, name: str) -> None:
    is_image = name == "a text that grows" and path != INFO
    if is_image:
        return  # its text is never unpacked there
    result = stage.post(path, FIELDS[path](NO_IMAGES[name]))
    assert result.status_code == 422, result.text
    assert len(result.text) < 2_000
    assert stage.bus.asked == []


@pytest.mark.parametrize(
    "said",
    [
        {"batch_size": 10_000, "n_iter": 10_000},
        {"n_iter": 0},
        {"n_iter": -5},
        {"width": 0},
        {"width": -512},
        {"height": 100_000},
        {"width": 8_192, "height": 8_192},
        {"steps": 10**30},
        {"seed": 1 << 63},
        {"seed": -2},
        {"cfg_scale": "inf"},
        {"cfg_scale": [7]},
        {"prompt": {"a": 1}},
        {"prompt": 5},
        {"override_settings": []},
        {"override_settings": {"sd_model_checkpoint": {"$ne": None}}},
        {"override_settings": {"sd_model_checkpoint": "../../etc/passwd"}},
        {"override_settings": {"sd_model_checkpoint": "x" * 100_000}},
        {"override_settings": {"sd_vae": "\u0000"}},
        {"sampler_name": "x" * 1_001},
        {"scheduler": "\u202eKarras"},
        {"alwayson_scripts": {"controlnet": {"args": [5]}}},
        {"alwayson_scripts": {"controlnet": {"args": [{"image": [PNG_TEXT], "model": "net"}]}}},
        {"alwayson_scripts": {"controlnet": {"args": [{"image": PNG_TEXT, "model": "net", "module": ".."}]}}},
        {"alwayson_scripts": {"controlnet": {"args": [{"image": bomb(60_000), "model": "net"}]}}},
        {"alwayson_scripts": {"eval": {"args": ["os.system('id')"]}}},
        {"script_name": "__import__('os')"},
        {"script_args": "x"},
        {"force_task_id": "x" * 1_001},
        {"force_task_id": ["x"]},
    ],
)  # fmt: skip
def test_values_beyond_sense_are_refused(stage: Stage, said: dict[str, Any]) -> None:
    result = stage.post(TEXTS, said)
    assert result.status_code in (404, 409, 413, 422), result.text
    assert set(result.json) == {"error", "detail", "body", "errors"}
    assert len(result.text) < 10_000
    assert stage.bus.asked == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"null", 422),
        (b"[" * 100, 400),
        (b'{"steps": 1, "steps": 2}', 400),
        (b'{"steps": NaN}', 400),
        (b"\xff\xfe", 400),
        (b'{"alwayson_scripts": ' + b'{"a":' * 40 + b"1" + b"}" * 41, 400),
        (msgspec.json.encode({f"f{number}": 1 for number in range(300)}), 413),
        (msgspec.json.encode({"script_args": list(range(5_000))}), 413),
    ],
)
def test_bodies_beyond_sense_are_refused(stage: Stage, body: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    for path in (TEXTS, "/sdapi/v1/options", "/internal/progress"):
        result = stage.call("POST", path, body=body, headers=headers)
        assert result.status_code == status, (path, result.text)
        assert set(result.json) == {"error", "detail", "body", "errors"}
    assert stage.bus.asked == []


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_page_cannot_send_jobs_by_a_form(stage: Stage, content_type: str) -> None:
    result = stage.call("POST", TEXTS, body=b'{"prompt": "x"}', headers={"Content-Type": content_type})
    assert result.status_code == 415


def test_pages_of_other_origins_change_nothing(stage: Stage) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        for path in (TEXTS, "/sdapi/v1/options", "/sdapi/v1/interrupt", "/sdapi/v1/unload-checkpoint"):
            result = stage.post(path, {}, headers=headers)
            assert (result.status_code, result.json["error"]) == (403, "forbidden_origin")
    assert stage.get("/sdapi/v1/options", host="evil.example").status_code == 403


@pytest.mark.parametrize("text", ["x" * 5_000, "\u00e4\r\nSet-Cookie: a=1", "\x7f\x1b[31m", "a, b; c"])
def test_names_that_are_told_stay_within_one_short_header(stage: Stage, text: str) -> None:
    result = stage.get("/sdapi/v1/samplers", params={text: "1"})
    told = result.headers["x-spoon-warnings"]
    assert "set-cookie" not in result.headers
    assert len(told) <= 4_000
    assert told.isascii()
    assert told.isprintable()
