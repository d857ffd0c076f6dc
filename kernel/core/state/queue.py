"""The waiting jobs of one engine, in the order of service."""

from collections import Counter
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from kernel.protocol.ids import JobId

_Place = tuple[int, int, JobId]


@dataclass(slots=True)
class JobQueue:
    """Highest priority first, then order of arrival. A requeued job returns to its old position.

    A heap with lazy deletion: every call costs O(log n) at most, amortized.
    """

    _places: dict[JobId, _Place] = field(default_factory=dict)
    _by_priority: Counter[int] = field(default_factory=Counter)
    _heap: list[_Place] = field(default_factory=list)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._places

    def __len__(self) -> int:
        return len(self._places)

    def put(self, job_id: JobId, priority: int, seq: int) -> None:
        """Add a job, or move it. Its position follows from its priority and its sequence number."""
        place = (-priority, seq, job_id)
        if job_id in self._places:
            self._uncount(self._places[job_id])
        self._places[job_id] = place
        self._by_priority[priority] += 1
        heappush(self._heap, place)
        self._compact()

    def remove(self, job_id: JobId) -> None:
        """Remove a job from any position."""
        self._uncount(self._places.pop(job_id))
        self._compact()

    def _uncount(self, place: _Place) -> None:
        priority = -place[0]
        self._by_priority[priority] -= 1
        if not self._by_priority[priority]:
            del self._by_priority[priority]

    def _compact(self) -> None:
        """Rebuild the heap once most of it is out of date."""
        if len(self._heap) > 64 + 4 * len(self._places):
            self._heap = list(self._places.values())
            heapify(self._heap)

    def ahead_of_newest(self, priority: int) -> int:
        """The number of jobs ahead of the one with this priority that came last. O(priorities in use)."""
        return sum(count for other, count in self._by_priority.items() if other >= priority) - 1

    def first(self) -> JobId | None:
        """The next job; None, if the queue is empty."""
        while self._heap:
            place = self._heap[0]
            if self._places.get(place[2]) == place:
                return place[2]
            heappop(self._heap)
        return None
