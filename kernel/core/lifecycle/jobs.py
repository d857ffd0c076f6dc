"""The life of an open job: assigned, requeued, finished, failed, canceled.

A job has at most one owner, and the lease proves it: each assignment has a new, higher lease, and reports
under any other are ignored, so a slow worker cannot change a job that was given to another one (adr/0004). A
job's slot in its worker outlives the job, because the worker needs it until it has dropped the work; only
then may the next job have it. A job that was running when its worker died is a suspect: it runs alone, so one
poisonous job cannot take others down, and fails at the third crash (adr/0006). A job is finished only when
its images are durable, not when the worker says so (adr/0002).
"""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from kernel.core import actions, due
from kernel.core.state import model_refs, transitions
from kernel.core.state.world import Engine, Job, Slot, Worker, World
from kernel.protocol import worker as wire
from kernel.protocol.enums import JobState, Stage
from kernel.protocol.errors import WorkerCrashed
from kernel.protocol.ids import JobId, Lease, ModelId

_WITHOUT_STEPS: Final = frozenset(Stage) - {Stage.DENOISING}
MAX_CRASHES: Final = 3
"""A job that was running at this many crashes is taken for their cause, and fails."""
DROP_TIMEOUT_S: Final = 30.0
"""A worker obeys a cancel within one step. One that has not by then, or within the longest time that a step
may take, is terminated."""
MAX_RECENT: Final = 40
"""Models that a worker is taken to keep loaded: its caches hold 32 LoRAs, 4 ControlNets and 2 VAEs, and less
where memory is short."""


def give(world: World, engine: Engine, worker: Worker, job: Job) -> None:
    """Assign a waiting job to a worker with a free slot, under a new lease."""
    world.touch()
    row = job.row
    engine.queue.take(row.job_id)
    job.worker_id, job.lease = worker.worker_id, world.new_lease()
    worker.slots[row.job_id] = Slot(job.lease, row.crashes > 0, row.group)
    use_models(worker, row.models)
    row = replace(row, attempts=row.attempts + 1, started_at_ms=world.now.unix_ms, lease=job.lease)
    job.is_loss_counted = False
    transitions.move_job(world, job, row, JobState.PROCESSING)
    give = actions.GiveJob(
        worker_id=worker.worker_id,
        job_id=row.job_id,
        attempt=row.attempts,
        lease=job.lease,
        image_ids=row.image_ids,
        positions=tuple(n for n in range(len(row.image_ids)) if n not in job.stored),
        models=tuple(model_refs.source(world, model_id) for model_id in row.models),
    )
    world.act(give)
    expect_progress(world, worker)


def use_models(worker: Worker, models: Iterable[ModelId]) -> None:
    """Note that a worker has these models loaded, and forget those that it has not used for longest."""
    for model_id in models:
        worker.recent_models.pop(model_id, None)
        worker.recent_models[model_id] = None
    while len(worker.recent_models) > MAX_RECENT:
        del worker.recent_models[next(iter(worker.recent_models))]


def take_up(world: World, engine: Engine, worker: Worker, job: Job, lease: Lease) -> None:
    """A worker has come back with a waiting job that it was given last: it goes on under the same lease. That
    it was lost meanwhile was no crash (adr/0086)."""
    world.touch()
    row = job.row
    engine.queue.remove(row.job_id)
    if job.is_loss_counted:
        row = replace(row, crashes=row.crashes - 1)
        job.is_loss_counted = False
    job.worker_id, job.lease = worker.worker_id, lease
    worker.slots[row.job_id] = Slot(lease, row.crashes > 0, row.group)
    use_models(worker, row.models)
    transitions.move_job(world, job, row, JobState.PROCESSING)
    expect_progress(world, worker)


def give_back(world: World, job: Job) -> None:
    """Requeue a job that lost its worker, at its old position; or finish it, if all images are stored."""
    world.touch()
    job.worker_id = job.lease = job.warnings = None
    job.maps_sent = frozenset()
    if _is_complete(job):
        finish(world, job)
        return
    transitions.move_job(world, job, job.row, JobState.WAITING)
    transitions.queue_job(world, job.row)


