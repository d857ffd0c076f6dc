"""What cannot be used is listed with what it is and what to do, and no file ends the scan of all."""

import logging
import os
from pathlib import Path

import pytest

from engine_worker.fetch.scanning import scanner
from engine_worker.fetch.scanning.scanner import Scanner
from kernel.protocol.worker import FileScanned, ScanBegun, ScanEnded, ScanFolders, ScanProgress
from tests.unit.worker.model_files import SMALL_SD, SMALL_UNET, Shapes, write_safetensors
from tests.unit.worker.scanning.trees import lora_file, reports, scanned, the_one, write


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.gguf", b"GGUF", "a.gguf is a GGUF file, which is not supported: use a .safetensors file"),
        ("a.safetensors", b"<!DOCTYPE html>", "a.safetensors is a web page, not a model file: use"),
        ("a.safetensors", b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
        ("a.safetensors", b"PK\x03\x04", "a.safetensors is a pickle"),
        ("a.safetensors", b"", "empty or truncated"),
        ("a.onnx", b"<html>", "a.onnx is a web page"),
        ("a.onnx", b"\x08\x01", "not an ONNX file"),
        ("Lora/a.pt", b"PK\x03\x04", "spoon models add {path} --type lora"),
        ("models/Stable-diffusion/old/a b.ckpt", b"x", "spoon models add '{path}' --type checkpoint"),
        ("misc/a.bin", b"x", "--type TYPE"),
        ("embeddings/a.pt", b"x", "models.allow_pickle = true"),
    ],
)
def test_files_of_other_kinds_say_what_they_are(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = write(tmp_path / name, content)
    found = the_one(tmp_path)
    assert words.format(path=path) in found.text
    assert (found.code, found.fingerprint, found.thumbnail) == ("model_unreadable", None, None)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"ip_adapter.1.to_k_ip.weight": (4, 4), "image_proj.x": (1,)}, "an IP-Adapter"),
        ({"body.0.block1.weight": (4, 4), "conv_in.weight": (4, 4)}, "a T2I adapter"),
        ({"conv_first.weight": (4, 3, 3, 3), "body.0.rdb1.conv1.weight": (4, 4, 3, 3)}, "an upscaler"),
        ({"vision_model.post_layernorm.weight": (4,), "x.y": (1,)}, "a CLIP vision model"),
        ({"text_model.final_layer_norm.weight": (4,), "x.y": (1,)}, "a text encoder alone"),
        (
            {"encoder.block.0.layer.0.SelfAttention.q.weight": (4, 4), "shared.weight": (4, 4)},
            "a text encoder",
        ),
        ({"down_blocks.0.motion_modules.0.x.weight": (4,), "x.y": (1,)}, "a motion module"),
        ({"transformer_blocks.0.attn.to_q.weight": (4, 4), "x.y": (1,)}, "a transformer of another"),
        ({"mask_decoder.x.weight": (4,), "x.y": (1,)}, "a segmentation model"),
        (SMALL_UNET, "a UNet alone"),
        ({"a.b": (1,), "c.d": (1,)}, "not a supported type of model: use checkpoints, LoRAs"),
    ],
)
def test_models_of_other_kinds_say_what_they_are(tmp_path: Path, shapes: Shapes, words: str) -> None:
    write_safetensors(tmp_path / "a.safetensors", shapes)
    assert words in the_one(tmp_path).text


def test_a_file_that_is_still_being_copied_is_refused_until_it_is_complete(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", SMALL_SD)
    size = path.stat().st_size
    os.truncate(path, size - 100)
    half = the_one(tmp_path)
    assert "is truncated, 100 bytes are missing: wait until it is copied" in half.text
    os.truncate(path, size)
    whole = the_one(tmp_path)
    assert (whole.code, whole.stamp != half.stamp) == ("", True)


def test_no_text_has_characters_that_command_a_terminal(tmp_path: Path) -> None:
    write(tmp_path / "a\x1b[31m\n.gguf", b"GGUF")
    write_safetensors(tmp_path / "b\x07.safetensors", {"\x1b[31m": (1,), "x": (1,)})
    (tmp_path / "c\r.safetensors").symlink_to("nowhere")
    write(tmp_path / "d\u202e.pt", b"x")
    texts = [one.text for one in scanned(tmp_path).values()]
    assert len(texts) == 4
    assert all(text.isprintable() and text for text in texts)


def test_a_file_that_vanishes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = lora_file(tmp_path / "a.safetensors")
    found = Scanner([tmp_path]).scan(ScanFolders(folders=(str(tmp_path),)))
    next(found)
    path.unlink()
    assert [type(one) for one in found] == [ScanProgress, FileScanned, ScanEnded]


def test_an_unexpected_error_is_that_of_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    lora_file(tmp_path / "a.safetensors")
    lora_file(tmp_path / "b.safetensors")
    monkeypatch.setattr(scanner, "read_sidecars", breaks)
    found = scanned(tmp_path)
    assert [one.code for one in found.values()] == ["model_unreadable"] * 2
    assert all("unexpected error: see the log" in one.text for one in found.values())
    assert sum("ZeroDivisionError: a defect" in text for text in caplog.messages) == 2


def test_reports_come_in_order_and_no_file_stays_open(tmp_path: Path) -> None:
    for number in range(5):
        lora_file(tmp_path / f"{number}.safetensors")
    write(tmp_path / "5.safetensors", b"<html>")
    kinds: list[type] = []
    open_before = open_files()
    for report in Scanner([tmp_path]).scan(ScanFolders(folders=(str(tmp_path),))):
        kinds.append(type(report))
        assert open_files() == open_before
    assert kinds == [ScanBegun, *[ScanProgress, FileScanned] * 6, ScanEnded]


def test_progress_names_the_file_that_follows(tmp_path: Path) -> None:
    for name in "ab":
        lora_file(tmp_path / f"{name}.safetensors")
    found = reports(tmp_path)[1:-1]
    for progress, one in zip(found[::2], found[1::2], strict=True):
        assert isinstance(progress, ScanProgress)
        assert isinstance(one, FileScanned)
        assert (progress.path, progress.stamp) == (one.path, one.stamp)


def test_what_can_be_used_has_no_sha256_yet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="engine_worker")
    path = write_safetensors(tmp_path / "a.safetensors", SMALL_SD)
    found = the_one(tmp_path)
    assert found.fingerprint is not None
    assert found.fingerprint.sha256 is None
    assert found.fingerprint.size_bytes == path.stat().st_size
    assert (found.code, found.text) == ("", "")
