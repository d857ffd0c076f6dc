"""`?wait=`: hold the answer back until something has ended, without asking the database over and over."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.hub import Closing, Hub

Row = TypeVar("Row")

REREAD_EVERY_S: Final = 5.0
"""Should a change ever go by unheard, the database is asked after so long."""


class Waiting:
    """Waits in the thread of the request; when all seats are taken it does not wait at all."""

    def __init__(self, hub: Hub, seats: ConcurrencyLimit) -> None:
        self._hub = hub
        self.seats = seats

    def until(
        self, thing_id: str, read: Callable[[], Row | None], is_over: Callable[[Row], bool], wait_s: float
    ) -> Row | None:
        """The row as it is when it is over, or after so many seconds; None when it is there no more."""
        if wait_s <= 0 or not self.seats.take():
            return read()
        try:
            return self._listen(thing_id, read, is_over, time.monotonic() + wait_s)
        finally:
            self.seats.give_back()

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
