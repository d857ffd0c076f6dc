"""The sha256 of a model: of its file, or of the list of its files, so that copies are recognized."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine_worker.formats.allowed_paths import ModelFile
from kernel.protocol.errors import ModelUnreadable

Moved = Callable[[int, int], None]
"""Takes the bytes read so far, and the total."""

_CHUNK_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Digest:
    """The sha256 and size of a model."""

    sha256: str
    size_bytes: int


@dataclass(slots=True)
class _Reading:
    """The progress of reading all files."""

    total_bytes: int
    moved: Moved
    done_bytes: int = 0
    buffer: bytearray = field(default_factory=lambda: bytearray(_CHUNK_BYTES))

    def hash_file(self, held: ModelFile) -> str:
        digest = hashlib.sha256()
        view = memoryview(self.buffer)
        with held.open() as file:
            while count := file.readinto(self.buffer):
                digest.update(view[:count])
                self.done_bytes += count
                self.moved(self.done_bytes, self.total_bytes)
        return digest.hexdigest()


def digest_file(held: ModelFile, moved: Moved) -> Digest:
    """The sha256 of one file.

    Raises: ModelUnreadable, if it cannot be read, or changes while it is read.
    """
    hashes, size_bytes = _hash_all([held], moved)
    return Digest(hashes[0], size_bytes)


def digest_files(files: Sequence[tuple[str, ModelFile]], moved: Moved, known: Mapping[str, str]) -> Digest:
    """The sha256 of the lines `<sha256>  <relative name>`, as `sha256sum` prints them for the files.

    `known` are digests by those names, of files that need not be read again.
    Raises: ModelUnreadable, if a file cannot be read, or changes while it is read.
    """
    unread = [(name, held) for name, held in files if name not in known]
    hashes, _ = _hash_all([held for _, held in unread], moved)
    found = dict(known) | dict(zip([name for name, _ in unread], hashes, strict=True))
    lines = "".join(f"{found[name]}  {name}\n" for name, _ in files)
    size_bytes = sum(held.size_bytes for _, held in files)
    return Digest(hashlib.sha256(os.fsencode(lines)).hexdigest(), size_bytes)


def _hash_all(files: Sequence[ModelFile], moved: Moved) -> tuple[list[str], int]:
    try:
        reading = _Reading(sum(held.size_bytes for held in files), moved)
        hashes = [reading.hash_file(held) for held in files]
    except OSError as error:
        raise ModelUnreadable(f"cannot read the whole model: {error.strerror}") from error
    if reading.done_bytes != reading.total_bytes:
        raise ModelUnreadable("the model changed while it was being read: register it when it is complete")
    return hashes, reading.total_bytes
