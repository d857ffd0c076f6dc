"""Finds the models of an order on this host, or brings them here: the engine then opens local files only.

First the worker's own folders, with mappings; then the cache; then the Manager.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from engine_worker.formats.allowed_paths import resolve
from engine_worker.model_files.cache import Cache, key_of
from engine_worker.model_files.copying import Moved, copy_model
from engine_worker.model_files.courier import Courier
from engine_worker.model_files.folder_map import Mapping, mapped
from kernel.process.log import line
from kernel.protocol.errors import DiskFull, DownloadFailed, ModelUnreadable
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.sources import path_uri

MovedAll = Callable[[int, int, int | None], None]
"""Takes the bytes that are here and the total, of the models that were lacking, and bytes per second."""
TELL_EVERY_S: Final = 0.25
LOOK_EVERY_S: Final = 0.25
"""While another worker of this host copies the same model."""
ASK_EVERY_S: Final = 2.0
"""While the server computes the digest of a model."""
DIGEST_S: Final = 1_800.0
"""A slow disk reads 200 GB in this time."""
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LocalModels:
    """The models that this worker can open, and a way to those that it lacks."""

    roots: Sequence[Path]
    """Folders of this host that may contain models: those of the mappings, too."""
    mappings: Sequence[Mapping]
    cache: Cache | None
    courier: Courier
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def find(self, source: ModelSource) -> ModelSource | None:
        """The model with an address on this host; None, if it is not here."""
        path = self._own(source) or self._cached(source)
        return None if path is None else replace(source, uri=path_uri(str(path)))

    def bring(self, source: ModelSource, moved: Moved) -> ModelSource:
        """The same, after copying it from the Manager's host if it is not here.

        Raises: ModelUnreadable, if it cannot be asked for; DownloadFailed; DiskFull.
        """
        seen_bytes = -1
        while (found := self.find(source)) is None:
            cache = self._cache_for(source)
            if source.sha256 is None:
                source = self._identified(source, moved)
                continue
            try:
                with cache.copying(key_of(source)) as is_mine:
                    if is_mine:
                        copy_model(source, cache, self.courier, moved)
                        continue
            except OSError as error:
                raise DiskFull(f"cannot use {cache.folder}: {error.strerror or error}") from error
            copied_bytes = cache.copied_bytes(key_of(source))
            if copied_bytes != seen_bytes:
                seen_bytes = copied_bytes
                moved(copied_bytes)
            self.sleep(LOOK_EVERY_S)
        return found

    def bring_all(self, sources: Sequence[ModelSource], moved: MovedAll) -> tuple[ModelSource, ...]:
        """All of them.

        Raises: as `bring`.
        """
        lacking = [source for source in sources if self.find(source) is None]
        total_bytes = sum(source.size_bytes or 0 for source in lacking)
        before_bytes = 0
        brought: list[ModelSource] = []
        for source in sources:
            if source not in lacking:
                brought.append(self.find(source) or source)
                continue
            progress = _Progress(before_bytes, total_bytes, moved, self.clock)
            brought.append(self.bring(source, progress.note))
            before_bytes += source.size_bytes or 0
        return tuple(brought)

    def _own(self, source: ModelSource) -> Path | None:
        """The model in this host's own folders, by mapping or at the registered path."""
        place = mapped(source.uri, self.mappings)
        uris = (*(() if place is None else (path_uri(str(place)),)), source.uri)
        for uri in uris:
            try:
                path = resolve(uri, self.roots)
                is_it = path.is_dir() or source.size_bytes in (None, path.stat().st_size)
            except (ModelUnreadable, OSError):
                continue
            if is_it:
                return path
            _log.warning(line("model_differs_here", model_id=source.model_id, path=str(path)))
        return None

    def _cached(self, source: ModelSource) -> Path | None:
        if self.cache is None or source.sha256 is None:
            return None
        try:
            return self.cache.find(key_of(source))
        except OSError as error:
            raise DiskFull(f"cannot use {self.cache.folder}: {error.strerror or error}") from error

    def _cache_for(self, source: ModelSource) -> Cache:
        """Raises: ModelUnreadable."""
        if self.cache is None:
            raise ModelUnreadable(
                f"{source.name} is not on this host: start the worker with --cache-folder, or with --map "
                "and a shared folder"
            )
        return self.cache

    def _identified(self, source: ModelSource, moved: Moved) -> ModelSource:
        """The same with its digest, which the server computes now, before those of other models.

        Raises: DownloadFailed.
        """
        give_up_at = self.clock() + DIGEST_S
        while self.clock() < give_up_at:
            if (sha256 := self.courier.sha256_of(source)) is not None:
                return replace(source, sha256=sha256)
            moved(0)
            self.sleep(ASK_EVERY_S)
        raise DownloadFailed(
            f"{source.name} is not on this host, and the server has not computed its sha256, by which it "
            "could be copied here, in half an hour"
        )


class _Progress:
    """Tells a few times a second how far the copying of one of several models is."""

    def __init__(
        self, before_bytes: int, total_bytes: int, moved: MovedAll, clock: Callable[[], float]
    ) -> None:
        self._before_bytes, self._total_bytes = before_bytes, total_bytes
        self._moved, self._clock = moved, clock
        self._first: tuple[float, int] | None = None
        self._tell_at = 0.0

    def note(self, done_bytes: int) -> None:
        """So many bytes of the model are here; those of an earlier worker do not count for the rate."""
        now = self._clock()
        began_at, first_bytes = self._first = self._first or (now, done_bytes)
        if now < self._tell_at:
            return
        self._tell_at = now + TELL_EVERY_S
        took_s = now - began_at
        rate = round((done_bytes - first_bytes) / took_s) if took_s > 1 else None
        self._moved(self._before_bytes + done_bytes, self._total_bytes, rate)
