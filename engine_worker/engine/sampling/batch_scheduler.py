"""The batch scheduler: decides which images share the next UNet call.

Pure data and functions, no tensors. Images that can share a call form a group, and groups take turns, so that
no size or LoRA starves another. A group has a number of slots; an image keeps its slot for all of its
steps, and a free slot goes to the job with the fewest images in slots, so that a job of many images does not
hold up a later job. If a call cannot take all images in slots, they take turns within the group as well. A
group with a new job may overtake the longest-waiting one, so that the job starts within a step, but never
twice in a row, so that a stream of new jobs does not starve the others.
"""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import NewType

from kernel.protocol.ids import ModelId

Admission = NewType("Admission", int)
"""The number of an admitted job. It increases, also when the same job is sent again."""


@dataclass(frozen=True, slots=True)
class Group:
    """The properties that images must share to be in the same UNet call."""

    width_px: int
    height_px: int
    adapters: Hashable = ()
    """The LoRAs on the UNet's layers, which apply to all rows of a call."""
    control_models: tuple[ModelId, ...] = ()
    tokens: int | None = None
    """The length of the prompts, where it matters."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image in the queue: the job's admission, and the image's index in the job."""

    admission: Admission
    index: int
    group: Group
    rows: int = 1
    """Its rows in a call: two with guidance."""


@dataclass(frozen=True, slots=True)
class SampleQueue:
    """The images that are not finished."""

    waiting: tuple[Sample, ...] = ()
    """In the order of their jobs' admission."""
    in_slots: tuple[Sample, ...] = ()
    """In the order of their turns: called images move to the end."""
    turns: int = 0
    """The number of calls so far."""
    last_turn: Mapping[Group, int] = field(default_factory=dict)
    """The turn at which each group was last called."""
    was_overtaken: bool = False
    """The last call went to another group than the longest-waiting one."""


def add(queue: SampleQueue, samples: tuple[Sample, ...]) -> SampleQueue:
    """Add a job's images, before those of jobs that were admitted later: those may have been ready
    earlier."""
    waiting = sorted(queue.waiting + samples, key=lambda sample: sample.admission)
    return replace(queue, waiting=tuple(waiting))


def remove(queue: SampleQueue, admission: Admission) -> SampleQueue:
    """Remove all images of a job."""
    return replace(
        queue,
        waiting=tuple(sample for sample in queue.waiting if sample.admission != admission),
        in_slots=tuple(sample for sample in queue.in_slots if sample.admission != admission),
    )


def finish(queue: SampleQueue, sample: Sample) -> SampleQueue:
    """Remove an image that needs no more steps."""
    return replace(queue, in_slots=tuple(one for one in queue.in_slots if one != sample))


def next_group(queue: SampleQueue, slots: int) -> Group | None:
    """The group whose turn it is; None if the queue is empty.

    A group with a free slot and a job that has no image in a slot comes first, but not twice in a row.
    Otherwise it is the group that has waited longest.
    """
    longest = _longest(queue)
    if longest is not None and queue.was_overtaken:
        return longest
    fresh = [group for group in _groups(queue) if _has_new_sample(queue, group, slots)]
    # Python's min returns the first of equals: the one that arrived first.
    return min(fresh, key=lambda group: queue.last_turn.get(group, -1), default=longest)


def call(
    queue: SampleQueue, group: Group, slots: int, most_rows: int | None = None
) -> tuple[SampleQueue, tuple[Sample, ...]]:
    """Call a group, after filling its free slots.

    Returns: the queue after the call, and the called images: at most `slots`, and at most as many as have
    `most_rows` rows together, but at least one.
    """
    longest = _longest(queue)
    queue = _fill_slots(queue, group, slots)
    in_slots = [sample for sample in queue.in_slots if sample.group == group]
    called = _first(in_slots[:slots], most_rows)  # more are in slots after these became fewer
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
    """All groups in the queue, in order of arrival."""
    return dict.fromkeys(sample.group for sample in (*queue.in_slots, *queue.waiting))


def _longest(queue: SampleQueue) -> Group | None:
    """The group that has waited longest since its last call; None if none was called."""
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
        # Python's min returns the first of equals: the one that arrived first.
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
