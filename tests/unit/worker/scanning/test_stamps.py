"""Stamps change when anything about a file does; marks are those of the content."""

import os
import shutil
import struct
from pathlib import Path

import pytest

from engine_worker.fetch.scanning.stamps import SAMPLE_BYTES, mark_of
from engine_worker.formats.allowed_paths import opened
from tests.unit.worker.model_files import SMALL_SD, write_diffusers_folder, write_json, write_safetensors
from tests.unit.worker.scanning.trees import PNG, lora_file, stamps, the_one, write

LONG = {
    "model.diffusion_model.a": (4_000_000,),
    "first_stage_model.decoder.b": (200_000,),
    "cond_stage_model.c": (1_000_000,),
}
VAE_OFFSET = 8_000_000 + 200_000
"""In the middle of the second tensor, after the header."""


def mark(path: Path) -> str:
    return mark_of(opened(path))


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Change bytes of the data behind the header."""
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        file.seek(8 + length + offset)
        file.write(data)


def test_a_stamp_is_a_number_of_63_bits_that_stays(tmp_path: Path) -> None:
    for number in range(20):
        lora_file(tmp_path / f"{number}.safetensors")
    found = stamps(tmp_path)
    assert found == stamps(tmp_path)
    assert len(set(found.values())) == 20
    assert all(0 <= stamp < 1 << 63 for stamp in found.values())
    assert max(found.values()) >= 1 << 58


def test_a_stamp_changes_with_the_file_and_with_what_lies_beside_it(tmp_path: Path) -> None:
    path = lora_file(tmp_path / "a.safetensors")
    seen = {the_one(tmp_path).stamp}

    def is_new() -> bool:
        stamp = the_one(tmp_path).stamp
        is_known = stamp in seen
        seen.add(stamp)
        return not is_known and stamp == the_one(tmp_path).stamp

    os.utime(path, ns=(1, 1))
    assert is_new()
    os.truncate(path, path.stat().st_size + 1)
    os.utime(path, ns=(1, 1))
    assert is_new()
    path.rename(tmp_path / "old")
    shutil.copy2(tmp_path / "old", path)
    assert is_new(), "another inode"
    for name in ("a.json", "a.civitai.info", "a.preview.png", "a.yaml", "adapter_config.json"):
        write(tmp_path / name, {})
        assert is_new(), name
    write(tmp_path / "b.json", {})
    write(tmp_path / "readme.txt", b"")
    assert not is_new(), "what decides nothing"
    path.rename(tmp_path / "b.safetensors")
    assert is_new()


def test_a_linked_file_has_the_stamp_of_its_target(tmp_path: Path) -> None:
    target = lora_file(tmp_path / "real/.hidden.safetensors")
    (tmp_path / "a.safetensors").symlink_to(target)
    before = the_one(tmp_path).stamp
    os.utime(target, ns=(1, 1))
    assert the_one(tmp_path).stamp != before


@pytest.mark.parametrize(
    "name", ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "added.json"]
)
def test_a_folder_has_the_stamp_of_all_its_files(tmp_path: Path, name: str) -> None:
    folder = write_diffusers_folder(tmp_path / "dreams")
    before = the_one(tmp_path).stamp
    assert the_one(tmp_path).stamp == before
    write(folder / name, {})
    changed = the_one(tmp_path).stamp
    assert changed != before
    write(tmp_path / "dreams.preview.png", PNG)
    assert the_one(tmp_path).stamp not in (before, changed)


def test_a_copy_elsewhere_has_the_same_mark(tmp_path: Path) -> None:
    one = write_safetensors(tmp_path / "a.safetensors", SMALL_SD)
    shutil.copy(one, tmp_path / "b.safetensors")
    assert mark(one) == mark(tmp_path / "b.safetensors")
    assert len(mark(one)) == 32


def test_another_header_or_another_size_has_another_mark(tmp_path: Path) -> None:
    one = write_safetensors(tmp_path / "a.safetensors", LONG)
    other = write_safetensors(tmp_path / "b.safetensors", LONG, metadata={"x": "y"})
    assert mark(one) != mark(other)
    before = mark(one)
    os.truncate(one, one.stat().st_size + 1)
    assert mark(one) != before


@pytest.mark.parametrize("offset", [0, VAE_OFFSET - 200_000, 10_400_000 - 1])
def test_other_weights_have_another_mark(tmp_path: Path, offset: int) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", LONG)
    before = mark(path)
    overwrite(path, offset, b"x")
    assert mark(path) != before


def test_a_header_longer_than_a_sample_counts_to_its_end(tmp_path: Path) -> None:
    names = {f"{'x' * 100}{number}": (1,) for number in range(2_000)}
    last = f"{'x' * 100}1999"
    one = write_safetensors(tmp_path / "a.safetensors", names)
    other = write_safetensors(tmp_path / "b.safetensors", {**names, last: ()})
    text = one.read_bytes()
    assert len(text) > 3 * SAMPLE_BYTES
    assert mark(one) != mark(other)


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04", b"\xff" * 8 + b"{", b"\x05\0\0\0\0\0\0\0{"])
def test_files_of_any_kind_have_a_mark(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "a.ckpt", content)
    assert len(mark(path)) == 32
    assert len(the_one(tmp_path).mark) == 32


def test_a_huge_sparse_file_is_cheap(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", {"a": (1 << 30, 50)})
    assert path.stat().st_size > 100e9
    assert len(mark(path)) == 32


def test_a_folder_has_the_mark_of_its_files(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path / "one/dreams")
    shutil.copytree(tmp_path / "one/dreams", tmp_path / "two/other")
    one, two = the_one(tmp_path / "one"), the_one(tmp_path / "two")
    assert one.mark == two.mark != ""
    assert one.stamp != two.stamp
    overwrite(tmp_path / "two/other/vae/diffusion_pytorch_model.safetensors", 0, b"x")
    assert the_one(tmp_path / "two").mark != one.mark
    write_json(tmp_path / "one/dreams/vae/config.json", {})
    assert the_one(tmp_path / "one").mark != one.mark


def test_a_moved_file_keeps_its_mark_and_changes_its_stamp(tmp_path: Path) -> None:
    path = lora_file(tmp_path / "a.safetensors")
    before = the_one(tmp_path)
    (tmp_path / "sub").mkdir()
    path.rename(tmp_path / "sub/b.safetensors")
    after = the_one(tmp_path)
    assert (after.mark, after.stamp != before.stamp) == (before.mark, True)
