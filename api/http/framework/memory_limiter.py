"""Room that requests share: each takes what it weighs, and waits in a short line where that does not fit.

A body waits on the disk, where it has come to; who waits holds a thread, and so also a seat.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from api.http.framework.concurrency_limit import ConcurrencyLimit
from kernel.protocol.errors import TooManyRequests

PATIENCE_S: Final = 10.0
RETRY_AFTER_S: Final = 5.0


class MemoryLimiter:
    """A weight that is held at once, over all requests: first come, first served."""

    def __init__(
        self, capacity: int, seats: ConcurrencyLimit, what: str, patience_s: float = PATIENCE_S
    ) -> None:
        """`what` says in a refusal of what there is too much."""
        self._capacity = capacity
        self._seats = seats
        self._what = what
        self._patience_s = patience_s
        self._held = 0
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def held(self) -> int:
        return self._held

    @property
    def waiting(self) -> int:
        return len(self._line)

    @contextmanager
    def holding(self, weight: int) -> Iterator[None]:
        """Room for so much as long as the block runs; what weighs more than all the room has it alone.

        Raises: TooManyRequests, if there is none for so long, or no seat to wait on.
        """
        weight = min(weight, self._capacity)
        self._enter(weight)
        try:
            yield
        finally:
            with self._changed:
                self._held -= weight
                self._changed.notify_all()

    def _enter(self, weight: int) -> None:
        with self._changed:
            if not self._line and self._fits(weight):
                self._held += weight
                return
            if not self._seats.take():
                raise self._refusal()
            try:
                self._wait(weight)
            finally:
                self._seats.give_back()

    def _wait(self, weight: int) -> None:
        ticket = object()
        self._line.append(ticket)
        try:
            is_there = self._changed.wait_for(
                lambda: self._line[0] is ticket and self._fits(weight), self._patience_s
            )
            if not is_there:
                raise self._refusal()
            self._held += weight
        finally:
            self._line.remove(ticket)
            self._changed.notify_all()

    def _fits(self, weight: int) -> bool:
        return self._held + weight <= self._capacity

    def _refusal(self) -> TooManyRequests:
        return TooManyRequests(f"{self._what}: try again later", retry_after_s=RETRY_AFTER_S)
