"""The batch scheduler: which images share the next UNet call.

Pure, and knows nothing of tensors. Images that can share a call are a group; groups take turns. A group
has a number of seats; an image takes one for all of its steps, and a free seat goes to the job with the
fewest images seated, so that a job of many images never holds up one that comes after it. Where a call
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
    """What images must have in common to share a call of the UNet."""

    width_px: int
    height_px: int
    adapters: Hashable = ()
    """What is laid over the UNet's layers, for all rows of a call."""
    control_models: tuple[ModelId, ...] = ()
    tokens: int | None = None
    """The length of the prompts, where it matters."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image in the line: the job's admission, and the image's index in the job."""

    admission: Admission
    index: int
    group: Group
    rows: int = 1
    """How many rows it has in a call: two with guidance."""


@dataclass(frozen=True, slots=True)
class SampleQueue:
    """The images that are still to be finished."""

    waiting: tuple[Sample, ...] = ()
    """In the order in which their jobs were let in."""
    in_slots: tuple[Sample, ...] = ()
    """In the order of their turns: who was called goes to the end."""
    turns: int = 0
    """Calls handed out so far."""
    last_turn: Mapping[Group, int] = field(default_factory=dict)
    """The turn at which each group that is here was last called."""
    was_overtaken: bool = False
    """The last call went to another group than the one that had waited longest."""


def add(queue: SampleQueue, samples: tuple[Sample, ...]) -> SampleQueue:
    """The line with a job's images before those of jobs that were let in after it: they may have been
    ready before it."""
    waiting = sorted(queue.waiting + samples, key=lambda sample: sample.admission)
    return replace(queue, waiting=tuple(waiting))


def remove(queue: SampleQueue, admission: Admission) -> SampleQueue:
    """The line without any image of a job."""
    return replace(
        queue,
        waiting=tuple(sample for sample in queue.waiting if sample.admission != admission),
        in_slots=tuple(sample for sample in queue.in_slots if sample.admission != admission),
    )


def finish(queue: SampleQueue, sample: Sample) -> SampleQueue:
    """The line without an image that needs no more steps."""
    return replace(queue, in_slots=tuple(one for one in queue.in_slots if one != sample))


def next_group(queue: SampleQueue, slots: int) -> Group | None:
    """Whose turn it is; None if the line is empty.

    A group with a job that has not begun and may sit down comes first, so that a job starts within a step;
    but no two in a row that are called before their time, so that a stream of new jobs holds nobody up. Else
    it is the group that has waited longest.
    """
    longest = _longest(queue)
    if longest is not None and queue.was_overtaken:
        return longest
    fresh = [group for group in _groups(queue) if _has_new_sample(queue, group, slots)]
    # Python's min takes the first of equals: the one that came first.
    return min(fresh, key=lambda group: queue.last_turn.get(group, -1), default=longest)


def call(
    queue: SampleQueue, group: Group, slots: int, most_rows: int | None = None
) -> tuple[SampleQueue, tuple[Sample, ...]]:
    """Call a group, with its free seats filled.

    Returns: the line after the call, and who is called: at most `slots` images, and no more than fill
    `most_rows`, but always one.
    """
    longest = _longest(queue)
    queue = _fill_slots(queue, group, slots)
    called = _first([sample for sample in queue.in_slots if sample.group == group], most_rows)
    rest = tuple(sample for sample in queue.in_slots if sample not in called)
    last_turn = {one: turn for one, turn in queue.last_turn.items() if one in _groups(queue)}
    return (
        replace(
            queue,
            in_slots=rest + called,
            turns=queue.turns + 1,
            last_turn={**last_turn, group: queue.turns},
            was_overtaken=longest not in (None, group),
        ),
        called,
    )


def _groups(queue: SampleQueue) -> Mapping[Group, None]:
    """All that are here, in the order in which they came."""
    return dict.fromkeys(sample.group for sample in (*queue.in_slots, *queue.waiting))


def _longest(queue: SampleQueue) -> Group | None:
    """The group that has waited longest since it was called; None if none was."""
    called = [group for group in _groups(queue) if group in queue.last_turn]
    return min(called, key=lambda group: queue.last_turn[group], default=None)


def _has_new_sample(queue: SampleQueue, group: Group, slots: int) -> bool:
    in_slots = [sample.admission for sample in queue.in_slots if sample.group == group]
    waiting = {sample.admission for sample in queue.waiting if sample.group == group}
    return len(in_slots) < slots and bool(waiting.difference(in_slots))


def _fill_slots(queue: SampleQueue, group: Group, slots: int) -> SampleQueue:
    waiting = [sample for sample in queue.waiting if sample.group == group]
    in_slots = Counter(sample.admission for sample in queue.in_slots if sample.group == group)
    taken: list[Sample] = []
    while waiting and in_slots.total() < slots:
        # Python's min takes the first of equals: the one that came first.
        sample = min(waiting, key=lambda one: in_slots[one.admission])
        waiting.remove(sample)
        taken.append(sample)
        in_slots[sample.admission] += 1
    return replace(
        queue,
        waiting=tuple(sample for sample in queue.waiting if sample not in taken),
        in_slots=queue.in_slots + tuple(taken),
    )


def _first(samples: list[Sample], most_rows: int | None) -> tuple[Sample, ...]:
    """The first of them, as many as fit into a call."""
    called: list[Sample] = []
    rows = 0
    for sample in samples:
        rows += sample.rows
        if called and most_rows is not None and rows > most_rows:
            break
        called.append(sample)
    return tuple(called)
