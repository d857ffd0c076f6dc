"""POST /v1/jobs with pictures: as base64 in JSON, and as files of a form."""

import hashlib
from io import BytesIO
from typing import Any

import falcon.testing
import numpy as np
import pytest
from PIL import ExifTags, Image

from engine_worker.engine.images.input_image import decode_mask
from kernel.protocol.client import JobValid, SubmitJob
from kernel.protocol.enums import ControlType, InputKind, MaskMode
from kernel.protocol.ids import EngineId
from kernel.protocol.masks import MASK_THRESHOLD
from kernel.protocol.model_refs import ControlUse, InputFile, LoraUse
from tests.unit.api.fake_bus import accepted
from tests.unit.api.forms import HEADERS, Part, file, form, text
from tests.unit.api.sample_pictures import JPEG, PNG, PNG_TEXT, WEBP, as_text, picture
from tests.unit.api.stage import Stage, fields_of

ENGINE = text("engine_id", "e1")


@pytest.fixture(autouse=True)
def a_willing_manager(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = accepted()


def send(stage: Stage, *parts: Part) -> falcon.testing.Result:
    return stage.post("/v1/jobs", body=form(*parts), headers=HEADERS)


def ask_of(stage: Stage) -> SubmitJob:
    assert isinstance(stage.last_ask, SubmitJob)
    return stage.last_ask


def test_pictures_in_json_travel_as_they_were(stage: Stage) -> None:
    job = {
        "engine_id": "e1",
        "pose_image_blob": as_text(WEBP),
        "mask_image_blob": f"data:image/jpeg;base64,{as_text(JPEG)}",
        "reference_image_blob": PNG_TEXT,
    }
    assert stage.post("/v1/jobs", job).status_code == 202
    ask = ask_of(stage)
    assert ask.request.inputs == (InputKind.REFERENCE, InputKind.MASK, InputKind.POSE)
    assert stage.bus.blobs == [(PNG, JPEG, WEBP)]
    assert ask.files == tuple(
        InputFile(mime=mime, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for data, mime in ((PNG, "image/png"), (JPEG, "image/jpeg"), (WEBP, "image/webp"))
    )


def test_a_job_without_pictures_brings_no_blobs(stage: Stage) -> None:
    stage.post("/v1/jobs", {"engine_id": "e1"})
    assert (stage.bus.blobs, ask_of(stage).files) == ([()], ())


def test_a_job_that_is_only_checked_brings_its_pictures(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = JobValid(engine_id=EngineId("e1"))
    job = {"engine_id": "e1", "reference_image_blob": PNG_TEXT}
    result = stage.post("/v1/jobs", job, query_string="validate_only=true")
    assert result.json == {"valid": True, "engine_id": "e1"}
    assert stage.bus.blobs == [(PNG,)]


def test_a_form_carries_what_json_does(stage: Stage) -> None:
    result = send(
        stage,
        ENGINE,
        text("prompt", "[a cat], {a dog} and null"),
        text("steps", "12"),
        text("cfg", "6.5"),
        text("previews", "true"),
        text("scheduler", "DPM++ 2M Karras"),
        text("scheduler_config", '{"timestep_spacing": "trailing"}'),
        text("loras", '["l1", {"model_id": "l2", "weight": 0.5}]'),
        text("embeddings", "t1"),
        text("embeddings", "t2"),
        text("type_pose", "openpose"),
        text("control_scale", "0.5"),
        text("strength", "0.25"),
        text("expire_after", "90"),
        text("negative_prompt", ""),
        text("seed", ""),
        file("reference_image_blob", PNG),
        file("pose_image_blob", JPEG, "pose.jpg", "image/jpeg"),
        file("mask_image_blob", b"", "", "application/octet-stream"),
    )
    assert result.status_code == 202, result.text
    request = ask_of(stage).request
    assert request.prompt == "[a cat], {a dog} and null"
    assert (request.steps, request.guidance_scale, request.previews) == (12, 6.5, True)
    assert request.scheduler_config == {"timestep_spacing": "trailing"}
    assert [use.model_id for use in request.loras or ()] == ["l1", "l2"]
    assert request.embeddings == ("t1", "t2")
    assert request.controls == (ControlUse(control_type=ControlType.OPENPOSE, scale=0.5),)
    assert (request.strength, request.expire_after_s, request.seed) == (0.25, 90.0, None)
    assert request.inputs == (InputKind.REFERENCE, InputKind.POSE)
    assert stage.bus.blobs == [(PNG, JPEG)]


@pytest.mark.parametrize(
    ("parts", "models"),
    [
        ([text("loras", "l1")], ["l1"]),
        ([text("loras", "[]")], []),
        ([text("loras", '{"model_id": "l1"}')], ["l1"]),
        ([text("loras", '{"model_id": "l1"}'), text("loras", "l2")], ["l1", "l2"]),
    ],
)
def test_a_list_may_come_as_json_or_part_by_part(stage: Stage, parts: list[Part], models: list[str]) -> None:
    assert send(stage, ENGINE, *parts).status_code == 202
    uses: tuple[LoraUse, ...] = ask_of(stage).request.loras or ()
    assert [use.model_id for use in uses] == models


def test_a_picture_in_a_form_may_come_as_text(stage: Stage) -> None:
    assert send(stage, ENGINE, text("reference_image_blob", PNG_TEXT)).status_code == 202
    assert stage.bus.blobs == [(PNG,)]


def test_a_file_with_a_type_that_nobody_can_read_is_a_file(stage: Stage) -> None:
    part = Part("reference_image_blob", PNG, "a.png", "\xe4/\xe4")
    assert send(stage, ENGINE, part).status_code == 202


def test_a_picture_without_a_file_name_is_a_file_by_its_type(stage: Stage) -> None:
    part = Part("reference_image_blob", PNG, mime="image/png")
    assert send(stage, ENGINE, part).status_code == 202
    assert stage.bus.blobs == [(PNG,)]


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ([text("steps", "many")], "steps"),
        ([text("steps", "1"), text("steps", "2")], "steps"),
        ([text("promt", "a cat")], "promt"),
        ([text("cfg_scale", "7")], "cfg_scale"),
        ([text("scheduler_config", "fast")], "scheduler_config"),
        ([text("loras", "[5]")], "loras[0]"),
        ([text("strength", "0.5")], "strength"),
        ([file("picture", PNG)], "picture"),
        ([file("reference_image_blob", PNG), file("reference_image_blob", PNG)], "reference_image_blob"),
        (
            [file("reference_image_blob", PNG), text("reference_image_blob", PNG_TEXT)],
            "reference_image_blob",
        ),
        ([file("reference_image_blob", PNG[:40])], "reference_image_blob"),
    ],
)
def test_what_is_wrong_in_a_form_is_told_by_field(stage: Stage, parts: list[Part], field: str) -> None:
    result = send(stage, ENGINE, *parts)
    assert result.status_code == 422
    assert list(fields_of(result)) == [field]
    assert stage.bus.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        form(ENGINE)[:-10],
        form(text("loras", "[1,")),
        form(text("loras", '{"a": 1, "a": 2}')),
        form(Part("prompt", b"\xff\xfe")),
        form(Part("", b"x")),
        form(*[text(f"field{number}", "x") for number in range(300)]),
    ],
    ids=["empty", "no form", "cut off", "bad json", "twin names", "no text", "no name", "many"],
)
def test_what_is_no_right_form_is_malformed(stage: Stage, body: bytes) -> None:
    result = stage.post("/v1/jobs", body=body, headers=HEADERS)
    assert (result.status_code, result.json["code"]) == (400, "malformed")
    assert stage.bus.asked == []


