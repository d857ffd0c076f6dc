"""The open deliveries: which may be sent next.

Deliveries about one job to one receiver form a line, of which only the first may be sent, so that they arrive
in order. Between hosts the sending takes turns, and each host has few places, only one while it fails: a dead
receiver delays nobody else.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from kernel.core.state.timers import Timers
from kernel.protocol.ids import DeliveryId, WorkerId
from kernel.protocol.rows import DeliveryRow

MAX_SENDING: Final = 16
"""Deliveries on their way at once."""
MAX_SENDING_TO_HOST: Final = 4
MAX_OPEN: Final = 50_000
MAX_OPEN_OF_HOST: Final = 10_000

_Line = tuple[str | None, str]


@dataclass(slots=True)
class DeliveryQueue:
    """Every call costs O(log n) at most, but for the hosts that have no place just now."""

    max_open: int = MAX_OPEN
    rows: dict[DeliveryId, DeliveryRow] = field(default_factory=dict)
    """All that are open: waiting or being sent."""
    held: dict[DeliveryId, WorkerId] = field(default_factory=dict)
    """Those on their way, with the worker that sends them."""
    _lines: dict[_Line, deque[DeliveryId]] = field(default_factory=dict)
    _later: Timers[DeliveryId] = field(default_factory=Timers)
    """The first of each line that waits for its time. Units: seconds, Unix time."""
    _due: dict[str, deque[DeliveryId]] = field(default_factory=dict)
    """By host, those whose time has come; the host that is next comes first."""
    _open: Counter[str] = field(default_factory=Counter)
    _sending: Counter[str] = field(default_factory=Counter)
    _failing: set[str] = field(default_factory=set)
    """Hosts whose last attempt failed."""

    def has_room(self, url: str) -> bool:
        """False if so many are open that one more is not kept waiting."""
        return len(self.rows) < self.max_open and self._open[host_of(url)] < MAX_OPEN_OF_HOST

    def put(self, row: DeliveryRow) -> None:
        """Add a waiting delivery at the end of its line."""
        self.rows[row.delivery_id] = row
        self._open[host_of(row.url)] += 1
        line = self._lines.setdefault(_line_of(row), deque())
        line.append(row.delivery_id)
        if len(line) == 1:
            self._wait(row)

    def advance(self, now_s: float) -> float | None:
        """Note whose time has come. Returns: when the next one's will; None, if none waits for a time. Units:
        seconds, Unix time."""
        while (delivery_id := self._later.pop_due(now_s)) is not None:
            self._due.setdefault(host_of(self.rows[delivery_id].url), deque()).append(delivery_id)
        return self._later.next_s()

    @property
    def has_due(self) -> bool:
        """True if the time of any that is not on its way has come."""
        return bool(self._due)

    def take(self) -> DeliveryRow | None:
        """The next delivery to be sent now; None, if there is none, or no place for it."""
        if len(self.held) >= MAX_SENDING:
            return None
        for host, waiting in self._due.items():
            if self._sending[host] < (1 if host in self._failing else MAX_SENDING_TO_HOST):
                del self._due[host]
                row = self.rows[waiting.popleft()]
                if waiting:
                    self._due[host] = waiting
                return row
        return None

    def hold(self, row: DeliveryRow, worker_id: WorkerId) -> None:
        """A delivery that was taken is on its way."""
        self.rows[row.delivery_id] = row
        self.held[row.delivery_id] = worker_id
        self._sending[host_of(row.url)] += 1

    def retry(self, row: DeliveryRow) -> None:
        """A delivery that was on its way, now or in an earlier run, waits again at the head of its line."""
        if row.delivery_id in self.held:
            self._release(row, has_failed=True)
        self.rows[row.delivery_id] = row
        self._wait(row)

    def end(self, row: DeliveryRow, *, has_failed: bool) -> None:
        """A delivery is delivered, or given up: the next of its line may be sent."""
        if row.delivery_id in self.held:
            self._release(row, has_failed=has_failed)
        self._drop(row)

    def _release(self, row: DeliveryRow, *, has_failed: bool) -> None:
        del self.held[row.delivery_id]
        host = host_of(row.url)
        self._sending[host] -= 1
        (self._failing.add if has_failed else self._failing.discard)(host)

    def _drop(self, row: DeliveryRow) -> None:
        del self.rows[row.delivery_id]
        host, key = host_of(row.url), _line_of(row)
        self._open[host] -= 1
        if not self._open[host]:
            for of_host in (self._open, self._sending):
                del of_host[host]
            self._failing.discard(host)
        line = self._lines[key]
        was_first = line[0] == row.delivery_id
        line.remove(row.delivery_id)
        if was_first:
            self._later.clear(row.delivery_id)
            self._take_back(host, row.delivery_id)
        if not line:
            del self._lines[key]
        elif was_first:
            self._wait(self.rows[line[0]])

    def _take_back(self, host: str, delivery_id: DeliveryId) -> None:
        waiting = self._due.get(host)
        if waiting is not None and delivery_id in waiting:
            waiting.remove(delivery_id)
            if not waiting:
                del self._due[host]

    def _wait(self, row: DeliveryRow) -> None:
        self._later.set(row.delivery_id, (row.next_at_ms or 0) / 1000)


def host_of(url: str) -> str:
    """The host and port of a checked URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _line_of(row: DeliveryRow) -> _Line:
    """Receiver and job; each test is a line of its own."""
    return row.webhook_id, row.job_id or row.delivery_id