def count_crash(world: World, job: Job, reason: str) -> None:
    """Requeue a job whose worker crashed or hung during it; at the third crash it fails."""
    world.touch()
    crashes = job.row.crashes + 1
    job.row = replace(job.row, crashes=crashes, error_code=WorkerCrashed.code, error=reason)
    job.is_loss_counted = True
    if crashes < MAX_CRASHES or _is_complete(job):
        give_back(world, job)
    else:
        fail(world, job, WorkerCrashed.code, f"{reason} (attempt {crashes} of {MAX_CRASHES})")


def fail(world: World, job: Job, code: str, text: str) -> None:
    """End a job that cannot be made. Its slot in a worker stays until it is released."""
    world.touch()
    if job.row.job_id in (queue := world.engines[job.row.engine_id].queue):
        queue.remove(job.row.job_id)
    row = replace(job.row, error_code=code, error=text)
    transitions.move_job(world, job, row, JobState.FAILED)


def finish_if_complete(world: World, job: Job) -> None:
    """Finish a job once its worker has reported it done, and every image and control map is durable."""
    if not _is_complete(job):
        return
    if (worker := world.job_owner(job)) is None:
        finish(world, job)
    elif job.warnings is not None and job.maps_sent <= job.blobs and not job.maps_coming:
        release(world, worker, job.row.job_id)
        finish(world, job)


def finish(world: World, job: Job) -> None:
    """End a job that has all its images; it may be a waiting one whose last image outlived its worker."""
    world.touch()
    engine = world.engines[job.row.engine_id]
    engine.deaths = engine.failures = 0
    if job.row.job_id in engine.queue:
        engine.queue.remove(job.row.job_id)
    row = replace(job.row, warnings=job.warnings or (), error_code=None, error=None)
    transitions.move_job(world, job, row, JobState.FINISHED)


def cancel(world: World, job: Job) -> None:
    """Cancel an open job at once; its worker is told, and keeps the slot until it has obeyed."""
    world.touch()
    job_id = job.row.job_id
    if job.row.status is JobState.WAITING:
        world.engines[job.row.engine_id].queue.remove(job_id)
    elif (worker := world.job_owner(job)) is not None:
        ask_to_drop(world, worker, job_id)
        worker.slots[job_id].is_cancelled = True
    transitions.move_job(world, job, job.row, JobState.CANCELLED)


def ask_to_drop(world: World, worker: Worker, job_id: JobId) -> None:
    """Tell a worker to drop a job, with a deadline."""
    order = wire.CancelJob(job_id=job_id, lease=worker.slots[job_id].lease)
    world.act(actions.Order(worker.worker_id, order))
    engine = world.engines[world.jobs[job_id].row.engine_id]
    drop_s = min(DROP_TIMEOUT_S, _patience_s(world, engine))
    world.timers.set(due.Drop(worker.worker_id, job_id), world.now.mono_s + drop_s)


def release(world: World, worker: Worker, job_id: JobId) -> None:
    """Free a job's slot in a worker."""
    world.touch()
    del worker.slots[job_id]
    world.timers.clear(due.Drop(worker.worker_id, job_id))
    expect_progress(world, worker)


def expect_progress(world: World, worker: Worker) -> None:
    """Restart the worker's progress deadline; none while it holds no job.

    While none of its jobs is being denoised, no step is expected: a detector, a model's file or, on a slow
    CPU, the decoding of a large image may take as long as loading an engine.
    """
    if not worker.slots or worker.engine_id is None:
        world.timers.clear(due.Progress(worker.worker_id))
        return
    patience_s = _patience_s(world, world.engines[worker.engine_id])
    if all(slot.stage in _WITHOUT_STEPS for slot in worker.slots.values()):
        patience_s = max(patience_s, world.limits.load_timeout_s)
    world.timers.set(due.Progress(worker.worker_id), world.now.mono_s + patience_s)


def _patience_s(world: World, engine: Engine) -> float:
    """Ten times the median step, but at least the configured time; longer before the first step. Units:
    seconds."""
    steps_s = sorted(engine.step_seconds)
    if not steps_s:
        return world.limits.load_timeout_s
    return max(world.limits.step_timeout_s, 10 * steps_s[len(steps_s) // 2])


def _is_complete(job: Job) -> bool:
    return len(job.stored) == len(job.row.image_ids)
