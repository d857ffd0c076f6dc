"""Uploaded files, written to the disk of the models while they arrive, and never held in memory.

The API writes no other files. An upload is `<id>.part` until it is complete and durable, then `<id>`; the
fetch worker takes it over by its id, and the Manager removes leftovers when it starts.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from api.http.contract.errors import TooLarge
from api.http.framework.form_parts import FormReader, PartBegan, PartData
from conf.settings import Settings
from kernel.protocol.errors import DiskFull, SpoonError, wrong_field
from kernel.protocol.sources import uploaded_name

UPLOAD_PATH: Final = "/v1/models/upload"
FILE_FIELD: Final = "file"
MAX_FIELDS_BYTES: Final = 1 << 20
FORM_OVERHEAD_BYTES: Final = 2 << 20
"""Bytes that a form may have besides its file."""
LOOK_AT_DISK_BYTES: Final = 64 << 20
WRITE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """The folder of uploads, and their limits. Units: bytes."""

    models_folder: Path
    max_bytes: int
    min_free_bytes: int

    @property
    def max_body_bytes(self) -> int:
        """The longest form."""
        return self.max_bytes + FORM_OVERHEAD_BYTES

    def check_disk(self, missing_bytes: int = 0) -> None:
        """Raises: DiskFull, if this many more bytes would leave less than the minimum free."""
        try:
            free = shutil.disk_usage(self.models_folder).free
        except OSError as error:
            raise DiskFull(f"cannot use models.folder: {error.strerror}") from error
        if free - missing_bytes < self.min_free_bytes:
            raise DiskFull(
                f"the disk of models.folder has {free} bytes free: {missing_bytes} more would not leave "
                f"the {self.min_free_bytes} of images.min_free"
            )


def upload_limits(settings: Settings) -> UploadLimits:
    """The limits of this installation."""
    return UploadLimits(
        models_folder=settings.models.folder,
        max_bytes=settings.models.max_size_bytes,
        min_free_bytes=settings.images.min_free_bytes,
    )


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A complete, durable file, with the fields that came with it."""

    upload: str
    path: Path
    file_name: str
    """A label, as the sender calls the file; never used as a path."""
    fields: dict[str, list[str]] = field(default_factory=dict)

    def discard(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


class Receiver:
    """Receives a form as it arrives."""

    def __init__(self, limits: UploadLimits, content_type: str | None, length_bytes: int | None) -> None:
        """Raises: Malformed, if it is not a form; TooLarge; DiskFull, if it would not fit."""
        if length_bytes is not None and length_bytes > limits.max_body_bytes:
            raise TooLarge(f"the file has more than {limits.max_bytes} bytes (models.max_size)")
        limits.check_disk(length_bytes or 0)
        self._limits = limits
        self._form = FormReader(content_type)
        self._upload = secrets.token_hex(16)
        self._part = limits.models_folder / f"{uploaded_name(self._upload)}.part"
        self._file: int | None = None
        self._file_name: str | None = None
        self._fields: dict[str, list[bytearray]] = {}
        self._into: str | None = None
        """The field that data belongs to; None while it belongs to the file."""
        self._fields_bytes = self._file_bytes = self._looked_at = 0
        self._unwritten = bytearray()
        self.received_bytes = 0

    def take(self, data: bytes) -> None:
        """Take more bytes of the form.

        Raises: Malformed, TooLarge, DiskFull; then nothing of it is left, and the rest need not be sent.
        """
        self.received_bytes += len(data)
        with self._leaving_nothing():
            for event in self._form.feed(data):
                if isinstance(event, PartBegan):
                    self._begin(event)
                else:
                    self._add(event)

    def finish(self) -> Uploaded:
        """The form has ended: make the file durable.

        Raises: Malformed, if the form is incomplete; InvalidField, if it has no file; DiskFull.
        """
        with self._leaving_nothing():
            self._form.finish()
            if self._file is None or self._file_name is None:
                raise wrong_field(FILE_FIELD, "is required")
            self._write()
            os.fsync(self._file)
            path = self._part.with_suffix("")
            self._part.rename(path)
        os.close(self._file)
        self._file = None
        fields = {
            name: [value.decode(errors="replace") for value in each] for name, each in self._fields.items()
        }
        return Uploaded(self._upload, path, self._file_name, fields)

    @contextlib.contextmanager
    def _leaving_nothing(self) -> Iterator[None]:
        """If the block fails, remove the upload; errors of the disk become DiskFull."""
        try:
            yield
        except OSError as error:
            self.close()
            raise DiskFull(f"cannot write the file: {error.strerror}") from error
        except SpoonError:
            self.close()
            raise

    def close(self) -> None:
        """Remove an unfinished file: the client has gone, or was refused."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            with contextlib.suppress(OSError):  # then the Manager removes it at its next start
                self._part.unlink(missing_ok=True)

    def _begin(self, part: PartBegan) -> None:
        if part.name != FILE_FIELD:
            self._into = part.name
            self._fields.setdefault(part.name, []).append(bytearray())
            return
        if self._file_name is not None:
            raise wrong_field(FILE_FIELD, "must be sent once")
        self._into = None
        self._file_name = part.file_name or "model"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(self._part, flags, 0o600)

    def _add(self, more: PartData) -> None:
        if self._into is None:
            self._add_to_file(more.data)
            return
        self._fields_bytes += len(more.data)
        if self._fields_bytes > MAX_FIELDS_BYTES:
            raise TooLarge(f"the form fields must have at most {MAX_FIELDS_BYTES} bytes in total")
        self._fields[self._into][-1] += more.data

    def _add_to_file(self, data: bytes) -> None:
        self._file_bytes += len(data)
        if self._file_bytes > self._limits.max_bytes:
            raise TooLarge(f"the file has more than {self._limits.max_bytes} bytes (models.max_size)")
        if self._file_bytes - self._looked_at >= LOOK_AT_DISK_BYTES:
            self._looked_at = self._file_bytes
            self._limits.check_disk()
        self._unwritten += data
        if len(self._unwritten) >= WRITE_BYTES:
            self._write()

    def _write(self) -> None:
        assert self._file is not None, "data belongs to a file that was begun"
        view = memoryview(bytes(self._unwritten))
        self._unwritten.clear()
        while view:
            view = view[os.write(self._file, view) :]
