"""Image files: there wholly or not at all, and gone when they should be."""

import errno
import hashlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.core.actions import InputToStore
from kernel.core.events import (
    InputsNotStored,
    InputsStored,
    InputsUnreadable,
    OutputNotStored,
    OutputStored,
)
from kernel.core.ports import Folder
from kernel.protocol.enums import InputKind
from kernel.protocol.errors import BadConfiguration
from kernel.protocol.ids import ImageId, JobId, Lease, WorkerId
from kernel.protocol.uuid7 import Uuid7
from kernel.shell.file_thread import (
    FileThread,
    Inputs,
    InputsRead,
    InputToRead,
    Outcome,
    Output,
    Reading,
    Removed,
)
from kernel.shell.files import claim_folder, sweep, write_durably
from kernel.shell.fs_ops import FileSystem
from kernel.shell.model_files import prepare_models

PATIENCE_S = 20.0
DATA = bytes(range(256)) * 1024


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def files(images: Path) -> Iterator[FileThread]:
    for folder in (images, images.with_name("blobs")):
        folder.mkdir()
    thread = FileThread({"images": images, "blobs": images.with_name("blobs")}, FileSystem())
    yield thread
    thread.close()


def picture(name: str = "a", data: bytes = DATA) -> Output:
    return Output(ImageId(name), Folder.IMAGES, f"{name}.png", hashlib.sha256(data).hexdigest(), data)


def outcome_of(files: FileThread) -> Outcome:
    """The next outcome, waited for as the loop does: until the descriptor is readable."""
    readable, _, _ = select.select([files], [], [], PATIENCE_S)
    assert readable, "the file thread said nothing"
    (outcome,) = files.take_outcomes()
    return outcome


def test_a_picture_is_stored_whole_under_its_name_and_nothing_else(files: FileThread, images: Path) -> None:
    files.store(picture())

    assert outcome_of(files) == OutputStored(ImageId("a"))
    assert {file.name: file.read_bytes() for file in images.iterdir()} == {"a.png": DATA}


def test_a_picture_written_again_replaces_itself(files: FileThread, images: Path) -> None:
    for _ in range(2):
        files.store(picture())
        assert outcome_of(files) == OutputStored(ImageId("a"))
    assert (images / "a.png").read_bytes() == DATA


def test_bytes_that_are_not_those_that_were_sent_are_not_stored(files: FileThread, images: Path) -> None:
    files.store(Output(ImageId("a"), Folder.IMAGES, "a.png", hashlib.sha256(DATA).hexdigest(), DATA[:-1]))

    reason = "its sha256 does not match its content"
    assert outcome_of(files) == OutputNotStored(ImageId("a"), reason, is_damaged=True)
    assert list(images.iterdir()) == []


def test_a_folder_that_takes_no_file_is_an_outcome_and_the_thread_goes_on(
    files: FileThread, images: Path
) -> None:
    images.rmdir()
    files.store(picture())
    assert outcome_of(files) == OutputNotStored(ImageId("a"), os.strerror(errno.ENOENT))

    images.mkdir()
    files.store(picture())
    assert outcome_of(files) == OutputStored(ImageId("a"))


