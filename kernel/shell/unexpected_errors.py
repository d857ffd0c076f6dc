"""What nobody foresaw while the Manager handled something: told to the log under an id, and outlived.

    before anything was changed    refuse it to whoever asked, and go on
    after that                     LifeOver: undo the batch, and begin anew with what the database says

What a life of the Manager must know of the former ones is here: it is the one thing that outlives them.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Final

import apsw
import msgspec

from kernel.core import actions
from kernel.core.events import Asked, Event, StatusAsked, WatchAsked
from kernel.process.log import line
from kernel.protocol.client import Refused
from kernel.protocol.errors import InternalError

STEADY_S: Final = 60.0
"""A life that was so long did not die of its start."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 10.0
MOST_REMEMBERED: Final = 1_000
_MOST_DOUBLINGS: Final = 10
_INSIDE: Final = ("ask", "report", "message")
_BLAMED: Final = ("job_id", "model_id", "engine_id")
_OF_WHAT_WAS_SAVED: Final = (
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.TooBigError,
    apsw.BindingsError,
    apsw.SQLError,
)
"""The database refuses these values; every other error of SQLite is the disk's, and no surprise."""

Subject = Event | actions.Effect


class LifeOver(Exception):
    """Memory may be half-changed: this life of the Manager ends, and the next one reads what is true."""


def is_of_the_disk(error: Exception) -> bool:
    """Has the database failed, rather than what was to be done with it?"""
    return isinstance(error, apsw.Error) and not isinstance(error, _OF_WHAT_WAS_SAVED)


@dataclass(slots=True)
class UnexpectedErrors:
    """Counts and tells them, and remembers what must not come to pass twice."""

    log: logging.Logger
    new_id: Callable[[], str]
    count: int = 0
    last_id: str | None = None
    blamed: Counter[str] = field(default_factory=Counter)
    """Jobs, models and engines that lives ended over: by their ids, how often."""
    is_stopping: bool = False
    """A life ended that had been asked to stop: the next one has no other work."""
    _told: dict[str, str] = field(default_factory=dict)
    _poison: dict[bytes, str] = field(default_factory=dict)
    _short_lives: int = 0

    def tell(self, subject: Subject | None, error: Exception) -> str:
        """Log it, the first time with its traceback. Returns: the id to find it by."""
        error_id = self.new_id()
        self.count, self.last_id = self.count + 1, error_id
        place = _place(error)
        first = self._told.get(place)
        known = {} if first is None else {"as": first}
        text = line("surprise", error_id=error_id, subject=_name(subject), place=place, **known)
        self.log.error(text, exc_info=error if first is None else None)
        if len(self._told) < MOST_REMEMBERED:
            self._told.setdefault(place, error_id)
        return error_id

    def end_life(self, subject: Subject | None, error_id: str, life_s: float) -> float:
        """A life ends over this: let it not end the next one. Returns: seconds to wait before that begins."""
        if isinstance(subject, Asked):
            while len(self._poison) >= MOST_REMEMBERED:
                del self._poison[next(iter(self._poison))]
            self._poison[_digest(subject)] = error_id
        else:
            self.blamed.update(_ids(subject))
        self._short_lives = 0 if life_s > STEADY_S else self._short_lives + 1
        pause_s = FIRST_PAUSE_S * (1 << min(max(self._short_lives - 1, 0), _MOST_DOUBLINGS))
        return min(pause_s, LONGEST_PAUSE_S)

    def known(self, event: Event) -> str | None:
        """The id of the surprise that the same command was before, if a life ended over it."""
        return self._poison.get(_digest(event)) if self._poison and isinstance(event, Asked) else None


def refusals(subject: Subject | None, error_id: str) -> list[actions.Effect]:
    """What whoever asked is told, if anybody did."""
    if not isinstance(subject, Asked | StatusAsked | WatchAsked):
        return []
    detail = f"{InternalError().detail}; look for error_id={error_id} in its log and report it"
    refused = Refused(code=InternalError.code, detail=detail)
    return [actions.Reply(subject.peer, subject.correlation, refused)]


def reason(error_id: str) -> str:
    """What is said of something that cannot be gone on with."""
    return f"unexpected error in the Manager; see error_id={error_id} in its log"


def _digest(event: Asked) -> bytes:
    """Of what is asked, not of who asks or under which key."""
    return hashlib.sha256(msgspec.msgpack.encode(event.ask)).digest()


def _parts(subject: Subject | None) -> Iterator[object]:
    yield subject
    for name in _INSIDE:
        if (part := getattr(subject, name, None)) is not None:
            yield part


def _name(subject: Subject | None) -> str:
    return ".".join(type(part).__name__ for part in _parts(subject)) if subject is not None else "nothing"


def _ids(subject: Subject | None) -> set[str]:
    """The job, else the model or engine, that this is about."""
    for name in _BLAMED:
        found = {found for part in _parts(subject) if isinstance(found := getattr(part, name, None), str)}
        if found:
            return found
    return set()


def _place(error: Exception) -> str:
    """Where it was raised, by which two of a kind are recognized."""
    frames = extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"
    return f"{type(error).__name__}@{where}"
