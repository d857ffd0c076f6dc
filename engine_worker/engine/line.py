"""Whose turn it is: which pictures share the next call of the UNet.

Pure, and knows nothing of tensors. Pictures that can share a call are a group; groups take turns. A group
has a number of seats; a picture takes one for all of its steps, and a free seat goes to the job with the
fewest pictures seated, so that a job of many pictures never holds up one that comes after it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NewType

Admission = NewType("Admission", int)
"""The number under which a job was let in; it rises, also when the same job comes again."""


@dataclass(frozen=True, slots=True)
class Group:
    """What pictures must have in common to share a call of the UNet."""

    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Place:
    """One picture in the line: the job's admission, and the picture's index in the job."""

    admission: Admission
    index: int
    group: Group


@dataclass(frozen=True, slots=True)
class Line:
    """The pictures that are still to be finished, in the order in which they came."""

    waiting: tuple[Place, ...] = ()
    seated: tuple[Place, ...] = ()
    turns: int = 0
    """Calls handed out so far."""
    last_turn: Mapping[Group, int] = field(default_factory=dict)
    """The turn at which each group was last called."""


def join(line: Line, places: tuple[Place, ...]) -> Line:
    """The line with a job's pictures at its end."""
    return replace(line, waiting=line.waiting + places)


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


def call(line: Line, seats: int) -> tuple[Line, tuple[Place, ...]]:
    """Call the group that has waited longest for its turn, with its free seats filled.

    Returns: the line after the call, and who is called: at most `seats`, nobody if the line is empty.
    """
    groups = {place.group: None for place in (*line.seated, *line.waiting)}
    if not groups:
        return Line(), ()
    group = min(groups, key=lambda one: line.last_turn.get(one, -1))
    line = _fill_seats(line, group, seats)
    called = tuple(place for place in line.seated if place.group == group)
    return replace(line, turns=line.turns + 1, last_turn={**line.last_turn, group: line.turns}), called


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
