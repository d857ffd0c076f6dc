"""Addresses to paths: nothing outside the allowed folders, and one answer to all that is wrong."""

import os
from pathlib import Path

import pytest

from engine_worker.formats.allowed_paths import open_file, resolve
from kernel.protocol.errors import ModelUnreadable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "a model#1?.safetensors").touch()
    (tmp_path / "secret.safetensors").touch()
    return folder


@pytest.mark.parametrize(
    "name", ["a model#1?.safetensors", "a%20model%231%3F.safetensors", "../models/a model#1?.safetensors"]
)
@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_file_inside_the_root_is_found(root: Path, name: str, host: str) -> None:
    assert resolve(f"file://{host}{root}/{name}", [root]) == root / "a model#1?.safetensors"


def test_a_folder_is_found(root: Path) -> None:
    (root / "folder").mkdir()
    assert resolve(f"file://{root}/folder", [root]) == root / "folder"


def test_a_link_that_stays_inside_keeps_its_name(root: Path) -> None:
    (root / "link.safetensors").symlink_to("a model#1?.safetensors")
    assert resolve(f"file://{root}/link.safetensors", [root]) == root / "link.safetensors"


def test_a_root_may_itself_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert resolve(f"file://{tmp_path}/link/a model#1?.safetensors", [tmp_path / "link"]).is_file()


def test_all_that_is_wrong_gets_one_answer(root: Path, tmp_path: Path) -> None:
    (root / "out").symlink_to(tmp_path / "secret.safetensors")
    (root / "circle").symlink_to("circle")
    os.mkfifo(root / "pipe")
    names = ["absent", "../secret.safetensors", "out", "circle", "pipe", "a%00b", "%ff%fe", "x" * 5000]
    for name in names:
        uri = f"file://{root}/{name}"
        with pytest.raises(ModelUnreadable) as caught:
            resolve(uri, [root])
        assert caught.value.detail.replace(uri, "") == (
            " is not a file or folder in one of the allowed folders (models.folders, models.file_roots)"
        )


def test_where_no_folder_is_allowed_yet_that_is_what_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable, match=r"models\.folders is empty"):
        resolve(f"file://{tmp_path}", [])


@pytest.mark.parametrize(
    "form", ["{}", "file:{}", "http://host{}", "file://host{}", "file://", "file://localhost"]
)
def test_only_file_addresses_of_this_host_are_resolved(root: Path, form: str) -> None:
    with pytest.raises(ModelUnreadable):
        resolve(form.format(root / "a model#1?.safetensors"), [root])


def test_without_roots_nothing_is_found(root: Path) -> None:
    with pytest.raises(ModelUnreadable):
        resolve(f"file://{root}", [])


def test_a_root_that_does_not_exist_hides_no_other(root: Path, tmp_path: Path) -> None:
    assert resolve(f"file://{root}", [tmp_path / "absent", root]) == root


def test_a_stored_model_is_found_below_whichever_root_keeps_it(tmp_path: Path) -> None:
    name = f"files/{'a' * 64}.safetensors"
    (tmp_path / "models/files").mkdir(parents=True)
    (tmp_path / "models" / name).touch()
    roots = [tmp_path / "weights", tmp_path / "models"]
    assert resolve(f"stored:{name}", roots) == (tmp_path / "models" / name).resolve()
    for wrong in ("stored:../../etc/passwd", f"stored:files/{'b' * 64}.safetensors", "stored:files"):
        with pytest.raises(ModelUnreadable, match="put them back, or retry"):
            resolve(wrong, roots)


def test_what_is_no_plain_file_is_not_opened_and_nothing_waits_for_it(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device", "absent", "."):
        with pytest.raises(ModelUnreadable, match=r"models\.file_roots"):
            open_file(root / name, [root, Path("/dev")])
