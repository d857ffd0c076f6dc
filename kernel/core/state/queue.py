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
        """Add a job. Its position follows from its priority and its sequence number."""
        place = (-priority, seq, job_id)
        self._places[job_id] = place
        heappush(self._heap, place)

    def remove(self, job_id: JobId) -> None:
        """Remove a job from any position."""
        del self._places[job_id]
        if len(self._heap) > 64 + 4 * len(self._places):
            self._heap = list(self._places.values())
            heapify(self._heap)

    def first(self) -> JobId | None:
        """The next job; None, if the queue is empty."""
        while self._heap:
            job_id = self._heap[0][2]
            if job_id in self._places:
                return job_id
            heappop(self._heap)
        return None
