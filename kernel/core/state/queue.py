"""The waiting jobs of one engine, in the order of service."""

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
    _heap: list[_Place] = field(default_factory=list)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._places

    def __len__(self) -> int:
        return len(self._places)

    def put(self, job_id: JobId, priority: int, seq: int) -> None:
        """Add a job, or move it. Its position follows from its priority and its sequence number."""
        place = (-priority, seq, job_id)
        self._places[job_id] = place
        heappush(self._heap, place)
        self._compact()

    def remove(self, job_id: JobId) -> None:
        """Remove a job from any position."""
        del self._places[job_id]
        self._compact()

    def _compact(self) -> None:
        """Rebuild the heap once most of it is out of date."""
        if len(self._heap) > 64 + 4 * len(self._places):
            self._heap = list(self._places.values())
            heapify(self._heap)

    def first(self) -> JobId | None:
        """The next job; None, if the queue is empty."""
        while self._heap:
            place = self._heap[0]
            if self._places.get(place[2]) == place:
                return place[2]
            heappop(self._heap)
        return None
