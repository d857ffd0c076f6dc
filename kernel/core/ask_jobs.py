"""What clients ask about jobs."""

from typing import Final, TypeVar

from kernel.core import ask_engines, jobs, numbers, record, schedule
from kernel.core.events import Facts
from kernel.core.rows import EngineRow, JobRow
from kernel.core.world import Engine, World
from kernel.protocol import client
from kernel.protocol.errors import (
    DiskFull,
    IllegalMove,
    JobNotFound,
    JobUnfinished,
    QueueFull,
    ShuttingDown,
    wrong_field,
)
from kernel.protocol.ids import ImageId, JobId
from kernel.protocol.specs import JobRequest, JobSpec
from kernel.protocol.vocabulary import JobState, ModelBase, Phase

T = TypeVar("T")
QUEUE_RETRY_S: Final = 5.0
LATENT_CELL_PX: Final = 8
"""One latent stands for 8 x 8 pixels in every Stable Diffusion VAE."""
NATIVE_SIZES_PX: Final = {ModelBase.SD: 512, ModelBase.SDXL: 1024}


def submit(world: World, ask: client.SubmitJob) -> client.SingleReply:
    """Put a job into an engine's queue, with every default filled in; or only say that one could.

    Raises: EngineNotFound; InvalidField; QueueFull; DiskFull; ShuttingDown.
    """
    engine = ask_engines.find(world, ask.engine_id, ask.engine_name)
    seed = world.fresh.seed() if ask.request.seed is None else ask.request.seed
    spec = resolve(ask.request, engine.row, _native_size_px(world, engine), seed)
    _check_size(world, spec)
    numbers.check_priority(ask.priority)
    numbers.check_seeds(spec)
    numbers.check_finite(spec)
    _check_can_queue(world)
    if ask.validate_only:
        return client.JobValid(engine_id=engine.row.engine_id)
    return _enqueue(world, engine, ask.priority, spec)


def resolve(request: JobRequest, engine: EngineRow, native_size_px: int, seed: int) -> JobSpec:
    """A job with every value decided: its own, else the engine's, else the checkpoint's. 0 is a value."""
    default = engine.spec
    scheduler_config = request.scheduler_config
    return JobSpec(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        seed=seed,
        count=request.count,
        steps=_first(request.steps, default.steps),
        guidance_scale=_first(request.guidance_scale, default.guidance_scale),
        width_px=_first(request.width_px, _first(default.width_px, native_size_px)),
        height_px=_first(request.height_px, _first(default.height_px, native_size_px)),
        scheduler=_first(request.scheduler, default.scheduler),
        scheduler_config=default.scheduler_config if scheduler_config is None else scheduler_config,
        image_file_type=request.image_file_type,
        quality=request.quality,
    )


def _first(value: T | None, default: T) -> T:
    return default if value is None else value


def _native_size_px(world: World, engine: Engine) -> int:
    model = world.models[engine.row.spec.checkpoint]
    if model.native_size_px is not None:
        return model.native_size_px
    return NATIVE_SIZES_PX[model.model_base or ModelBase.SD]


def _check_size(world: World, spec: JobSpec) -> None:
    for field, size_px in (("width", spec.width_px), ("height", spec.height_px)):
        if size_px <= 0 or size_px % LATENT_CELL_PX:
            raise wrong_field(field, f"{size_px} is not a positive multiple of {LATENT_CELL_PX}")
    if spec.width_px * spec.height_px > world.limits.max_pixels:
        raise wrong_field("width", f"a picture has at most {world.limits.max_pixels} pixels")
    if not 1 <= spec.steps <= world.limits.max_steps:
        raise wrong_field("steps", f"{spec.steps} is not in 1 .. {world.limits.max_steps}")
    if not 1 <= spec.count <= world.limits.max_count:
        raise wrong_field("count", f"{spec.count} is not in 1 .. {world.limits.max_count}")


def _check_can_queue(world: World) -> None:
    if world.phase is not Phase.RUNNING:
        raise ShuttingDown
    if world.is_disk_low:
        raise DiskFull
    if world.waiting >= world.limits.max_queue:
        raise QueueFull(retry_after_s=QUEUE_RETRY_S)


def _enqueue(world: World, engine: Engine, priority: int, spec: JobSpec) -> client.SingleReply:
    world.last_job_seq += 1
    row = JobRow(
        job_id=JobId(world.fresh.id()),
        seq=world.last_job_seq,
        engine_id=engine.row.engine_id,
        status=JobState.WAITING,
        priority=priority,
        seed=spec.seed,
        image_ids=tuple(ImageId(world.fresh.id()) for _ in range(spec.count)),
        attempts=0,
        crashes=0,
        created_at_ms=world.now.unix_ms,
    )
    record.add_job(world, row, spec)
    engine.queue.put(row.job_id, row.priority, row.seq)
    engine.is_held = False
    schedule.tend(world, engine)
    return client.JobAccepted(job_id=row.job_id, image_ids=row.image_ids, created_at_ms=row.created_at_ms)


def cancel(world: World, ask: client.CancelJob, facts: Facts) -> client.SingleReply:
    """Cancel an open job; one that was cancelled already stays so.

    Raises: JobNotFound; IllegalMove, if the job ended otherwise.
    """
    job = world.jobs.get(ask.job_id)
    if job is not None:
        engine = world.engines[job.row.engine_id]
        jobs.cancel(world, job)
        schedule.tend(world, engine)
        return client.Done()
    if facts.ended_job is None:
        raise JobNotFound
    if facts.ended_job.status is not JobState.CANCELLED:
        raise IllegalMove(f"the job is {facts.ended_job.status.value} already")
    return client.Done()


def delete(world: World, ask: client.DeleteJob, facts: Facts) -> client.SingleReply:
    """Delete an ended job and its images.

    Raises: JobNotFound; JobUnfinished.
    """
    if ask.job_id in world.jobs:
        raise JobUnfinished
    if facts.ended_job is None:
        raise JobNotFound
    record.drop_job(world, ask.job_id)
    return client.Done()
