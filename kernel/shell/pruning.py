"""Selects the images that a prune deletes, a limited number at a time; a dry run uses stored counts.

A dry run names no image: it adds up whole days from the table `image_count`, and reads single images only of
the day in which it stops. So its cost hardly depends on the number of images.
"""

from itertools import islice
from typing import Final

import apsw
from msgspec import Struct

from kernel.core.events import Prunable
from kernel.protocol import client
from kernel.protocol.enums import GoneReason
from kernel.protocol.ids import EngineId, ImageId
from kernel.shell import rowmap
from kernel.views.named_sql import load_queries

ALL: Final = -1
"""No limit, as SQL's LIMIT has it."""
DAY_MS: Final = 86_400_000


class Sum(Struct):
    """A number of images, with their bytes."""

    count: int = 0
    size_bytes: int = 0

    def add(self, count: int, size_bytes: int) -> None:
        self.count += count
        self.size_bytes += size_bytes


class Pruning:
    """Reads on the writer's own connection, as StateReader does."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._sql = load_queries("kernel.shell", "store.sql")
        self._execute = connection.cursor().execute

    def due(
        self, ask: client.PruneImages, now_ms: int, most: int, there: frozenset[str] | None = None
    ) -> Prunable:
        """Images that are expired, old or without a file first, then the oldest others until the size limit
        is met; at most `most`. `there`: see `StateReader.prunable`."""
        expired = _sizes(self._execute(self._sql["expired_images"], (now_ms, ask.engine_id, most)))
        before_ms = _before_ms(ask, now_ms)
        old = {} if before_ms is None else _sizes(self._of("images_before", ask, before_ms, most))
        missing = {} if there is None else self._missing(ask.engine_id, there, most)
        sizes = old | expired | {image_id: size_bytes for image_id, (_, size_bytes) in missing.items()}
        found = (
            dict.fromkeys(old, GoneReason.DELETED)
            | dict.fromkeys(missing, GoneReason.LOST)
            | dict.fromkeys(expired, GoneReason.EXPIRED)
        )
        if ask.keep_bytes is not None and (most == ALL or len(found) < most):
            kept_bytes = sum(day.size_bytes for day in self._kept_days(ask).values())
            excess_bytes = kept_bytes - sum(sizes.values()) - ask.keep_bytes
            oldest = _sizes(self._of("oldest_images", ask, most)) if excess_bytes > 0 else {}
            for image_id, size_bytes in oldest.items():
                if excess_bytes > 0 and image_id not in found:
                    excess_bytes -= size_bytes
                    found[image_id], sizes[image_id] = GoneReason.QUOTA, size_bytes
        images = tuple(islice(found.items(), None if most == ALL else most))
        return Prunable(
            images,
            size_bytes=sum(sizes[image_id] for image_id, _ in images if image_id not in missing),
            has_more=most != ALL and len(found) >= most,
            missing_files=tuple(missing[image_id][0] for image_id, _ in images if image_id in missing),
        )

    def counted(self, ask: client.PruneImages, now_ms: int) -> Prunable:
        """The number of images and bytes that `due` would select in the end."""
        days, found = self._kept_days(ask), Sum()
        for day, count, size_bytes in self._execute(self._sql["expired_days"], (now_ms, ask.engine_id)):
            days[day].add(-count, -size_bytes)
            found.add(count, size_bytes)
        from_ms = 0
        before_ms = _before_ms(ask, now_ms)
        if before_ms is not None:
            self._take_before(ask, now_ms, before_ms, days, found)
            from_ms = before_ms + 1
        if ask.keep_bytes is not None:
            self._take_beyond(ask, now_ms, from_ms, days, found)
        return Prunable((), size_bytes=found.size_bytes, counted=found.count)

    def _take_before(
        self, ask: client.PruneImages, now_ms: int, before_ms: int, days: dict[int, Sum], found: Sum
    ) -> None:
        """Add the images made before a given moment to `found`: whole days, and a part of the last."""
        last = before_ms // DAY_MS
        for day in [day for day in days if day < last]:
            whole = days.pop(day)
            found.add(whole.count, whole.size_bytes)
        if last in days:
            for size_bytes in self._kept_between(ask, now_ms, last * DAY_MS, before_ms):
                days[last].add(-1, -size_bytes)
                found.add(1, size_bytes)

    def _take_beyond(
        self, ask: client.PruneImages, now_ms: int, from_ms: int, days: dict[int, Sum], found: Sum
    ) -> None:
        """Count the oldest images from a given moment on, until the rest is below the limit."""
        excess_bytes = sum(day.size_bytes for day in days.values()) - (ask.keep_bytes or 0)
        for day, kept in sorted(days.items()):
            if excess_bytes < kept.size_bytes:
                end_ms = (day + 1) * DAY_MS - 1
                for size_bytes in self._kept_between(ask, now_ms, max(from_ms, day * DAY_MS), end_ms):
                    if excess_bytes <= 0:
                        return
                    excess_bytes -= size_bytes
                    found.add(1, size_bytes)
            else:
                excess_bytes -= kept.size_bytes
                found.add(kept.count, kept.size_bytes)

    def _kept_between(self, ask: client.PruneImages, now_ms: int, from_ms: int, to_ms: int) -> list[int]:
        """Read to the end: an open query would block checkpoints of the write-ahead log."""
        return [size for (size,) in self._of("kept_between", ask, from_ms, to_ms, now_ms)]

    def _kept_days(self, ask: client.PruneImages) -> dict[int, Sum]:
        return {day: Sum(count, size) for day, count, size in self._of("kept_days", ask)}

    def _of(self, query: str, ask: client.PruneImages, *values: rowmap.SqlValue) -> apsw.Cursor:
        """Rows of one engine or of all; each has its own query, because each has its own index."""
        if ask.engine_id is None:
            return self._execute(self._sql[query], values)
        return self._execute(self._sql[f"{query}_of_engine"], (*values, ask.engine_id))

    def _missing(
        self, engine_id: EngineId | None, there: frozenset[str], most: int
    ) -> dict[ImageId, tuple[str, int]]:
        """Images without files: the name and the size of each."""
        rows = self._execute(self._sql["kept_images"], (engine_id,))
        missing = ((name, image_id, size) for name, image_id, size in rows if name not in there)
        return {ImageId(i): (name, size) for name, i, size in islice(missing, None if most == ALL else most)}


def _sizes(rows: apsw.Cursor) -> dict[ImageId, int]:
    return {ImageId(image_id): size_bytes for image_id, size_bytes in rows}


def _before_ms(ask: client.PruneImages, now_ms: int) -> int | None:
    return None if ask.older_than_s is None else now_ms - int(ask.older_than_s * 1000)
