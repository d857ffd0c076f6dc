"""The transfer of one file in parts, as a pure state machine: what to ask for, and what may be appended.

Some parts are asked for at once, so that the line is never idle, and few, so that an order of the Manager
never waits long behind them. A part that does not come is asked for again, since a part may be lost with a
connection. Only what continues the file is appended, so that the file on the disk is always a beginning of
the whole one, and a transfer goes on where it was.
"""

from dataclasses import dataclass
from typing import Final

PART_BYTES: Final = 256 << 10
"""The longest part that a Manager sends."""
WINDOW: Final = 4
"""A mebibyte in flight: a hundred MB/s at ten milliseconds from there to here and back."""
ASK_AGAIN_S: Final = 3.0
"""Each further time after twice as long: a slow line does not get faster by more of the same."""
LONGEST_WAIT_S: Final = 20.0
"""But soon after the Manager is back."""
GIVE_UP_S: Final = 600.0
"""Nothing has come for this long. A Manager that is upgraded is back sooner."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A part to ask for."""

    offset: int
    size_bytes: int


@dataclass(slots=True)
class _Asked:
    ask: Ask
    due_at: float
    wait_s: float
    data: bytes | None = None
    """It has come, but one before it has not."""


class Transfer:
    """One file on its way. Units: seconds on one monotonic clock, bytes."""

    def __init__(self, total_bytes: int, done_bytes: int, now: float) -> None:
        """`done_bytes` are there from an earlier transfer."""
        self.total_bytes = total_bytes
        self.done_bytes = min(done_bytes, total_bytes)
        self._asked: dict[int, _Asked] = {}
        self._next = self.done_bytes
        self._heard_at = now

    @property
    def is_complete(self) -> bool:
        return self.done_bytes == self.total_bytes

    def asks(self, now: float) -> list[Ask]:
        """The parts to ask for now: new ones, and those that should have come."""
        overdue = [asked for asked in self._asked.values() if asked.data is None and now >= asked.due_at]
        for asked in overdue:
            asked.wait_s = min(2 * asked.wait_s, LONGEST_WAIT_S)
            asked.due_at = now + asked.wait_s
        found = [asked.ask for asked in overdue]
        while len(self._asked) < WINDOW and self._next < self.total_bytes:
            ask = Ask(self._next, min(PART_BYTES, self.total_bytes - self._next))
            self._asked[ask.offset] = _Asked(ask, now + ASK_AGAIN_S, ASK_AGAIN_S)
            self._next += ask.size_bytes
            found.append(ask)
        return found

    def arrived(self, offset: int, data: bytes, now: float) -> list[bytes]:
        """What is to be appended to the file, in order. A part that was not asked for, or has another length,
        is ignored."""
        asked = self._asked.get(offset)
        if asked is None or asked.data is not None or len(data) != asked.ask.size_bytes:
            return []
        asked.data, self._heard_at = data, now
        found: list[bytes] = []
        while (first := self._asked.get(self.done_bytes)) is not None and first.data is not None:
            del self._asked[self.done_bytes]
            self.done_bytes += len(first.data)
            found.append(first.data)
        return found

    def next_deadline(self) -> float:
        """When to look at `asks` and `is_given_up` again."""
        due = [asked.due_at for asked in self._asked.values() if asked.data is None]
        return min([*due, self._heard_at + GIVE_UP_S])

    def is_given_up(self, now: float) -> bool:
        """True if nothing has come for too long."""
        return now >= self._heard_at + GIVE_UP_S
