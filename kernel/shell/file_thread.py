"""Files, written, read, moved and removed by a thread of their own: the broker never waits for a disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import assert_never

from kernel.core.actions import Folder, InputToStore
from kernel.core.events import (
    InputsNotStored,
    InputsStored,
    InputsUnreadable,
    ModelMoved,
    ModelNotMoved,
    PictureNotStored,
    PictureStored,
)
from kernel.process.wakeup import PollableQueue
from kernel.protocol.codec import Frame
from kernel.protocol.enums import InputKind
from kernel.protocol.ids import BlobId, ImageId, JobId, Lease, WorkerId
from kernel.shell.files import GROUP_FILE, PRIVATE_FILE, has_sha256, write_all_durably, write_durably
from kernel.shell.fs_ops import FileSystem
from kernel.shell.model_files import Move, move_model, remove


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of an image or a control map, and what they should be."""

    picture_id: ImageId | BlobId
    folder: Folder
    file_name: str
    sha256: str
    data: Frame


@dataclass(frozen=True, slots=True)
class Inputs:
    """The pictures that came with a command: all of them are stored, or none."""

    key: str
    files: tuple[tuple[InputToStore, Frame], ...]


@dataclass(frozen=True, slots=True)
class InputToRead:
    """A picture that came with a job; `file_name` is None when the database knows no such file any more."""

    kind: InputKind
    file_name: str | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Pictures that came with a job, wanted for the worker that the job was given to."""

    worker_id: WorkerId
    job_id: JobId
    lease: Lease
    files: tuple[InputToRead, ...]


@dataclass(frozen=True, slots=True)
class InputsRead:
    """The pictures that were wanted, in their order."""

    worker_id: WorkerId
    lease: Lease
    blobs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """These files are no more; named as the trash names them, `folder/name`."""

    file_names: tuple[str, ...]


Task = Picture | Inputs | Reading | Move | tuple[str, ...]
Outcome = (
    PictureStored
    | PictureNotStored
    | InputsStored
    | InputsNotStored
    | InputsUnreadable
    | InputsRead
    | ModelMoved
    | ModelNotMoved
    | Removed
)


class FileThread:
    """Does one task after the other, in their order; `outcomes` fills up, and `fileno` becomes readable."""

    def __init__(
        self, folders: Mapping[Folder, Path], disk: FileSystem, *, are_images_shared: bool = False
    ) -> None:
        """The folders exist. Shared images may be read by their group; all else is the owner's alone."""
        self._folders, self._disk = folders, disk
        self._image_mode = GROUP_FILE if are_images_shared else PRIVATE_FILE
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._outcomes: PollableQueue[Outcome | BaseException] = PollableQueue()
        self._thread = Thread(target=self._run, name="files", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._outcomes.fileno()

    def store(self, pictures: Picture | Inputs) -> None:
        self._tasks.put(pictures)

    def read(self, reading: Reading) -> None:
        self._tasks.put(reading)

    def move_model(self, move: Move) -> None:
        self._tasks.put(move)

    def remove(self, file_names: Sequence[str]) -> None:
        self._tasks.put(tuple(file_names))

    def take_outcomes(self) -> list[Outcome]:
        """What has been done since the last call.

        Raises: what nobody foresaw and the thread has died of, since nothing would get on without it.
        """
        outcomes: list[Outcome] = []
        for outcome in self._outcomes.take_all():
            if isinstance(outcome, BaseException):
                raise outcome
            outcomes.append(outcome)
        return outcomes

    def close(self) -> None:
        """Finish what was asked for, then end the thread."""
        self._tasks.put(None)
        self._thread.join()
        self._outcomes.close()

    def _run(self) -> None:
        try:
            while (task := self._tasks.get()) is not None:
                self._outcomes.put(self._do(task))
        except BaseException as surprise:  # noqa: BLE001  the outermost frame of this thread
            self._outcomes.put(surprise)

    def _do(self, task: Task) -> Outcome:
        match task:
            case Picture():
                return self._write(task)
            case Inputs():
                return self._write_inputs(task)
            case Reading():
                return self._read(task)
            case Move():
                return self._move(task)
            case tuple():
                return self._remove(task)
            case _:
                assert_never(task)

    def _write(self, picture: Picture) -> PictureStored | PictureNotStored:
        if not has_sha256(picture.data, picture.sha256):
            reason = "its sha256 does not match its content"
            return PictureNotStored(picture.picture_id, reason, is_damaged=True)
        folder = self._folders[picture.folder]
        mode = self._image_mode if picture.folder is Folder.IMAGES else PRIVATE_FILE
        try:
            write_durably(folder, picture.file_name, picture.data, self._disk, mode)
        except OSError as error:
            return PictureNotStored(picture.picture_id, error.strerror or str(error))
        return PictureStored(picture.picture_id)

    def _write_inputs(self, inputs: Inputs) -> InputsStored | InputsNotStored:
        for number, (file, data) in enumerate(inputs.files, start=1):
            if not has_sha256(data, file.sha256):
                reason = f"the sha256 of image {number} does not match its content"
                return InputsNotStored(inputs.key, reason, is_damaged=True)
        try:
            named = [(file.file_name, data) for file, data in inputs.files]
            write_all_durably(self._folders[Folder.BLOBS], named, self._disk)
        except OSError as error:
            return InputsNotStored(inputs.key, error.strerror or str(error))
        return InputsStored(inputs.key)

    def _read(self, reading: Reading) -> InputsRead | InputsUnreadable:
        blobs: list[bytes] = []
        for file in reading.files:
            try:
                blobs.append(self._read_input(file))
            except OSError as error:
                reason = f"the {file.kind} image cannot be read: {error.strerror or error}"
                return InputsUnreadable(reading.worker_id, reading.job_id, reading.lease, reason)
        return InputsRead(reading.worker_id, reading.lease, tuple(blobs))

    def _read_input(self, file: InputToRead) -> bytes:
        """Raises: OSError, also for a file whose bytes are others than those that were stored."""
        if file.file_name is None:
            raise FileNotFoundError("its file is no longer in the database")
        data = (self._folders[Folder.BLOBS] / file.file_name).read_bytes()
        if not has_sha256(data, file.sha256):
            raise OSError("its file has changed")
        return data

    def _move(self, move: Move) -> ModelMoved | ModelNotMoved:
        try:
            is_there = move_model(self._folders[Folder.MODELS], move, self._disk)
        except OSError as error:
            return ModelNotMoved(move.model_id, error.strerror or str(error))
        return ModelMoved(move.model_id) if is_there else ModelNotMoved(move.model_id)

    def _remove(self, file_names: tuple[str, ...]) -> Removed:
        removed = []
        for file_name in file_names:
            folder, _, name = file_name.partition("/")
            path = self._folders[Folder(folder)] / name
            try:
                if folder == Folder.MODELS:
                    remove(path, self._disk)  # the only one with folders inside
                else:
                    self._disk.unlink(path)
            except OSError:
                continue  # it stays in the trash, and is tried again
            removed.append(file_name)
        return Removed(tuple(removed))
