"""Handles errors that nothing anticipated: they are logged under an id, and do not end the process.

    before anything was changed    refuse the command, and go on
    after that                     LifeOver: undo the batch, and start over from the database

This object also carries the knowledge from one run of the Manager to the next, which nothing else outlives
(adr/0038).
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
"""A run that lasted this long did not end because of its start."""
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
"""Errors about values, which the database refuses; any other SQLite error is the disk's and ends the
process."""

Subject = Event | actions.Effect


class LifeOver(Exception):
    """Memory may be half-changed: this run of the Manager ends, and the next one reads the database."""


def is_of_the_disk(error: Exception) -> bool:
    """True if the database failed, not the operation on it."""
    return isinstance(error, apsw.Error) and not isinstance(error, _OF_WHAT_WAS_SAVED)


@dataclass(slots=True)
class UnexpectedErrors:
    """Counts and logs them, and remembers the events that must not be repeated."""

    log: logging.Logger
    new_id: Callable[[], str]
    count: int = 0
    last_id: str | None = None
    blamed: Counter[str] = field(default_factory=Counter)
    """Jobs, models and engines during which runs ended, by id, with the number of times."""
    is_stopping: bool = False
    """A run ended during a shutdown: the next one only continues the shutdown."""
    _told: dict[str, str] = field(default_factory=dict)
    _poison: dict[bytes, str] = field(default_factory=dict)
    _short_lives: int = 0

    def tell(self, subject: Subject | None, error: Exception) -> str:
        """Log an error, the first time with its traceback. Returns: its id."""
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
        """Record the cause of a run's end, so that it does not end the next one. Returns: seconds to wait
        before that."""
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
        """The id of the error that ended a run at the same command, if one did."""
        return self._poison.get(_digest(event)) if self._poison and isinstance(event, Asked) else None


def refusals(subject: Subject | None, error_id: str) -> list[actions.Effect]:
    """The replies to the client that caused the error, if one did."""
    if not isinstance(subject, Asked | StatusAsked | WatchAsked):
        return []
    detail = f"{InternalError().detail}; look for error_id={error_id} in its log and report it"
    refused = Refused(code=InternalError.code, detail=detail)
    return [actions.Reply(subject.peer, subject.correlation, refused)]


def reason(error_id: str) -> str:
    """The detail of an error that the Manager cannot recover from."""
    return f"unexpected error in the Manager; see error_id={error_id} in its log"


def _digest(event: Asked) -> bytes:
    """A digest of the ask, independent of the client and the key."""
    return hashlib.sha256(msgspec.msgpack.encode(event.ask)).digest()


def _parts(subject: Subject | None) -> Iterator[object]:
    yield subject
    for name in _INSIDE:
        if (part := getattr(subject, name, None)) is not None:
            yield part


def _name(subject: Subject | None) -> str:
    return ".".join(type(part).__name__ for part in _parts(subject)) if subject is not None else "nothing"


def _ids(subject: Subject | None) -> set[str]:
    """The id of the job, else of the model or engine, that this is about."""
    for name in _BLAMED:
        found = {found for part in _parts(subject) if isinstance(found := getattr(part, name, None), str)}
        if found:
            return found
    return set()


def _place(error: Exception) -> str:
    """Where it was raised, by which repeated errors are recognized."""
    frames = extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"
    return f"{type(error).__name__}@{where}"