@pytest.mark.parametrize("parameters", ["", "; boundary=", f"; boundary={'x' * 99}"])
def test_a_form_without_a_boundary_is_malformed(stage: Stage, parameters: str) -> None:
    headers = {"Content-Type": f"multipart/form-data{parameters}"}
    result = stage.post("/v1/jobs", body=form(ENGINE), headers=headers)
    assert (result.status_code, result.json["code"]) == (400, "malformed")


@pytest.mark.parametrize("content_type", ["multipart/mixed; boundary=seam", "multipart/form-datum"])
def test_another_kind_of_parts_is_refused(stage: Stage, content_type: str) -> None:
    result = stage.post("/v1/jobs", body=form(ENGINE), headers={"Content-Type": content_type})
    assert (result.status_code, result.json["code"]) == (415, "unsupported_media_type")


def test_a_long_text_of_a_form_is_too_large(stage: Stage) -> None:
    result = send(stage, ENGINE, text("prompt", "x" * (1 << 20) + "x"))
    assert (result.status_code, result.json["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("~~~", "must be base64"),
        (as_text(b"GIF89a" + bytes(40)), "must be a PNG, JPEG or WebP image"),
        (as_text(PNG[:60]), "is damaged"),
        (as_text(picture("PNG", 8, 64)), "each side must be at least 16"),
        ("", "must not be empty"),
        (5, "must be a string, not a whole number"),
    ],
)
def test_a_picture_that_cannot_be_used_is_refused_by_its_field(stage: Stage, value: Any, told: str) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1", "reference_image_blob": value})
    assert result.status_code == 422
    (problem,) = fields_of(result).values()
    assert told in problem
    assert stage.bus.asked == []


