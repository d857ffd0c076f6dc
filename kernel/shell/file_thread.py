"""Writes, reads, moves and removes files on a thread of its own, so that the broker never waits for a
disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import assert_never

from kernel.core.actions import InputToStore, ReadModelPart
from kernel.core.events import (
    InputsNotStored,
    InputsStored,
    InputsUnreadable,
    ModelMoved,
    ModelNotMoved,
    OutputNotStored,
    OutputStored,
)
from kernel.core.ports import Folder
from kernel.process.wakeup import PollableQueue
from kernel.protocol.codec import Frame
from kernel.protocol.enums import InputKind
from kernel.protocol.ids import BlobId, ImageId, JobId, Lease, WorkerId
from kernel.shell.files import GROUP_FILE, PRIVATE_FILE, has_sha256, write_all_durably, write_durably
from kernel.shell.fs_ops import FileSystem
from kernel.shell.model_files import Move, move_model, remove
from kernel.shell.model_parts import PartOutcome, PartReader


@dataclass(frozen=True, slots=True)
class Output:
    """The bytes of an image or a control map, and their digest."""

    output_id: ImageId | BlobId
    folder: Folder
    file_name: str
    sha256: str
    data: Frame


@dataclass(frozen=True, slots=True)
class Inputs:
    """The input images of a command: all of them are stored, or none."""

    key: str
    files: tuple[tuple[InputToStore, Frame], ...]


@dataclass(frozen=True, slots=True)
class InputToRead:
    """An input image of a job; `file_name` is None if the database does not know the file any more."""

    kind: InputKind
    file_name: str | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Input images of a job, to be read for the worker that the job was given to."""

    worker_id: WorkerId
    job_id: JobId
    lease: Lease
    files: tuple[InputToRead, ...]


@dataclass(frozen=True, slots=True)
class InputsRead:
    """The input images that were read, in the requested order."""

    worker_id: WorkerId
    lease: Lease
    blobs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """Files that were removed, named as in the trash, `folder/name`."""

    file_names: tuple[str, ...]


Task = Output | Inputs | Reading | Move | tuple[str, ...]
Outcome = (
    OutputStored
    | OutputNotStored
    | InputsStored
    | InputsNotStored
    | InputsUnreadable
    | InputsRead
    | ModelMoved
    | ModelNotMoved
    | Removed
    | PartOutcome
)


class FileThread:
    """Does tasks one after the other, in order; `outcomes` fills up, and `fileno` becomes readable."""

    def __init__(
        self,
        folders: Mapping[Folder, Path],
        disk: FileSystem,
        *,
        are_images_shared: bool = False,
        model_roots: Sequence[Path] = (),
    ) -> None:
        """The folders must exist. Shared images are readable by their group; all other files are private.
        `model_roots` may contain local models."""
        self._folders, self._disk = folders, disk
        self._image_mode = GROUP_FILE if are_images_shared else PRIVATE_FILE
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._outcomes: PollableQueue[Outcome | BaseException] = PollableQueue()
        self._thread = Thread(target=self._run, name="files", daemon=True)
        self._thread.start()
        self._parts = PartReader(folders.get(Folder.MODELS), model_roots, self._outcomes.put)

    def fileno(self) -> int:
        return self._outcomes.fileno()

    def store(self, files: Output | Inputs) -> None:
        self._tasks.put(files)

    def read(self, reading: Reading) -> None:
        self._tasks.put(reading)

    def move_model(self, move: Move) -> None:
        self._tasks.put(move)

    def read_part(self, task: ReadModelPart) -> None:
        """Read a part of a model, beside the other tasks: an image never waits for it."""
        self._parts.read(task)

    def remove(self, file_names: Sequence[str]) -> None:
        self._tasks.put(tuple(file_names))

    def take_outcomes(self) -> list[Outcome]:
        """The outcomes since the last call.

        Raises: the unexpected error that ended the thread, because the Manager cannot go on without it.
        """
        outcomes: list[Outcome] = []
        for outcome in self._outcomes.take_all():
            if isinstance(outcome, BaseException):
                raise outcome
            outcomes.append(outcome)
        return outcomes

    def close(self) -> None:
        """Finish the pending tasks, then end the thread."""
        self._tasks.put(None)
        self._thread.join()
        self._parts.close()
        self._outcomes.close()

    def _run(self) -> None:
        try:
            while (task := self._tasks.get()) is not None:
                self._outcomes.put(self._do(task))
        except BaseException as surprise:  # noqa: BLE001  the outermost frame of this thread
            self._outcomes.put(surprise)

    def _do(self, task: Task) -> Outcome:
        match task:
            case Output():
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

    def _write(self, output: Output) -> OutputStored | OutputNotStored:
        if not has_sha256(output.data, output.sha256):
            reason = "its sha256 does not match its content"
            return OutputNotStored(output.output_id, reason, is_damaged=True)
        folder = self._folders[output.folder]
        mode = self._image_mode if output.folder is Folder.IMAGES else PRIVATE_FILE
        try:
            write_durably(folder, output.file_name, output.data, self._disk, mode)
        except OSError as error:
            return OutputNotStored(output.output_id, error.strerror or str(error))
        return OutputStored(output.output_id)

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
        """Raises: OSError, also if the file's bytes are not those that were stored."""
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
                    remove(path, self._disk)  # only this folder contains folders
                else:
                    self._disk.unlink(path)
            except OSError:
                continue  # it stays in the trash and is tried again
            removed.append(file_name)
        return Removed(tuple(removed))
