"""Which worker of an engine gets which waiting job: one that has its models loaded and its size at work.

An engine's workers differ in what they hold: a LoRA takes a second or more to load, and jobs share a call of
the UNet only if their size and models are the same (adr/0023). So the next job goes, of the workers that can
take it, to one without work if there is any, for no warm cache is worth an idle device; else to the one
where it is warmest.

If the next job would be warmer at another worker, which has no place for it now, one of the next `LOOK_AHEAD`
jobs of the same key and priority may have the place, if it is warmer there. So the turns of keys and
priorities stay as they are; no job is overtaken by more than `LOOK_AHEAD` later ones, because one that has
been is not passed over again; and no place stays empty for want of a warm job. With a single worker the order
is that of the queue. Costs O(workers + LOOK_AHEAD log n) for n waiting jobs. Source: adr/0077.
"""

from collections.abc import Sequence
from typing import Final

from kernel.core.state.world import Engine, Job, Worker, World

PREFETCH: Final = 1
"""Jobs that a worker holds beyond its capacity, so that it never waits for the next one."""
LOOK_AHEAD: Final = 8
"""Jobs behind the next one that are looked at, and the number of later jobs that may overtake a job."""

Coldness = tuple[int, bool]
"""Models of a job that a worker has to load, and whether the job cannot share a call with those at work."""


def choose(world: World, engine: Engine, ready: Sequence[Worker], first: Job) -> tuple[Job, Worker] | None:
    """The job that is given out now, and the ready worker that gets it; None, if none can take the first."""
    able = [worker for worker in ready if can_take(worker, first)]
    if not able:
        return None
    worker = min(able, key=lambda w: _rank(w, first))
    coldness = _coldness(worker, first)
    if first.row.crashes == 0 and any(_coldness(other, first) < coldness for other in ready):
        return _warmer(world, engine, worker, first) or first, worker
    return first, worker


def can_take(worker: Worker, job: Job) -> bool:
    """True if the worker may get this job. A suspect runs alone, so that it cannot take other jobs down
    (adr/0006)."""
    if job.row.job_id in worker.slots:
        return False
    if job.row.crashes > 0 or any(slot.is_suspect for slot in worker.slots.values()):
        return not worker.slots
    return len(worker.slots) < worker.capacity + PREFETCH


def _warmer(world: World, engine: Engine, worker: Worker, first: Job) -> Job | None:
    """A job behind the first that is warmer at this worker and may overtake those before it, which count
    that."""
    coldness, passed = _coldness(worker, first), [first]
    for job_id in engine.queue.following(first.row.job_id, LOOK_AHEAD):
        if passed[-1].overtaken >= LOOK_AHEAD:
            return None
        job = world.jobs[job_id]
        if job.row.crashes == 0 and can_take(worker, job) and _coldness(worker, job) < coldness:
            for other in passed:
                other.overtaken += 1
            return job
        passed.append(job)
    return None


def _rank(worker: Worker, job: Job) -> tuple[bool, bool, Coldness, int]:
    """The lowest is the best. A worker that only holds the job for later comes last, one without work
    first."""
    held = len(worker.slots)
    return held >= worker.capacity, held > 0, _coldness(worker, job), held


def _coldness(worker: Worker, job: Job) -> Coldness:
    missing = sum(model_id not in worker.recent_models for model_id in job.row.models)
    is_alone = all(slot.group != job.row.group for slot in worker.slots.values())
    return missing, bool(worker.slots) and is_alone
