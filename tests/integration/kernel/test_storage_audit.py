"""What a start finds out about pictures: lost in the right folder alone, and there again if they are."""

import logging
from pathlib import Path

import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.protocol.enums import GoneReason
from kernel.protocol.errors import BadConfiguration
from kernel.protocol.ids import ImageId
from kernel.shell.files import INSTALLATION_FILE, claim_folder
from kernel.shell.fs_ops import FileSystem
from kernel.shell.state_reader import StateReader
from kernel.shell.storage_audit import StorageAudit, audit_storage
from kernel.shell.store import Store
from tests.integration.kernel.rows import FREE_IMAGE, NOW_MS
from tests.integration.kernel.saving import saved

A, B = ImageId("a"), ImageId("b")
DATA = b"x" * FREE_IMAGE.size_bytes
NOTHING = StorageAudit()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with the files of both pictures."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in (A, B):
        (folder / f"{name}.png").write_bytes(DATA)
    return folder


@pytest.fixture(autouse=True)
def rows(store: Store) -> None:
    saved(store, *(actions.AddImage(_image(name)) for name in (A, B)))


def _image(name: ImageId):  # type: ignore[no-untyped-def]
    return replace(FREE_IMAGE, image_id=name, file_name=f"{name}.png")


def start(folder: Path, store: Store, state_reader: StateReader) -> StorageAudit:
    """What a start finds; what is lost and found is saved, as the core does it."""
    number = claim_folder(folder, store.installation(), FileSystem())
    found = audit_storage(folder, number, state_reader.image_files(), store)
    saved(store, *(actions.EndImage(one, GoneReason.LOST, NOW_MS) for one in found.lost))
    saved(store, *map(actions.RestoreImage, found.found))
    return found


def test_a_picture_whose_file_is_gone_is_lost_and_is_there_again_when_its_file_is(
    images: Path, store: Store, state_reader: StateReader, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "manager")
    assert start(images, store, state_reader) == NOTHING
    (images / "a.png").unlink()
    assert start(images, store, state_reader) == StorageAudit(lost=(A,))
    assert start(images, store, state_reader) == NOTHING, "it is known by now"
    (images / "a.png").write_bytes(DATA)
    assert start(images, store, state_reader) == StorageAudit(found=(A,))
    assert state_reader.image(A) == _image(A)
    assert [record.message.split()[0] for record in caplog.records] == [
        "action=images_lost",
        "action=images_found_again",
    ]


def test_a_file_that_is_being_copied_back_is_not_there_yet(
    images: Path, store: Store, state_reader: StateReader
) -> None:
    start(images, store, state_reader)
    (images / "a.png").unlink()
    start(images, store, state_reader)
    (images / "a.png").write_bytes(DATA[:-1])
    assert start(images, store, state_reader) == NOTHING
    (images / "a.png").unlink()
    (images / "a.png").symlink_to("nowhere")
    assert start(images, store, state_reader) == NOTHING


def test_nothing_is_lost_while_the_disk_is_not_mounted_however_often_one_starts(
    images: Path, store: Store, state_reader: StateReader, caplog: pytest.LogCaptureFixture
) -> None:
    start(images, store, state_reader)
    mounted = images.rename(images.with_name("mounted"))
    for _ in range(2):
        caplog.clear()
        assert start(images, store, state_reader) == NOTHING
        (line,) = [record.message for record in caplog.records]
        assert line.startswith("action=images_elsewhere count=2 ")
        assert "spoon images prune --missing" in line
    assert (images / INSTALLATION_FILE).exists(), "what stands there in its place is claimed"
    (images / INSTALLATION_FILE).unlink()
    images.rmdir()
    (mounted / "b.png").unlink()
    mounted.rename(images)
    assert start(images, store, state_reader) == StorageAudit(lost=(B,)), "back home"


def test_another_folder_that_has_every_picture_is_the_right_one_from_then_on(
    images: Path, store: Store, state_reader: StateReader
) -> None:
    start(images, store, state_reader)
    (images / INSTALLATION_FILE).unlink()  # as a copy of the pictures alone has none
    assert start(images, store, state_reader) == NOTHING
    (images / "a.png").unlink()
    assert start(images, store, state_reader) == StorageAudit(lost=(A,))


@pytest.mark.parametrize("mark", ["{:x}\n", "{:x} no-number\n", "{:x} -1\n"])
def test_a_mark_without_a_number_gets_one_and_its_folder_is_trusted_once_it_is_whole(
    images: Path, store: Store, state_reader: StateReader, mark: str
) -> None:
    """Earlier versions wrote such marks."""
    (images / INSTALLATION_FILE).write_text(mark.format(store.installation()))
    (images / "a.png").unlink()
    assert start(images, store, state_reader) == NOTHING
    numbered = (images / INSTALLATION_FILE).read_text().split()
    assert numbered[0] == f"{store.installation():x}"
    assert len(numbered) == 2
    saved(store, actions.EndImage(A, GoneReason.LOST, NOW_MS))  # a person has pruned what is missing
    assert start(images, store, state_reader) == NOTHING
    (images / "b.png").unlink()
    assert start(images, store, state_reader) == StorageAudit(lost=(B,))


def test_a_folder_that_cannot_be_read_is_an_error_of_the_configuration(
    images: Path, store: Store, state_reader: StateReader
) -> None:
    with pytest.raises(BadConfiguration, match="cannot be used"):
        audit_storage(images / "not there", 1, state_reader.image_files(), store)
