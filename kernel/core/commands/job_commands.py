"""Commands on jobs: submit, edit, cancel, delete."""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from kernel.core.admission import reconcile
from kernel.core.commands import engine_choice, job_defaults, key_commands, key_limits
from kernel.core.events import NO_FACTS, Facts
from kernel.core.lifecycle import jobs
from kernel.core.state import blobs, transitions
from kernel.core.state.world import Engine, World
from kernel.protocol import client, waiting
from kernel.protocol.enums import ControlType, JobState, Phase
from kernel.protocol.errors import (
    DiskFull,
    IllegalMove,
    JobNotFound,
    JobUnfinished,
    NotInstalled,
    QueueFull,
    ShuttingDown,
    of_field,
)
from kernel.protocol.ids import BlobId, ImageId, JobId
from kernel.protocol.model_refs import InputFile
from kernel.protocol.named_models import model_ids_of
from kernel.protocol.rows import JobRow
from kernel.protocol.specs import JobSpec

QUEUE_RETRY_S: Final = 5.0


def submit(world: World, ask: client.SubmitJob, facts: Facts) -> client.SingleReply:
    """Put a job into an engine's queue with every default resolved; for a dry run, only check that it could
    be.

    Raises: EngineNotFound; InvalidField; ModelMissing, WrongModelType, ModelNotReady, WrongModelBase;
    NotEnoughMemory; NotInstalled; QueueFull; DiskFull; ShuttingDown; KeyUnknown, KeyExpired, KeyRevoked,
    KeyNotAllowed; TooManyWaiting, TooManyImages, TooManyPixels.
    """
    engine, spec = check(world, ask, facts)
    if ask.validate_only:
        engine_id = engine.row.engine_id
        return client.JobValid(engine_id=engine_id if engine_id in world.engines else None)
    return enqueue(world, engine, ask, spec, ())


def check(world: World, ask: client.SubmitJob, facts: Facts = NO_FACTS) -> tuple[Engine, JobSpec]:
    """The engine for a job, which may be a new one that `enqueue` creates, and the job's resolved spec.

    Raises: as `submit`.
    """
    key_commands.check_may_submit(world, ask.key_id)
    engine = engine_choice.choose(world, ask)
    spec = job_defaults.resolve(world, ask.request, engine.row)
    _check_detectors(engine, spec, facts.absent_detectors)
    blobs.check_files(world, ask)
    _check_can_queue(world)
    key_limits.check(world, ask.key_id, spec)
    return engine, spec


def _check_detectors(engine: Engine, spec: JobSpec, absent: Mapping[ControlType, str]) -> None:
    """Check that the detectors which the job needs are installed on this host.

    `absent` has those that workers of this host cannot load, with the remedy.

    Raises: NotInstalled, naming the field of the first control whose detector is absent.
    """
    if not _is_made_here(engine):
        return
    for number, use in enumerate(spec.controls):
        remedy = None if use.is_preprocessed else absent.get(use.control_type)
        if remedy is not None:
            field = f"controls[{number}].type_pose"
            problem = (
                f"the {use.control_type} detector is not installed: {remedy}, or send the control map itself"
            )
            raise of_field(NotInstalled, field, problem)


def _is_made_here(engine: Engine) -> bool:
    """False if a worker of a pool runs the job: its installed detectors are unknown here."""
    return engine.pool is None


def _check_can_queue(world: World) -> None:
    if world.phase is not Phase.RUNNING:
        raise ShuttingDown
    if world.is_disk_blocked:
        raise DiskFull
    if world.waiting >= world.limits.max_queue:
        raise QueueFull(retry_after_s=QUEUE_RETRY_S)


