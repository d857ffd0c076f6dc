"""Copies a model from the Manager's host into the cache, and checks that it is the registered one."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from engine_worker.model_files.cache import STEM, Cache, key_of, sync
from engine_worker.model_files.courier import Courier
from kernel.process.log import line
from kernel.protocol.errors import DiskFull, DownloadFailed
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.sources import is_inside
from kernel.protocol.worker import FileOfModel, ModelFiles

SYNC_BYTES: Final = 8 << 20
"""So much is lost by a power cut at most, and no sync keeps the disk from others for long."""
MOST_FILES: Final = 500
_CHUNK_BYTES: Final = 4 << 20
_ENDINGS: Final = frozenset({".json", ".txt", ".model", ".safetensors", ".onnx", ".yaml"})
_TRIES: Final = 2
_log: Final = logging.getLogger(__name__)

Moved = Callable[[int], None]
"""Takes the bytes of the model that are here."""


class PartFile:
    """A file that is being copied, and the digest of what it has so far."""

    def __init__(self, path: Path) -> None:
        """What is there already is kept; if it is wrong, the digest will be. Raises: OSError."""
        self._file = path.open("a+b")
        self.size_bytes = path.stat().st_size
        self._digest = hashlib.sha256()
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK_BYTES):
            self._digest.update(chunk)
        self._unsynced_bytes = 0

    def append(self, data: bytes) -> None:
        """Raises: OSError."""
        self._file.write(data)
        self._file.flush()  # others see how far it is
        self._digest.update(data)
        self.size_bytes += len(data)
        self._unsynced_bytes += len(data)
        if self._unsynced_bytes >= SYNC_BYTES:
            self._sync()

    def close(self) -> str:
        """Sync and close it. Returns: its sha256. Raises: OSError."""
        self._sync()
        self._file.close()
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Close it for now; what it has stays."""
        self._file.close()

    def _sync(self) -> None:
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._unsynced_bytes = 0


def copy_model(source: ModelSource, cache: Cache, courier: Courier, moved: Moved) -> None:
    """Bring a model into the cache, going on where an earlier worker stopped. Whoever calls has the right to.

    If the content is wrong, it is copied anew, once.
    Raises: DownloadFailed; DiskFull.
    """
    try:
        for _ in range(_TRIES):
            listing = courier.files_of(source)
            _check(source, listing)
            if _copy(source, listing, cache, courier, moved) == source.sha256:
                cache.keep(key_of(source), is_folder=listing.is_folder)
                return
            cache.drop_parts(key_of(source))
    except OSError as error:
        text = f"cannot copy {source.name} to {cache.folder}: {error.strerror or error}"
        raise DiskFull(text) from error
    raise DownloadFailed(
        f"{source.name} on the Manager's host is not what was registered: its sha256 differs. Retry the "
        "model there (`spoon models retry`) to take it as it is now"
    )


def _check(source: ModelSource, listing: ModelFiles) -> None:
    """Raises: DownloadFailed, if these cannot be the files of the model."""
    files = listing.files
    names = [file.name for file in files]
    is_sound = 0 < len(names) <= MOST_FILES and len(set(names)) == len(names)
    is_sound = is_sound and all(is_inside(name) and Path(name).suffix.lower() in _ENDINGS for name in names)
    if not listing.is_folder:
        is_sound = is_sound and Path(names[0]).stem == STEM and not any("/" in name for name in names)
    if not is_sound:
        raise DownloadFailed(f"the Manager names no proper files of {source.name}")


def _copy(source: ModelSource, listing: ModelFiles, cache: Cache, courier: Courier, moved: Moved) -> str:
    """Copy all files. Returns: the model's sha256, as its registration made it.

    Raises: DownloadFailed; OSError.
    """
    key = key_of(source)
    cache.make_room(key, sum(file.size_bytes for file in listing.files))
    begun_bytes = cache.copied_bytes(key)
    _log.info(line("model_copying", model_id=source.model_id, sha256=source.sha256, from_bytes=begun_bytes))
    hashes: dict[str, str] = {}
    before_bytes = 0
    for file in listing.files:
        path = cache.part_folder(key) / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        hashes[file.name] = _copy_file(source, file, path, courier, _after(before_bytes, moved))
        before_bytes += file.size_bytes
    sync(cache.part_folder(key))
    if not listing.is_folder:
        return hashes[listing.files[0].name]
    lines = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return hashlib.sha256(os.fsencode(lines)).hexdigest()


def _copy_file(source: ModelSource, file: FileOfModel, path: Path, courier: Courier, moved: Moved) -> str:
    """Raises: DownloadFailed; OSError."""
    sink = PartFile(path)
    try:
        moved(sink.size_bytes)
        courier.copy(source, file, sink, moved)
        return sink.close()
    finally:
        sink.abandon()


def _after(before_bytes: int, moved: Moved) -> Moved:
    return lambda done_bytes: moved(before_bytes + done_bytes)
