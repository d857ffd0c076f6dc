"""What is listed and what is not: links, loops, unfinished files, folders that cannot be read."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine_worker.fetch.scanning import listing
from engine_worker.fetch.scanning.scanner import Scanner
from kernel.protocol.worker import ScanBegun, ScanFolders
from tests.unit.worker.scanning.trees import begun, lora_file, scanned, the_one, write

NOBODY = 65534


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without the rights of root, for whom every file is readable."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may look into, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_hidden_and_unfinished_files_are_not_listed(tmp_path: Path) -> None:
    for name in (
        ".hidden.safetensors",
        ".cache/a.safetensors",
        "__pycache__/b.safetensors",
        "venv/site-packages/c.pt",
    ):
        lora_file(tmp_path / name)
    for ending in (".part", ".tmp", ".crdownload", ".aria2", ".txt", ".json", ".png"):
        write(tmp_path / f"c.safetensors{ending}", b"")
    lora_file(tmp_path / "c.safetensors")
    assert scanned(tmp_path) == {}
    (tmp_path / "c.safetensors.aria2").unlink()
    assert scanned(tmp_path) == {}, "other tools' marks of a download are still there"
    for ending in (".part", ".tmp", ".crdownload"):
        (tmp_path / f"c.safetensors{ending}").unlink()
    assert scanned(tmp_path).keys() == {"c.safetensors"}


def test_what_is_neither_file_nor_folder_is_not_listed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    assert scanned(tmp_path) == {}


def test_each_folder_is_listed_once_however_it_is_reached(tmp_path: Path) -> None:
    lora_file(tmp_path / "z_real/a.safetensors")
    (tmp_path / "a_link").symlink_to(tmp_path / "z_real")
    (tmp_path / "z_real/up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    assert scanned(tmp_path, tmp_path / "z_real").keys() == {"z_real/a.safetensors", "self"}


def test_a_linked_folder_is_followed_into_another_root(tmp_path: Path) -> None:
    lora_file(tmp_path / "disk/loras/a.safetensors")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/Lora").symlink_to(tmp_path / "disk/loras")
    roots = (tmp_path / "models", tmp_path / "disk")
    assert scanned(tmp_path / "models", roots=roots)["Lora/a.safetensors"].code == ""


def test_a_link_out_of_the_folders_is_refused_with_the_way_out(tmp_path: Path) -> None:
    lora_file(tmp_path / "disk/loras/a.safetensors")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "Lora").symlink_to(tmp_path / "disk/loras")
    (folder / "b.safetensors").symlink_to(tmp_path / "disk/loras/a.safetensors")
    found = scanned(folder)
    for name in ("Lora", "b.safetensors"):
        assert found[name].code == "model_unreadable"
        assert found[name].text.endswith("leads out of the folders: add its target to models.folders")
    assert begun(folder).absent == (str(folder / "Lora"),)
    added = scanned(folder, roots=(folder, tmp_path / "disk"))
    assert added["b.safetensors"].code == ""
    assert added["b.safetensors"].stamp != found["b.safetensors"].stamp, "it is read again"


def test_a_broken_link_is_listed_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").symlink_to("nowhere")
    (tmp_path / "disk").symlink_to("/not/mounted")
    (tmp_path / "notes.txt").symlink_to("nowhere")
    found = scanned(tmp_path)
    assert found.keys() == {"a.safetensors", "disk"}
    assert "leads nowhere" in found["a.safetensors"].text
    assert begun(tmp_path).absent == (str(tmp_path / "disk"),)


def test_folders_that_cannot_be_opened_are_absent(tmp_path: Path) -> None:
    lora_file(tmp_path / "there/a.safetensors")
    lora_file(tmp_path / "outside/a.safetensors")
    folders = (tmp_path / "there", tmp_path / "gone", tmp_path / "outside")
    found = begun(*folders, roots=(tmp_path / "there", tmp_path / "gone"))
    assert found.absent == tuple(map(str, folders[1:]))
    assert found.files == 1


def test_what_the_server_may_not_read_is_listed_with_its_reason(public: Path) -> None:
    lora_file(public / "open.safetensors").chmod(0o644)
    lora_file(public / "shut.safetensors").chmod(0)
    lora_file(public / "shut/a.safetensors")
    (public / "shut").chmod(0)
    with unprivileged():
        found, absent = scanned(public), begun(public).absent
    assert {name for name, one in found.items() if one.code} == {"shut", "shut.safetensors"}
    assert all("permission" in one.text for one in found.values() if one.code)
    assert absent == (str(public / "shut"),)
    (public / "shut").chmod(0o755)
    (public / "shut.safetensors").chmod(0o644)
    with unprivileged():
        again = scanned(public)
    assert again["shut.safetensors"].stamp != found["shut.safetensors"].stamp
    assert again["open.safetensors"].stamp == found["open.safetensors"].stamp


def test_names_that_are_not_utf8_are_refused_and_do_no_harm(tmp_path: Path) -> None:
    name = os.fsdecode(b"b\xffd.safetensors")
    lora_file(tmp_path / name)
    lora_file(tmp_path / os.fsdecode(b"f\xff") / "a.safetensors")
    found = scanned(tmp_path)
    assert found.keys() == {"b\ufffdd.safetensors", "f\ufffd"}
    assert all("rename it" in one.text for one in found.values())


def test_deep_folders_and_long_lists_have_an_end_and_then_nothing_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "/".join("d" * (listing.MAX_DEPTH + 1))
    lora_file(deep.parent / "a.safetensors")
    assert begun(tmp_path, known=(5,)).gone == (5,)
    lora_file(deep / "b.safetensors")
    found = begun(tmp_path, known=(5,))
    assert (found.files, found.gone) == (1, ())
    monkeypatch.setattr(listing, "MAX_CANDIDATES", 2)
    for name in "abc":
        lora_file(tmp_path / f"{name}.safetensors")
    found = begun(tmp_path, known=(5,))
    assert (found.files, found.gone) == (2, ())


def test_what_the_server_itself_keeps_is_not_listed(tmp_path: Path) -> None:
    lora_file(tmp_path / "own/files/a.safetensors")
    lora_file(tmp_path / "b.safetensors")
    order = ScanFolders(folders=(str(tmp_path), str(tmp_path / "own")))
    found = list(Scanner([tmp_path], tmp_path / "own").scan(order))
    assert found[0] == ScanBegun(files=1, unknown=1)
    assert begun(tmp_path).files == 2


def test_known_files_are_not_read_and_gone_ones_are_named(tmp_path: Path) -> None:
    lora_file(tmp_path / "a.safetensors")
    stamp = the_one(tmp_path).stamp
    found = begun(tmp_path, known=(stamp, 7))
    assert (found.files, found.unknown, found.gone) == (1, 0, (7,))
