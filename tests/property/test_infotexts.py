"""Whatever bytes come as an image or a text: they are read or refused, never an unexpected error."""

import json
import struct
import zlib
from io import BytesIO
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from api.http.contract.job_input import JobInput
from api.http.infotext.a1111 import read_a1111
from api.http.infotext.infotext import read_infotext
from api.http.infotext.parsed_infotext import MAX_UNMAPPED, MAX_VALUE
from tests.unit.api.test_infotext import A1111, COMFYUI, INVOKEAI, WORKFLOW, chunk, png_of

TEXTS = st.text(max_size=200) | st.sampled_from([A1111, json.dumps(COMFYUI), json.dumps(WORKFLOW)])
NAMES = st.sampled_from(["parameters", "prompt", "workflow", "invokeai_metadata", "x"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(max_size=9), one, max_size=4)
)
WORDS = st.sampled_from(
    [
        "Steps",
        "Sampler",
        "Seed",
        "Size",
        "CFG scale",
        "Model",
        "Lora hashes",
        "Eta",
        "VAE",
        "Schedule type",
        "RNG",
        "Background removed",
        "TI hashes",
        "Clip skip",
        "Version",
        "Hires upscale",
        "Denoising strength",
        "Scheduler a",
    ]
)


def checked(data: bytes) -> None:
    try:
        parsed = read_infotext(data)
    except ValueError:
        return
    if parsed is None:
        return
    # What it gives the job is what a request may have.
    msgspec.convert(msgspec.to_builtins(parsed.job), JobInput)
    msgspec.json.encode(parsed.unmapped)
    assert len(parsed.unmapped) <= MAX_UNMAPPED
    assert all(len(one.value) <= MAX_VALUE for one in parsed.unmapped)


def mutated(data: bytes, draw: st.DrawFn) -> bytes:
    """The file with some bytes changed, and perhaps cut."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(0, 8))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed[: draw(st.integers(0, len(changed)))])


@st.composite
def pngs(draw: st.DrawFn) -> bytes:
    chunks = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"eXIf"]))
        text = draw(TEXTS).encode()
        body = {
            b"tEXt": b"\0" + text,
            b"zTXt": b"\0\0" + zlib.compress(text),
            b"iTXt": b"\0\1\0\0\0" + zlib.compress(text),
            b"eXIf": b"II*\0" + text,
        }[kind]
        chunks.append(chunk(kind, draw(NAMES).encode() + body))
    return mutated(png_of(*chunks), draw)


def _with_exif(kind: str) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "prompt:{}"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"UNICODE\0" + A1111.encode("utf-16-be")
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, kind, exif=exif)
    return file.getvalue()


EXIF_FILES = {kind: _with_exif(kind) for kind in ("JPEG", "WEBP", "PNG")}


@st.composite
def images_with_exif(draw: st.DrawFn) -> bytes:
    return mutated(EXIF_FILES[draw(st.sampled_from(sorted(EXIF_FILES)))], draw)


@given(st.binary(max_size=2_000))
def test_any_bytes(data: bytes) -> None:
    checked(data)


@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"]), st.binary(max_size=500))
def test_any_bytes_after_a_signature(start: bytes, data: bytes) -> None:
    checked(start + data)


@given(pngs())
def test_any_png(data: bytes) -> None:
    checked(data)


@given(images_with_exif())
def test_any_exif(data: bytes) -> None:
    checked(data)


@given(st.binary(max_size=300), st.sampled_from([b"II*\0", b"MM\0*"]))
def test_any_directory(data: bytes, order: bytes) -> None:
    exif = b"Exif\0\0" + order + data
    checked(b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + b"\xff\xda\0\2")


@given(st.lists(st.tuples(WORDS, st.text(max_size=40) | SCALARS.map(str)), max_size=12), st.text(max_size=40))
def test_any_pairs(pairs: list[tuple[str, str]], prompt: str) -> None:
    text = ", ".join(f"{name}: {value}" for name, value in pairs)
    checked(f"{prompt}\nNegative prompt: {prompt}\nSteps: 1, {text}".encode(errors="replace"))


@given(JSON)
def test_any_json(content: Any) -> None:
    checked(json.dumps(content).encode(errors="replace"))


@given(st.dictionaries(st.sampled_from(sorted(INVOKEAI)), JSON, min_size=1))
def test_any_metadata(content: dict[str, Any]) -> None:
    checked(json.dumps({"positive_prompt": "a", **content}).encode(errors="replace"))


@given(st.dictionaries(st.sampled_from(sorted(COMFYUI)), JSON, max_size=6), st.data())
def test_any_graph(nodes: dict[str, Any], data: st.DataObject) -> None:
    graph = {**COMFYUI, **nodes}
    key = data.draw(st.sampled_from(sorted(graph)))
    inputs = data.draw(st.dictionaries(st.sampled_from(["model", "positive", "text", "seed", "width"]), JSON))
    graph[key] = {"class_type": data.draw(st.sampled_from(["KSampler", "LoraLoader", "X"])), "inputs": inputs}
    checked(json.dumps(graph).encode(errors="replace"))


@given(st.text(alphabet=st.characters(exclude_characters='"\r\n', exclude_categories=["Cs"]), max_size=60))
def test_a_quoted_value_comes_back(value: str) -> None:
    """A value with commas and colons is one value."""
    parsed = read_a1111(f"a\nSteps: 1, Odd: {json.dumps(value)}, Seed: 5")
    assert parsed.job["seed"] == 5
    assert [one.value for one in parsed.unmapped] == [value]