def test_a_file_that_does_not_fit_leaves_nothing_behind(images: Path) -> None:
    """A limit on the size of files is the smallest full disk that there is."""
    images.mkdir()
    program = (
        "import pathlib, resource, sys\n"
        "from kernel.shell.fs_ops import FileSystem\n"
        "from kernel.shell.files import write_durably\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n"
        "    write_durably(pathlib.Path(sys.argv[1]), 'a.png', bytes(100_000), FileSystem())\n"
        "except OSError as error:\n"
        "    sys.exit(error.errno)\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program, str(images)],
        timeout=PATIENCE_S,
        check=False,
    )

    assert ended.returncode == errno.EFBIG
    assert list(images.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk_leaves_nothing_behind(images: Path) -> None:
    images.mkdir()
    (images / "a.png.part").symlink_to("/dev/full")

    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write_durably(images, "a.png", DATA, FileSystem())
    assert list(images.iterdir()) == []


def test_a_reader_sees_the_whole_file_or_none_while_it_is_written_over_and_over(
    files: FileThread, images: Path
) -> None:
    looks = 0
    for _ in range(50):
        files.store(picture())
        while not select.select([files], [], [], 0)[0]:
            looks += 1
            if (images / "a.png").exists():
                assert (images / "a.png").read_bytes() == DATA
        assert outcome_of(files) == OutputStored(ImageId("a"))
    assert looks > 0


def test_files_are_removed_and_those_that_are_gone_already_count_as_removed(
    files: FileThread, images: Path
) -> None:
    files.store(picture())
    outcome_of(files)

    names = ("images/a.png", "images/never-there.png", "blobs/nor-this")
    files.remove(names)

    assert outcome_of(files) == Removed(names)
    assert list(images.iterdir()) == []


def test_what_cannot_be_removed_is_not_said_to_be(files: FileThread, images: Path) -> None:
    (images / "folder.png").mkdir()
    files.remove(("images/folder.png", "images/never-there.png"))

    assert outcome_of(files) == Removed(("images/never-there.png",))


def test_what_nobody_foresaw_is_not_kept_to_the_thread(files: FileThread) -> None:
    """A thread that died in silence would leave everybody waiting."""
    files.remove(("no such folder/a.png",))
    with pytest.raises(ValueError, match="no such folder"):
        outcome_of(files)


def test_closing_finishes_what_was_asked_for(images: Path) -> None:
    images.mkdir()
    files = FileThread({"images": images}, FileSystem())
    for number in range(20):
        files.store(picture(f"p{number}"))
    files.close()

    assert len(list(images.glob("*.png"))) == 20


def test_the_sweep_removes_half_written_and_unsaved_pictures_and_spares_all_other_files(
    images: Path,
) -> None:
    ids = Uuid7()
    kept, orphan, half = f"{ids.text()}.png", f"{ids.text()}.jpg", f"{ids.text()}.webp.part"
    of_the_owner = ["holiday.png", "half.png.part", f"{ids.text()}.txt"]
    images.mkdir()
    for name in (kept, f"{kept}.part", orphan, half, *of_the_owner):
        (images / name).write_bytes(b"x")
    (images / "a folder of the owner").mkdir()

    assert sweep(images, {kept, f"{ids.text()}.png"}, FileSystem()) == 3
    assert {entry.name for entry in images.iterdir()} == {kept, "a folder of the owner", *of_the_owner}


class ClingingDisk(FileSystem):
    """A disk that lets go of nothing."""

    def unlink(self, file: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def remove_tree(self, folder: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_start_does_not_fail_for_a_left_over_that_cannot_be_removed(images: Path) -> None:
    images.mkdir()
    orphan = images / f"{Uuid7().text()}.png"
    orphan.write_bytes(b"x")
    (images / "incoming/gone").mkdir(parents=True)

    assert sweep(images, set(), ClingingDisk()) == 1
    prepare_models(images, [], 0.0, ClingingDisk())

    assert orphan.exists()
    assert sweep(images, set(), FileSystem()) == 1
    assert not orphan.exists()


def test_the_sweep_follows_no_link_out_of_the_folder(images: Path, tmp_path: Path) -> None:
    images.mkdir()
    (tmp_path / "elsewhere.png").write_bytes(b"x")
    (images / f"{Uuid7().text()}.png").symlink_to(tmp_path / "elsewhere.png")

    sweep(images, set(), FileSystem())

    assert (tmp_path / "elsewhere.png").exists()


def test_a_folder_of_another_database_is_refused_before_anything_in_it_is_touched(images: Path) -> None:
    claim_folder(images, 1, FileSystem())
    claim_folder(images, 1, FileSystem())
    with pytest.raises(BadConfiguration, match="another database"):
        claim_folder(images, 2, FileSystem())


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadConfiguration, match="cannot be used"):
        claim_folder(tmp_path / "file" / "images", 1, FileSystem())


# What comes with jobs.


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def inputs(*names: str) -> Inputs:
    """Files of a command, each with its name as its bytes."""
    return Inputs("key", tuple((InputToStore(name, digest(name.encode())), name.encode()) for name in names))


def reading(*files: InputToRead) -> Reading:
    return Reading(WorkerId("w1-1"), JobId("j"), Lease(5), files)


def to_read(name: str | None, data: bytes = b"") -> InputToRead:
    return InputToRead(InputKind.POSE, name, digest(data or (name or "").encode()))


@pytest.fixture
def blobs(images: Path) -> Path:
    return images.with_name("blobs")


def test_the_pictures_of_a_job_are_stored_together(files: FileThread, blobs: Path) -> None:
    files.store(inputs("a.png", "b.jpg"))
    assert outcome_of(files) == InputsStored("key")
    assert {file.name: file.read_bytes() for file in blobs.iterdir()} == {
        "a.png": b"a.png",
        "b.jpg": b"b.jpg",
    }


def test_a_picture_with_another_digest_is_the_senders_fault_and_none_is_stored(
    files: FileThread, blobs: Path
) -> None:
    good, (file, data) = inputs("a.png", "b.png").files
    files.store(Inputs("key", (good, (file, data + b"!"))))
    outcome = outcome_of(files)
    assert isinstance(outcome, InputsNotStored)
    assert (outcome.key, outcome.is_damaged) == ("key", True)
    assert "image 2" in outcome.reason
    assert list(blobs.iterdir()) == []


@pytest.mark.parametrize("hindrance", ["b.png.part", "b.png", "a.png.part", "a.png"])
def test_when_one_picture_cannot_be_written_nothing_of_the_others_is_left(
    files: FileThread, blobs: Path, hindrance: str
) -> None:
    """A folder in the way fails the writing of one file, or its renaming after the first was renamed."""
    (blobs / hindrance / "inside").mkdir(parents=True)
    files.store(inputs("a.png", "b.png"))
    outcome = outcome_of(files)
    assert isinstance(outcome, InputsNotStored)
    assert not outcome.is_damaged
    assert [file.name for file in blobs.iterdir()] == [hindrance]


def test_pictures_are_read_for_a_worker_in_their_order(files: FileThread) -> None:
    files.store(inputs("a.png", "b.png"))
    outcome_of(files)
    files.read(reading(to_read("b.png"), to_read("a.png")))
    assert outcome_of(files) == InputsRead(WorkerId("w1-1"), Lease(5), (b"b.png", b"a.png"))


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (to_read(None), "its file is no longer in the database"),
        (to_read("gone.png"), os.strerror(errno.ENOENT)),
        (to_read("a.png", b"other bytes"), "its file has changed"),
    ],
    ids=["unknown", "gone", "changed"],
)
def test_a_picture_that_cannot_be_read_is_named_with_the_reason(
    files: FileThread, wanted: InputToRead, reason: str
) -> None:
    files.store(inputs("a.png"))
    outcome_of(files)
    files.read(reading(wanted))
    text = f"the pose image cannot be read: {reason}"
    assert outcome_of(files) == InputsUnreadable(WorkerId("w1-1"), JobId("j"), Lease(5), text)