def enqueue(
    world: World,
    engine: Engine,
    ask: client.SubmitJob,
    spec: JobSpec,
    files: tuple[tuple[BlobId, InputFile], ...],
) -> client.JobAccepted:
    """Create the job, whose input files are on the disk already, and its engine if that is a new one."""
    if engine.row.engine_id not in world.engines:
        transitions.add_engine(world, engine)
    world.last_job_seq += 1
    row = JobRow(
        job_id=JobId(world.id_source.id()),
        seq=world.last_job_seq,
        engine_id=engine.row.engine_id,
        status=JobState.WAITING,
        priority=ask.priority,
        seed=spec.seed,
        image_ids=tuple(ImageId(world.id_source.id()) for _ in range(spec.count)),
        attempts=0,
        crashes=0,
        created_at_ms=world.now.unix_ms,
        expire_after_s=spec.expire_after_s,
        delete_after_downloads=spec.delete_after_downloads,
        models=model_ids_of(spec),
        give_up_after_s=spec.give_up_after_s,
        names_checkpoint=ask.checkpoint is not None,
        key_id=ask.key_id,
        callback=ask.callback,
        width_px=spec.width_px,
        height_px=spec.height_px,
    )
    key_limits.count(world, ask.key_id, spec)
    transitions.add_job(world, row, spec, blobs.rows(world, row.job_id, spec.inputs, files))
    transitions.queue_job(world, row)
    engine.is_held = False
    reconcile.reconcile_engine(world, engine)
    return _accepted(world, engine, row, spec)


def _accepted(world: World, engine: Engine, row: JobRow, spec: JobSpec) -> client.JobAccepted:
    """The reply for the newest job. A job that a worker has already waits for nothing."""
    awaited, ahead, trouble = None, None, engine.row
    row = world.jobs[row.job_id].row
    if row.job_id in engine.queue:
        ahead = engine.queue.ahead_of_newest(row.priority, row.key_id)
        awaited = waiting.waits_for(
            trouble.status,
            trouble.error_code,
            trouble.waits_since_ms,
            trouble.retry_at_ms,
            world.jobs_paused_since_ms(engine),
            engine.pool,
        )
    return client.JobAccepted(
        job_id=row.job_id,
        image_ids=row.image_ids,
        created_at_ms=row.created_at_ms,
        engine_id=row.engine_id,
        status=row.status,
        priority=row.priority,
        jobs_ahead=ahead,
        attempts=row.attempts,
        started_at_ms=row.started_at_ms,
        spec=spec,
        names=_names(world, engine, row),
        waits_for=awaited,
        error_code=None if awaited is None else trouble.error_code,
        error=None if awaited is None else trouble.error,
        key_id=row.key_id,
    )


def edit(world: World, ask: client.EditJob, facts: Facts) -> client.SingleReply:
    """Change the priority of a waiting job: it moves among those of its key, among its equals by its arrival.

    Raises: JobNotFound; IllegalMove, if the job does not wait.
    """
    job = world.jobs.get(ask.job_id)
    row = facts.ended_job if job is None else job.row
    if row is None:
        raise JobNotFound
    if job is None or row.status is not JobState.WAITING:
        raise IllegalMove(f"the job is already {row.status.value}: only waiting jobs have a place in a queue")
    if row.priority != ask.priority:
        transitions.note_job(world, job, replace(row, priority=ask.priority))
        transitions.queue_job(world, job.row)
    return client.Done()


def _names(world: World, engine: Engine, row: JobRow) -> dict[str, str]:
    """The names of the job's engine, if it has one, of its models and its key."""
    names: dict[str, str] = {} if engine.row.name is None else {row.engine_id: engine.row.name}
    for model_id in row.models:
        names[model_id] = world.models[model_id].name
    if row.key_id is not None:
        names[row.key_id] = world.keys[row.key_id].name
    return names


def cancel(world: World, ask: client.CancelJob, facts: Facts) -> client.SingleReply:
    """Cancel an open job; a cancelled one stays cancelled.

    Raises: JobNotFound; IllegalMove, if the job ended otherwise.
    """
    job = world.jobs.get(ask.job_id)
    if job is not None:
        engine = world.engines[job.row.engine_id]
        jobs.cancel(world, job)
        reconcile.reconcile_engine(world, engine)
        return client.Done()
    if facts.ended_job is None:
        raise JobNotFound
    if facts.ended_job.status is not JobState.CANCELLED:
        raise IllegalMove(f"the job is already {facts.ended_job.status.value}")
    return client.Done()


def delete(world: World, ask: client.DeleteJob, facts: Facts) -> client.SingleReply:
    """Delete an ended job with its images and input files.

    Raises: JobNotFound; JobUnfinished.
    """
    if ask.job_id in world.jobs:
        raise JobUnfinished
    if facts.ended_job is None:
        raise JobNotFound
    transitions.drop_job(world, facts.ended_job)
    return client.Done()
