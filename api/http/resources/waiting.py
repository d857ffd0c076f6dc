"""`?wait=`: delays a response until something has ended, without polling the database."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.hub import Closing, Hub

Row = TypeVar("Row")

REREAD_EVERY_S: Final = 5.0
"""Seconds after which the database is read anyway, in case a notice was lost."""


class Waiting:
    """Waits in the thread of the request; if no slot is free, it does not wait at all."""

    def __init__(self, hub: Hub, slots: ConcurrencyLimit) -> None:
        self._hub = hub
        self.slots = slots

    def until(
        self, thing_id: str, read: Callable[[], Row | None], is_over: Callable[[Row], bool], wait_s: float
    ) -> Row | None:
        """The row when it has ended, or after `wait_s`; None, if it no longer exists."""
        if wait_s <= 0 or not self.slots.take():
            return read()
        try:
            return self._listen(thing_id, read, is_over, time.monotonic() + wait_s)
        finally:
            self.slots.give_back()

    def _listen(
        self, thing_id: str, read: Callable[[], Row | None], is_over: Callable[[Row], bool], until: float
    ) -> Row | None:
        with self._hub.subscribe((thing_id,), sees_progress=False) as ear:
            while True:
                row = read()
                left_s = until - time.monotonic()
                if row is None or is_over(row) or left_s <= 0:
                    return row
                if isinstance(ear.next(min(left_s, REREAD_EVERY_S)), Closing):
                    return row
