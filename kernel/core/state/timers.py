"""The core's deadlines: named, replaceable, with a cheap query for the next one (adr/0008)."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Due = TypeVar("Due", bound=Hashable)


@dataclass(slots=True)
class Timers(Generic[Due]):
    """A heap with lazy deletion: setting costs O(log n), clearing and asking O(1), amortized."""

    _when_s: dict[Due, float] = field(default_factory=dict)
    _heap: list[tuple[float, int, Due]] = field(default_factory=list)
    _serial: int = 0
    changes: int = 0
    """How often anything was set or cleared."""

    def set(self, due: Due, when_s: float) -> None:
        """Set or move a deadline. Units: seconds, on the one clock that all its deadlines use."""
        self._when_s[due] = when_s
        self.changes += 1
        self._serial += 1
        heappush(self._heap, (when_s, self._serial, due))
        if len(self._heap) > 64 + 4 * len(self._when_s):
            self._rebuild()

    def clear(self, due: Due) -> None:
        """Clear a deadline, if it is set."""
        if self._when_s.pop(due, None) is not None:
            self.changes += 1

    def __contains__(self, due: Due) -> bool:
        return due in self._when_s

    def __len__(self) -> int:
        return len(self._when_s)

    def when_s(self, due: Due) -> float | None:
        """The time of a deadline; None, if it is not set."""
        return self._when_s.get(due)

    def next_s(self) -> float | None:
        """The earliest deadline; None, if there is none."""
        while self._heap and self._when_s.get(self._heap[0][2]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_s: float) -> Due | None:
        """Remove and return the earliest deadline that has passed; None, if none has."""
        next_s = self.next_s()
        if next_s is None or next_s > now_s:
            return None
        due = heappop(self._heap)[2]
        del self._when_s[due]
        self.changes += 1
        return due

    def _rebuild(self) -> None:
        self._heap = [(when_s, n, due) for n, (due, when_s) in enumerate(self._when_s.items())]
        self._serial = len(self._heap)
        heapify(self._heap)