def test_all_pictures_that_cannot_be_used_are_told_at_once(stage: Stage) -> None:
    job = {"engine_id": "e1", "reference_image_blob": "~", "mask_image_blob": as_text(b"x")}
    assert list(fields_of(stage.post("/v1/jobs", job))) == ["reference_image_blob", "mask_image_blob"]


def test_pictures_of_a_wrong_job_are_not_looked_at(stage: Stage) -> None:
    job = {"engine_id": "e1", "reference_image_blob": "~", "steps": 0}
    assert list(fields_of(stage.post("/v1/jobs", job))) == ["steps"]


def masked(reference: Image.Image, mask: Image.Image | None, **fields: object) -> dict[str, object]:
    blobs = {"reference_image_blob": as_text(saved(reference))}
    if mask is not None:
        blobs["mask_image_blob"] = as_text(saved(mask))
    return {"engine_id": "e1", **blobs, **fields}


def saved(image: Image.Image, **how: object) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", **how)
    return file.getvalue()


def spotted(mode: str, size: tuple[int, int], ground: Any, spot: Any) -> Image.Image:
    """One pixel, in the last row, is unlike all others."""
    image = Image.new(mode, size, ground)
    image.putpixel((size[0] // 2, size[1] - 1), spot)
    return image


TALL = (16, 600)
PLAIN = Image.new("RGB", TALL, "gray")
MASKS = {
    "gray": ("luminance", lambda spot: spotted("L", TALL, 127, 128 if spot else 127)),
    "color": (
        "luminance",
        lambda spot: spotted("RGB", TALL, (0, 0, 255), (0, 255, 0) if spot else (0, 0, 9)),
    ),
    "clear": ("luminance", lambda spot: spotted("LA", TALL, (255, 0), (255, 200 if spot else 90))),
    "palette": (
        "luminance",
        lambda spot: spotted("RGB", TALL, (0, 0, 0), (255, 255, 255) if spot else (0, 0, 0)).quantize(2),
    ),
    "one-bit": ("luminance", lambda spot: spotted("1", TALL, 0, 1 if spot else 0)),
    "deep": ("luminance", lambda spot: spotted("I;16", TALL, 0x7FFF, 0x8000 if spot else 0x7FFF)),
    "black": ("inverted", lambda spot: spotted("L", TALL, 128, 127 if spot else 128)),
    "none": ("inverted", lambda spot: spotted("LA", TALL, (255, 255), (255, 0 if spot else 255))),
    "deep-black": ("inverted", lambda spot: spotted("I;16", TALL, 0x8000, 0x7FFF if spot else 0x8000)),
    "alpha": ("alpha", lambda spot: spotted("RGBA", TALL, (0, 0, 0, 128), (0, 0, 0, 127 if spot else 128))),
}


@pytest.mark.parametrize("name", MASKS)
def test_one_pixel_is_enough_for_a_mask_and_none_is_too_few(stage: Stage, name: str) -> None:
    """What counts is what the worker makes of it: `decode_mask`, from half on."""
    mode, make = MASKS[name]
    for spot in (True, False):
        mask = make(spot)
        result = stage.post("/v1/jobs", masked(PLAIN, mask, mask_mode=mode))
        marked = np.asarray(decode_mask(saved(mask), "mask", MaskMode(mode))) >= MASK_THRESHOLD
        assert marked.sum() == spot
        assert result.status_code == (202 if spot else 422), result.text
    assert result.json["code"] == "empty_mask"
    assert fields_of(result)["mask_image_blob"].endswith(f"(mask_mode {mode}): nothing would change")


def test_a_mask_without_an_alpha_channel_is_empty_by_its_alpha(stage: Stage) -> None:
    result = stage.post("/v1/jobs", masked(PLAIN, Image.new("L", TALL, 255), mask_mode="alpha"))
    assert (result.status_code, result.json["code"]) == (422, "empty_mask")


def test_a_reference_can_be_its_own_mask(stage: Stage) -> None:
    clear = spotted("RGBA", TALL, (9, 9, 9, 255), (9, 9, 9, 0))
    assert stage.post("/v1/jobs", masked(clear, None, mask_mode="alpha")).status_code == 202
    assert ask_of(stage).request.inputs == (InputKind.REFERENCE,)
    result = stage.post("/v1/jobs", masked(PLAIN, None, mask_mode="alpha"))
    assert (result.json["code"], list(fields_of(result))) == ("empty_mask", ["reference_image_blob"])


@pytest.mark.parametrize(
    ("size", "is_like"),
    [((16, 600), True), ((32, 1200), True), ((17, 620), True), ((600, 16), False), ((24, 600), False)],
)
def test_a_mask_lies_on_its_reference_or_is_refused_with_both_sizes(
    stage: Stage, size: tuple[int, int], is_like: bool
) -> None:
    result = stage.post("/v1/jobs", masked(PLAIN, Image.new("L", size, 255)))
    assert result.status_code == (202 if is_like else 422)
    if not is_like:
        sizes = f"has {size[0]} x {size[1]} pixels, the reference image 16 x 600"
        told = f"{sizes}: send a mask of the same size or aspect ratio"
        assert fields_of(result) == {"mask_image_blob": told}


def test_sizes_are_compared_as_the_images_stand_upright(stage: Stage) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    lying = saved(Image.new("L", (600, 16), 255), exif=exif)
    body = masked(PLAIN, None) | {"mask_image_blob": as_text(lying)}
    assert stage.post("/v1/jobs", body).status_code == 202
    body = masked(PLAIN, None) | {"mask_image_blob": as_text(saved(Image.new("L", TALL, 255), exif=exif))}
    assert stage.post("/v1/jobs", body).status_code == 422


def test_where_only_the_masked_area_is_drawn_the_pose_lies_on_the_reference_too(stage: Stage) -> None:
    body = masked(PLAIN, Image.new("L", TALL, 255)) | {"pose_image_blob": PNG_TEXT, "type_pose": "canny"}
    assert stage.post("/v1/jobs", body).status_code == 202
    result = stage.post("/v1/jobs", body | {"inpaint_area": "masked"})
    assert list(fields_of(result)) == ["pose_image_blob"]
