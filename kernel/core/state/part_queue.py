"""The parts of models that workers of other hosts have asked for: which is sent next, and when.

A model's gigabytes share the bus with orders and images, and the disk with the files of images. So a part is
short, few are read at once, a worker has few of them in its connection, and all workers together get no more
than so many bytes a second. Workers take turns, so that one that asks for much delays no other.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from kernel.core.events import WantedPart
from kernel.protocol.ids import WorkerId

PART_BYTES: Final = 256 << 10
"""The longest part: encrypting it takes half a millisecond, for which an order may have to wait."""
MOST_ASKED: Final = 8
"""Parts that a worker may have asked for and not got; further requests are ignored."""
MOST_READ: Final = 2
"""Parts that are read at once: the next one is ready when one has been sent."""
BURST_S: Final = 0.05
"""After a pause, this much of a second's bytes is sent at once."""


@dataclass(slots=True)
class PartQueue:
    """Requests by worker, in the order of their turns. Units: seconds on one monotonic clock."""

    changes: int = 0
    """How often anything has changed."""
    reading: int = 0
    free_at_s: float = 0.0
    """When the next part may be read, by the rate."""
    _asked: dict[WorkerId, deque[WantedPart]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self._asked.values()))

    def __iter__(self) -> Iterator[WantedPart]:
        return (part for parts in self._asked.values() for part in parts)

    def ask(self, part: WantedPart) -> None:
        """Add a request, unless it is there already, or its worker has too many."""
        parts = self._asked.get(part.worker_id, ())
        if part not in parts and len(parts) < MOST_ASKED:
            self.changes += 1
            self._asked.setdefault(part.worker_id, deque()).append(part)

    def take(self, now_s: float, bytes_per_s: int) -> WantedPart | None:
        """The part to be read now, if there is one; its bytes count from now on."""
        if not self._asked or self.reading >= MOST_READ or now_s < self.free_at_s:
            return None
        worker_id = next(iter(self._asked))
        parts = self._asked.pop(worker_id)
        part = parts.popleft()
        if parts:
            self._asked[worker_id] = parts  # behind the others
        self.free_at_s = max(self.free_at_s, now_s - BURST_S) + part.size_bytes / bytes_per_s
        self.reading += 1
        self.changes += 1
        return part

    def end_reading(self) -> None:
        """A part was read, or could not be."""
        self.reading -= 1
        self.changes += 1

    def forget(self, worker_id: WorkerId) -> None:
        """Drop the requests of a worker that is gone."""
        if self._asked.pop(worker_id, None) is not None:
            self.changes += 1

    def look_again_at_s(self) -> float | None:
        """When the next part may be read; None, if none waits, or one that is being read comes first."""
        return self.free_at_s if self._asked and self.reading < MOST_READ else None
