"""The files that other tools keep beside a model: words, bases, thumbnails, and what is wrong with some."""

import logging
from pathlib import Path

import pytest

from engine_worker.fetch.scanning.sidecars import MAX_SIDECAR_BYTES
from engine_worker.formats.metadata import MAX_WORDS
from kernel.protocol.enums import ModelBase
from kernel.protocol.specs import Fingerprint
from tests.unit.worker.model_files import write_safetensors
from tests.unit.worker.scanning.trees import JPEG, PNG, WEBP, lora_file, scanned, the_one, write

SD, SDXL = ModelBase.SD, ModelBase.SDXL


def fingerprint(folder: Path) -> Fingerprint:
    found = the_one(folder).fingerprint
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("ending", "content", "words", "base"),
    [
        (".json", {"activation text": "fox, red <lora:a:1>,, red", "sd version": "SD1"}, ("fox", "red"), SD),
        (".json", {"activation text": "fox", "sd version": "Unknown"}, ("fox",), None),
        (".json", {"modelVersions": [{"trainedWords": ["fox"], "baseModel": "Pony"}]}, ("fox",), None),
        (".json", {"modelVersions": [{"trainedWords": ["a"]}, {"trainedWords": ["b"]}]}, (), None),
        (
            ".civitai.info",
            {"trainedWords": ["fox", "a b, c"], "baseModel": "Pony"},
            ("fox", "a b", "c"),
            SDXL,
        ),
        (".civitai.info", {"trainedWords": None, "baseModel": None, "id": 5}, (), None),
        (".metadata.json", {"base_model": "SDXL 1.0", "civitai": {"trainedWords": ["fox"]}}, ("fox",), SDXL),
        (".metadata.json", {"civitai": {"baseModel": "SD 1.5", "trainedWords": []}}, (), SD),
        (".metadata.json", {"civitai": None}, (), None),
        (".cm-info.json", {"TrainedWords": ["fox"], "BaseModel": "SD 1.5"}, ("fox",), SD),
        (".cm-info.json", {"TrainedWords": "fox, owl", "BaseModel": "SD 2.1"}, ("fox", "owl"), None),
    ],
)
def test_words_and_bases_of_sidecars(
    tmp_path: Path, ending: str, content: object, words: tuple[str, ...], base: ModelBase | None
) -> None:
    lora_file(tmp_path / "a.safetensors")
    write(tmp_path / f"a{ending}", content)
    found = fingerprint(tmp_path)
    assert (found.trigger_words, found.model_base) == (words, base)


def test_what_people_wrote_comes_first_and_the_whole_is_bounded(tmp_path: Path) -> None:
    lora_file(tmp_path / "a.safetensors", word="own, fox")
    write(tmp_path / "a.civitai.info", {"trainedWords": ["owl"]})
    write(tmp_path / "a.json", {"activation text": "fox"})
    assert fingerprint(tmp_path).trigger_words == ("fox", "owl", "own")
    many = [f"word{number}" for number in range(MAX_WORDS)]
    write(tmp_path / "a.json", {"activation text": ", ".join(["x" * 200, "\x1b[31mred", *many])})
    assert fingerprint(tmp_path).trigger_words == tuple(many)


def test_the_base_of_a_sidecar_is_believed_before_folders_and_after_the_content(tmp_path: Path) -> None:
    lora_file(tmp_path / "sdxl/a.safetensors")
    write_safetensors(tmp_path / "sdxl/b.safetensors", {"emb_params": (2, 768)})
    for name in "ab":
        write(tmp_path / f"sdxl/{name}.json", {"sd version": "SD1" if name == "a" else "SDXL"})
    found = [one.fingerprint for one in scanned(tmp_path).values()]
    assert [one.model_base for one in found if one is not None] == [SD, SD]


def test_an_embedding_is_not_called_by_words_that_others_wrote(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", {"emb_params": (2, 768)})
    write(tmp_path / "a.civitai.info", {"trainedWords": ["masterpiece"]})
    assert fingerprint(tmp_path).trigger_words == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b"[]",
        b"null",
        b'{"trainedWords": 5}',
        b'{"trainedWords": [["fox"]]}',
        b'{"trainedWords": ["\\ud800"]}',
        b"[" * 100_000,
        b'{"x": "' + b"y" * MAX_SIDECAR_BYTES + b'"}',
    ],
)
def test_an_odd_sidecar_is_left_out_with_a_line_in_the_log(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="engine_worker")
    lora_file(tmp_path / "a.safetensors", word="own")
    write(tmp_path / "a.civitai.info", content)
    assert fingerprint(tmp_path).trigger_words == ("own",)
    assert [text for text in caplog.messages if "action=sidecar_ignored" in text]


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    lora_file(tmp_path / "a.safetensors")
    write(tmp_path / "a.json", b'\xef\xbb\xbf{"activation text": "fox"}')
    assert fingerprint(tmp_path).trigger_words == ("fox",)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"a.preview.png": PNG, "a.png": PNG}, "a.preview.png"),
        ({"a.png": PNG}, "a.png"),
        ({"a.preview.jpeg": JPEG}, "a.preview.jpeg"),
        ({"a.jpg": WEBP, "a.webp": WEBP}, "a.jpg"),
        ({"a.preview.png": b"<html>", "a.webp": WEBP}, "a.webp"),
        ({"a.preview.png": b"RIFF\x10\0\0\0WAVEfmt "}, None),
        ({"b.png": PNG, "a.gif": b"GIF89a"}, None),
    ],
)
def test_the_thumbnail_is_the_image_beside_it(
    tmp_path: Path, names: dict[str, bytes], expected: str | None
) -> None:
    lora_file(tmp_path / "a.safetensors")
    for name, content in names.items():
        write(tmp_path / name, content)
    assert the_one(tmp_path).thumbnail == (None if expected is None else str(tmp_path / expected))


def test_a_thumbnail_outside_the_folders_is_none(tmp_path: Path) -> None:
    lora_file(tmp_path / "models/a.safetensors")
    (tmp_path / "models/a.png").symlink_to(write(tmp_path / "secret.png", PNG))
    (tmp_path / "models/a.json").symlink_to(write(tmp_path / "secret.json", {"activation text": "secret"}))
    found = the_one(tmp_path / "models")
    assert found.thumbnail is None
    assert found.fingerprint is not None
    assert found.fingerprint.trigger_words == ()


@pytest.mark.parametrize("prefix", ["lcm.", "lcm/lcm.", "lcm/"])
def test_a_folder_has_its_sidecars_beside_it_or_in_it(tmp_path: Path, prefix: str) -> None:
    lora_file(tmp_path / "lcm/pytorch_lora_weights.safetensors")
    write(tmp_path / f"{prefix}civitai.info", {"trainedWords": ["fox"]})
    write(tmp_path / f"{prefix}preview.png", PNG)
    found = the_one(tmp_path)
    assert found.thumbnail == str(tmp_path / f"{prefix}preview.png")
    assert found.fingerprint is not None
    assert found.fingerprint.trigger_words == ("fox",)
