"""Whose turn it is: which pictures share the next call of the UNet.

Pure, and knows nothing of tensors. Pictures that can share a call are a group; groups take turns. A group
has a number of seats; a picture takes one for all of its steps, and a free seat goes to the job with the
fewest pictures seated, so that a job of many pictures never holds up one that comes after it. Where a call
cannot take all that are seated, they take turns within the group as well.
"""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import NewType

from kernel.protocol.ids import ModelId

Admission = NewType("Admission", int)
"""The number under which a job was let in; it rises, also when the same job comes again."""


@dataclass(frozen=True, slots=True)
class Group:
    """What pictures must have in common to share a call of the UNet."""

    width_px: int
    height_px: int
    adapters: Hashable = ()
    """What is laid over the UNet's layers, for all rows of a call."""
    control_models: tuple[ModelId, ...] = ()
    tokens: int | None = None
    """The length of the prompts, where it matters."""


@dataclass(frozen=True, slots=True)
class Place:
    """One picture in the line: the job's admission, and the picture's index in the job."""

    admission: Admission
    index: int
    group: Group
    rows: int = 1
    """How many rows it has in a call: two with guidance."""


@dataclass(frozen=True, slots=True)
class Line:
    """The pictures that are still to be finished."""

    waiting: tuple[Place, ...] = ()
    """In the order in which their jobs were let in."""
    seated: tuple[Place, ...] = ()
    """In the order of their turns: who was called goes to the end."""
    turns: int = 0
    """Calls handed out so far."""
    last_turn: Mapping[Group, int] = field(default_factory=dict)
    """The turn at which each group that is here was last called."""
    was_overtaken: bool = False
    """The last call went to another group than the one that had waited longest."""


def join(line: Line, places: tuple[Place, ...]) -> Line:
    """The line with a job's pictures before those of jobs that were let in after it: they may have been
    ready before it."""
    waiting = sorted(line.waiting + places, key=lambda place: place.admission)
    return replace(line, waiting=tuple(waiting))


def leave(line: Line, admission: Admission) -> Line:
    """The line without any picture of a job."""
    return replace(
        line,
        waiting=tuple(place for place in line.waiting if place.admission != admission),
        seated=tuple(place for place in line.seated if place.admission != admission),
    )


def finish(line: Line, place: Place) -> Line:
    """The line without a picture that needs no more steps."""
    return replace(line, seated=tuple(one for one in line.seated if one != place))


def next_group(line: Line, seats: int) -> Group | None:
    """Whose turn it is; None if the line is empty.

    A group with a job that has not begun and may sit down comes first, so that a job starts within a step;
    but no two in a row that are called before their time, so that a stream of new jobs holds nobody up. Else
    it is the group that has waited longest.
    """
    longest = _longest(line)
    if longest is not None and line.was_overtaken:
        return longest
    fresh = [group for group in _groups(line) if _has_newcomer(line, group, seats)]
    # Python's min takes the first of equals: the one that came first.
    return min(fresh, key=lambda group: line.last_turn.get(group, -1), default=longest)


def call(
    line: Line, group: Group, seats: int, most_rows: int | None = None
) -> tuple[Line, tuple[Place, ...]]:
    """Call a group, with its free seats filled.

    Returns: the line after the call, and who is called: at most `seats` pictures, and no more than fill
    `most_rows`, but always one.
    """
    longest = _longest(line)
    line = _fill_seats(line, group, seats)
    called = _first([place for place in line.seated if place.group == group], most_rows)
    rest = tuple(place for place in line.seated if place not in called)
    last_turn = {one: turn for one, turn in line.last_turn.items() if one in _groups(line)}
    return (
        replace(
            line,
            seated=rest + called,
            turns=line.turns + 1,
            last_turn={**last_turn, group: line.turns},
            was_overtaken=longest not in (None, group),
        ),
        called,
    )


def _groups(line: Line) -> Mapping[Group, None]:
    """All that are here, in the order in which they came."""
    return dict.fromkeys(place.group for place in (*line.seated, *line.waiting))


def _longest(line: Line) -> Group | None:
    """The group that has waited longest since it was called; None if none was."""
    called = [group for group in _groups(line) if group in line.last_turn]
    return min(called, key=lambda group: line.last_turn[group], default=None)


def _has_newcomer(line: Line, group: Group, seats: int) -> bool:
    seated = [place.admission for place in line.seated if place.group == group]
    waiting = {place.admission for place in line.waiting if place.group == group}
    return len(seated) < seats and bool(waiting.difference(seated))


def _fill_seats(line: Line, group: Group, seats: int) -> Line:
    waiting = [place for place in line.waiting if place.group == group]
    seated = Counter(place.admission for place in line.seated if place.group == group)
    taken: list[Place] = []
    while waiting and seated.total() < seats:
        # Python's min takes the first of equals: the one that came first.
        place = min(waiting, key=lambda one: seated[one.admission])
        waiting.remove(place)
        taken.append(place)
        seated[place.admission] += 1
    return replace(
        line,
        waiting=tuple(place for place in line.waiting if place not in taken),
        seated=line.seated + tuple(taken),
    )


def _first(places: list[Place], most_rows: int | None) -> tuple[Place, ...]:
    """The first of them, as many as fit into a call."""
    called: list[Place] = []
    rows = 0
    for place in places:
        rows += place.rows
        if called and most_rows is not None and rows > most_rows:
            break
        called.append(place)
    return tuple(called)
