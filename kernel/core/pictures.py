"""Pictures on their way to the disk, and the images that they become."""

from typing import Final

from kernel.core import actions, due, jobs, record, schedule
from kernel.core.rows import ImageRow
from kernel.core.world import Job, Picture, Worker, World
from kernel.protocol import worker as wire
from kernel.protocol.errors import DiskFull
from kernel.protocol.ids import ImageId
from kernel.protocol.vocabulary import JobState

ENDINGS: Final = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
MAX_TRIES: Final = 5
RETRY_S: Final = 1.0


def arrived(world: World, worker: Worker, report: wire.ImageReady) -> None:
    """A worker sent a picture under a good lease: have it written, unless it is there or on its way."""
    job = world.jobs[report.job_id]
    image_ids = job.row.image_ids
    is_ours = 0 <= report.index < len(image_ids) and image_ids[report.index] == report.image_id
    if not is_ours or report.mime not in ENDINGS or report.image_id in world.pictures:
        return
    if report.index in job.stored:
        _tell_owner(world, job, report.index)
        return
    row = _new_row(world, job, report)
    world.pictures[row.image_id] = Picture(row)
    world.act(actions.StorePicture(row.image_id, row.file_name))


def _new_row(world: World, job: Job, report: wire.ImageReady) -> ImageRow:
    now_ms, expire_after_s = world.now.unix_ms, world.limits.expire_after_s
    return ImageRow(
        image_id=report.image_id,
        job_id=job.row.job_id,
        engine_id=job.row.engine_id,
        position=report.index,
        file_name=f"{report.image_id}.{ENDINGS[report.mime]}",
        mime=report.mime,
        width_px=report.width_px,
        height_px=report.height_px,
        size_bytes=report.size_bytes,
        sha256=report.sha256,
        seed=report.seed,
        downloads=0,
        download_limit=world.limits.delete_after_downloads,
        created_at_ms=now_ms,
        expires_at_ms=None if expire_after_s is None else now_ms + int(expire_after_s * 1000),
    )


def stored(world: World, image_id: ImageId) -> None:
    """A picture is durable: it becomes an image, unless its job has ended meanwhile."""
    row = world.pictures.pop(image_id).row
    world.act(actions.ForgetPicture(image_id))
    job = world.jobs.get(row.job_id)
    if job is None:
        world.act(actions.TrashPicture(image_id, row.file_name, world.now.unix_ms))
        return
    record.add_image(world, row)
    job.stored.add(row.position)
    _tell_owner(world, job, row.position)
    owner = world.job_owner(job)
    jobs.finish_if_complete(world, job)
    if owner is not None:
        schedule.tend_worker(world, owner)
    else:
        schedule.tend(world, world.engines[row.engine_id])


def _tell_owner(world: World, job: Job, position: int) -> None:
    owner = world.job_owner(job)
    if owner is not None and job.lease is not None:
        order = wire.ImageStored(job_id=job.row.job_id, lease=job.lease, index=position)
        world.act(actions.Order(owner.worker_id, order))


def not_stored(world: World, image_id: ImageId, reason: str) -> None:
    """A picture could not be written: try again a few times, then fail the job."""
    picture = world.pictures[image_id]
    job = world.jobs.get(picture.row.job_id)
    if job is not None and picture.tries < MAX_TRIES:
        picture.tries += 1
        world.timers.set(due.Store(image_id), world.now.mono_s + RETRY_S)
        return
    del world.pictures[image_id]
    world.act(actions.ForgetPicture(image_id))
    if job is not None:
        _fail(world, job, f"the picture could not be written: {reason}")


def _fail(world: World, job: Job, text: str) -> None:
    if job.row.status is JobState.PROCESSING and (owner := world.job_owner(job)) is not None:
        jobs.ask_to_drop(world, owner, job.row.job_id)
        owner.slots[job.row.job_id].is_cancelled = True
    jobs.fail(world, job, DiskFull.code, text)
    schedule.tend(world, world.engines[job.row.engine_id])
