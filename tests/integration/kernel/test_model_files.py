"""The models folder: moving, removing, and what a start finds."""

import errno
import os
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from kernel.core.events import KeptModel
from kernel.protocol.enums import ModelState
from kernel.protocol.ids import ModelId
from kernel.shell.fs_ops import FileSystem
from kernel.shell.model_files import Move, kept_models, move_model, prepare_models, remove
from kernel.shell.storage_folders import StorageFolders
from tests.integration.kernel.rows import BARE_MODEL

PLACE = f"files/{'a' * 64}.safetensors"
MODEL = ModelId("m1")
NOW_S = 1_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare_models(tmp_path, [], NOW_S, FileSystem())
    return tmp_path


@pytest.mark.parametrize("is_folder", [False, True])
def test_models_that_are_not_where_they_should_be_are_told_from_the_others(
    folder: Path, is_folder: bool
) -> None:
    here = folder / ("a folder" if is_folder else "a file.safetensors")
    rows = [
        replace(BARE_MODEL, model_id=ModelId("local"), uri=here.as_uri(), status=ModelState.READY),
        replace(
            BARE_MODEL, model_id=ModelId("kept"), uri="https://a.org/a", stored=PLACE, status=ModelState.READY
        ),
        replace(BARE_MODEL, model_id=ModelId("coming"), uri="https://a.org/b", status=ModelState.DOWNLOADING),
        replace(BARE_MODEL, model_id=ModelId("failed"), uri="https://a.org/c", status=ModelState.ERROR),
    ]
    storage_folders = StorageFolders(folder, folder)
    assert storage_folders.absent_models(rows) == {"local", "kept"}
    here.mkdir() if is_folder else here.touch()
    (folder / PLACE).touch()
    assert storage_folders.absent_models(rows) == set()


def test_what_cannot_be_looked_at_is_not_called_gone(folder: Path) -> None:
    row = replace(BARE_MODEL, status=ModelState.READY, uri=f"file:///{'long' * 100}")
    assert StorageFolders(folder, folder).absent_models([row]) == set()


def gather(folder: Path, content: bytes = b"model", model_id: str = MODEL) -> Path:
    gathered = folder / f"incoming/{model_id}"
    gathered.mkdir()
    (gathered / "ready").write_bytes(content)
    (gathered / "plan.json").write_text("{}")
    return gathered


def test_the_folders_are_made_and_are_private(folder: Path) -> None:
    assert sorted(one.name for one in folder.iterdir()) == ["files", "incoming", "trees", "uploads"]
    assert (folder / "uploads").stat().st_mode & 0o077 == 0


def test_a_gathered_model_gets_its_place_and_the_rest_of_it_waits_for_the_trash(folder: Path) -> None:
    gathered = gather(folder)
    assert move_model(folder, Move(MODEL, PLACE), FileSystem())
    assert (folder / PLACE).read_bytes() == b"model"
    assert [file.name for file in gathered.iterdir()] == ["plan.json"]


def test_a_gathered_folder_gets_its_place(folder: Path) -> None:
    tree = folder / "incoming/m1/ready/unet"
    tree.mkdir(parents=True)
    (tree / "config.json").write_text("{}")
    assert move_model(folder, Move(MODEL, "trees/" + "b" * 64), FileSystem())
    assert (folder / "trees" / ("b" * 64) / "unet/config.json").exists()


def test_moving_twice_is_moving_once(folder: Path) -> None:
    gather(folder)
    assert move_model(folder, Move(MODEL, PLACE), FileSystem())
    assert move_model(folder, Move(MODEL, PLACE), FileSystem())


def test_the_same_content_is_kept_once(folder: Path) -> None:
    gather(folder)
    move_model(folder, Move(MODEL, PLACE), FileSystem())
    before = (folder / PLACE).stat().st_ino
    gather(folder, model_id="m2")
    assert move_model(folder, Move(ModelId("m2"), PLACE), FileSystem())
    assert (folder / PLACE).stat().st_ino == before


class NoFolderSync(FileSystem):
    """A disk that makes files durable, but not their names."""

    def sync(self, descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_model_whose_place_is_not_durable_is_where_it_was_gathered(folder: Path) -> None:
    gathered = gather(folder)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        move_model(folder, Move(MODEL, PLACE), NoFolderSync())
    assert (gathered / "ready").read_bytes() == b"model"
    assert not (folder / PLACE).exists()


def test_a_model_that_is_in_its_place_is_not_said_to_be_before_its_name_is_durable(folder: Path) -> None:
    """An earlier life may have died between the renaming and the sync."""
    gather(folder)
    move_model(folder, Move(MODEL, PLACE), FileSystem())
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        move_model(folder, Move(MODEL, PLACE), NoFolderSync())


def test_what_is_neither_here_nor_there_is_said_to_be_so(folder: Path) -> None:
    assert not move_model(folder, Move(MODEL, PLACE), FileSystem())


def test_removing_takes_files_folders_and_nothing_behind_a_link(folder: Path) -> None:
    outside = folder / "outside"
    outside.mkdir()
    (outside / "of the owner").touch()
    (folder / "trees/link").symlink_to(outside)
    gather(folder)
    for name in ("incoming/m1", "trees/link", "files/never-there"):
        remove(folder / name, FileSystem())
    assert not (folder / "incoming/m1").exists()
    assert (outside / "of the owner").exists()


def test_a_start_keeps_what_a_model_still_needs_and_removes_the_rest(folder: Path) -> None:
    upload, other, fresh = "1" * 32, "2" * 32, "3" * 32
    for model_id in ("coming", "failed", "ready", "deleted"):
        gather(folder, model_id=model_id)
    for name in (upload, other, f"{other}.part", fresh):
        (folder / "uploads" / name).touch()
        os.utime(folder / "uploads" / name, (NOW_S - 7200, NOW_S - 7200))
    os.utime(folder / "uploads" / fresh, (NOW_S - 60, NOW_S - 60))
    (folder / PLACE).write_bytes(b"kept, though no model names it")
    row = replace(BARE_MODEL, model_id=ModelId("coming"), uri=f"upload:{upload}/dreams")
    rows = [
        row,
        replace(row, model_id=ModelId("failed"), status=ModelState.ERROR, uri="https://example.org/a"),
        replace(row, model_id=ModelId("ready"), status=ModelState.READY, uri="not an address"),
    ]
    prepare_models(folder, rows, NOW_S, FileSystem())
    assert sorted(one.name for one in (folder / "incoming").iterdir()) == ["coming", "failed"]
    assert sorted(one.name for one in (folder / "uploads").iterdir()) == [upload, fresh]
    assert (folder / PLACE).exists()


def test_what_is_kept_is_told_with_its_size_and_strangers_are_passed_over(folder: Path) -> None:
    (folder / PLACE).write_bytes(b"12345")
    tree = folder / "trees" / ("b" * 64) / "unet"
    tree.mkdir(parents=True)
    (tree / "config.json").write_text("{}")
    (folder / "files/my own.safetensors").write_bytes(b"1")
    assert kept_models(folder) == (KeptModel(PLACE, 5), KeptModel(f"trees/{'b' * 64}", 2))


def test_what_cannot_be_listed_just_now_is_passed_over(folder: Path) -> None:
    gather(folder)
    move_model(folder, Move(MODEL, PLACE), FileSystem())
    (folder / "trees").rmdir()
    assert [kept.name for kept in kept_models(folder)] == [PLACE]
