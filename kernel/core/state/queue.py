"""The waiting jobs of one engine, in the order of service: keys take turns, priority orders a key's own jobs.

Turns are those of stride scheduling: each key has a pass, which a turn moves on by a stride, the longer the
smaller the key's weight; the turn is that of the lowest pass. So while two keys have waiting jobs, the turns
that they get differ from the ratio of their weights by less than one turn of each. Jobs without a key are
served as those of one more key of weight 1: without any keys the order is priority, then arrival. A key that
comes, or comes back, starts at the present pass: it neither catches up on turns that it did not want nor gets
one again that it had. Nothing of this is stored: a start begins with everyone at the same pass.
Source: Waldspurger and Weihl, Stride Scheduling, 1995; adr/0063.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final

from kernel.protocol.ids import JobId, KeyId

_Place = tuple[int, int, JobId]

_STRIDE: Final = 1 << 40
"""Of weight 1, and divided by any other. A whole number, so that nothing adds up rounding errors."""


@dataclass(slots=True)
class _Line:
    """The waiting jobs of one key: highest priority first, then order of arrival.

    A heap with lazy deletion: every call costs O(log n) at most, amortized.
    """

    stride: int = _STRIDE
    turn: int = 0
    """Its pass: when its next turn is."""
    places: dict[JobId, _Place] = field(default_factory=dict)
    _by_priority: Counter[int] = field(default_factory=Counter)
    _heap: list[_Place] = field(default_factory=list)

    def put(self, place: _Place) -> None:
        self.places[place[2]] = place
        self._by_priority[-place[0]] += 1
        heappush(self._heap, place)
        self._compact()

    def remove(self, job_id: JobId) -> None:
        priority = -self.places.pop(job_id)[0]
        self._by_priority[priority] -= 1
        if not self._by_priority[priority]:
            del self._by_priority[priority]
        self._compact()

    def _compact(self) -> None:
        """Rebuild the heap once most of it is out of date."""
        if len(self._heap) > 64 + 4 * len(self.places):
            self._heap = list(self.places.values())
            heapify(self._heap)

    def ahead_of_newest(self, priority: int) -> int:
        """The number of its jobs ahead of the one with this priority that came last. O(priorities in use)."""
        return sum(count for other, count in self._by_priority.items() if other >= priority) - 1

    def first(self) -> _Place | None:
        while self._heap:
            place = self._heap[0]
            if self.places.get(place[2]) == place:
                return place
            heappop(self._heap)
        return None

    def head(self, count: int) -> list[_Place]:
        """Its first jobs, at most so many, as far as they have the priority of the first one.
        O(count log n)."""
        found: list[_Place] = []
        while len(found) < count and (place := self.first()) is not None:
            if found and place[0] != found[0][0]:
                break
            heappop(self._heap)
            if found[-1:] != [place]:  # one that came back to its old place may be in the heap twice
                found.append(place)
        for place in found:
            heappush(self._heap, place)
        return found


@dataclass(slots=True)
class JobQueue:
    """Waiting jobs by key. A requeued job returns to its old position among those of its key.

    Calls cost O(log n) amortized for n jobs, and `first` and `ahead_of_newest` O(keys that wait) besides.
    """

    _lines: dict[KeyId | None, _Line] = field(default_factory=dict)
    """Of the keys that wait, and of those that have had a turn which is not over yet for the others."""
    _key_of: dict[JobId, KeyId | None] = field(default_factory=dict)
    _now: int = 0
    """The highest pass that had a turn."""

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._key_of

    def __len__(self) -> int:
        return len(self._key_of)

    def __iter__(self) -> Iterator[JobId]:
        """All jobs, in no order."""
        return iter(self._key_of)

    def waiting(self, blocked: Collection[KeyId | None] = ()) -> int:
        """The number of jobs of keys that are not blocked. O(keys that wait)."""
        return sum(len(line.places) for key_id, line in self._lines.items() if key_id not in blocked)

    def has_key(self, key_id: KeyId) -> bool:
        """True if a job of the key waits."""
        return key_id in self._lines and bool(self._lines[key_id].places)

    def put(
        self, job_id: JobId, priority: int, seq: int, key_id: KeyId | None = None, weight: int = 1
    ) -> None:
        """Add a job, or move it among those of its key."""
        if job_id in self._key_of:
            self._lines[key_id].remove(job_id)
        if (line := self._lines.get(key_id)) is None:
            line = self._lines[key_id] = _Line(stride=_STRIDE // weight)
        if not line.places:
            line.turn = max(line.turn, self._now)
        self._key_of[job_id] = key_id
        line.put((-priority, seq, job_id))

    def remove(self, job_id: JobId) -> None:
        """Remove a job from any position, without a turn."""
        key_id = self._key_of.pop(job_id)
        self._lines[key_id].remove(job_id)
        self._forget(key_id)

    def take(self, job_id: JobId) -> None:
        """Remove a job that is given to a worker: its key has had a turn."""
        line = self._lines[self._key_of[job_id]]
        self._now = max(self._now, line.turn)
        line.turn += line.stride
        self.remove(job_id)
        for key_id in [key_id for key_id, other in self._lines.items() if not other.places]:
            self._forget(key_id)

    def _forget(self, key_id: KeyId | None) -> None:
        line = self._lines[key_id]
        if not line.places and line.turn <= self._now:
            del self._lines[key_id]

    def set_weight(self, key_id: KeyId, weight: int) -> None:
        """Change a key's share, and with it the time until its next turn."""
        if (line := self._lines.get(key_id)) is not None:
            stride = _STRIDE // weight
            line.turn = self._now + (line.turn - self._now) * stride // line.stride
            line.stride = stride

    def resume(self, key_id: KeyId) -> None:
        """A key that was blocked is not any more: it goes on at the present pass."""
        if (line := self._lines.get(key_id)) is not None:
            line.turn = max(line.turn, self._now)

    def ahead_of_newest(self, priority: int, key_id: KeyId | None = None) -> int:
        """The number of jobs that go before the one of this key and priority that came last, if nothing
        changes."""
        line = self._lines[key_id]
        ahead = line.ahead_of_newest(priority)
        turn = line.turn + ahead * line.stride
        others = (other for other in self._lines.values() if other is not line)
        return ahead + sum(min(len(one.places), _turns_until(one, turn)) for one in others)

    def first(self, blocked: Collection[KeyId | None] = ()) -> JobId | None:
        """The next job of keys that are not blocked; None, if there is none. Of two keys at the same pass, it
        is that of the one whose job came first."""
        best: tuple[int, int, JobId] | None = None
        for key_id, line in self._lines.items():
            if (best is None or line.turn <= best[0]) and key_id not in blocked:
                place = line.first()
                if place is not None and (best is None or (line.turn, place[1]) < best[:2]):
                    best = (line.turn, place[1], place[2])
        return None if best is None else best[2]

    def following(self, job_id: JobId, count: int) -> list[JobId]:
        """The jobs right behind the first one of its key, at most so many, as far as they have its
        priority."""
        return [place[2] for place in self._lines[self._key_of[job_id]].head(count + 1)[1:]]


def _turns_until(line: _Line, turn: int) -> int:
    """How many turns a line has up to that pass. At the same pass it goes first, for its jobs are older."""
    return max(0, (turn - line.turn) // line.stride + 1)
