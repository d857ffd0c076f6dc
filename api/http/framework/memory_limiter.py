"""Limits the memory that requests use at once: each takes its weight, and waits in a short queue if it does
not fit.

A waiting request holds a thread, and therefore also a slot; its body is on the disk meanwhile.
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
    """A total weight over all requests: first come, first served."""

    def __init__(
        self, capacity: int, slots: ConcurrencyLimit, what: str, patience_s: float = PATIENCE_S
    ) -> None:
        """`what` names the resource in a refusal."""
        self._capacity = capacity
        self._slots = slots
        self._what = what
        self._patience_s = patience_s
        self._held = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def held(self) -> int:
        return self._held

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @contextmanager
    def holding(self, weight: int) -> Iterator[None]:
        """Hold this weight during the block; a weight above the limit is held alone.

        Raises: TooManyRequests, if it has not become free in time, or no slot for waiting is.
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
            if not self._queue and self._fits(weight):
                self._held += weight
                return
            if not self._slots.take():
                raise self._refusal()
            try:
                self._wait(weight)
            finally:
                self._slots.give_back()

    def _wait(self, weight: int) -> None:
        ticket = object()
        self._queue.append(ticket)
        try:
            is_there = self._changed.wait_for(
                lambda: self._queue[0] is ticket and self._fits(weight), self._patience_s
            )
            if not is_there:
                raise self._refusal()
            self._held += weight
        finally:
            self._queue.remove(ticket)
            self._changed.notify_all()

    def _fits(self, weight: int) -> bool:
        return self._held + weight <= self._capacity

    def _refusal(self) -> TooManyRequests:
        return TooManyRequests(f"{self._what}: try again later", retry_after_s=RETRY_AFTER_S)
