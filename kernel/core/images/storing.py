"""Stores arriving images and control maps: first the file, then the row."""

from typing import Final

from msgspec.structs import replace

from kernel.core import actions, due
from kernel.core.admission import reconcile
from kernel.core.lifecycle import jobs
from kernel.core.ports import Folder
from kernel.core.state import blobs, transitions
from kernel.core.state.blobs import ENDINGS
from kernel.core.state.world import Job, PendingOutput, World
from kernel.protocol import worker as wire
from kernel.protocol.enums import ControlType, JobState, Phase
from kernel.protocol.errors import DiskFull, JobBroke
from kernel.protocol.ids import BlobId, ImageId
from kernel.protocol.rows import BlobRow, ImageRow

MAP_MIME: Final = "image/png"
MAX_TRIES: Final = 5
RETRY_S: Final = 1.0
LONG_RETRY_S: Final = 10.0
"""Delay after the first tries: the interval of the disk check."""


def arrived(world: World, report: wire.ImageReady) -> None:
    """A worker sent an image under a valid lease: store it, unless it is stored or pending."""
    job = world.jobs[report.job_id]
    image_ids = job.row.image_ids
    is_ours = 0 <= report.index < len(image_ids) and image_ids[report.index] == report.image_id
    if not is_ours or report.mime not in ENDINGS or report.image_id in world.pending_outputs:
        return
    if report.index in job.stored:
        _tell_owner(world, job, report.index)
        return
    row = _new_row(world, job, report)
    world.pending_outputs[row.image_id] = PendingOutput(row)
    world.act(actions.StoreOutput(row.image_id, Folder.IMAGES, row.file_name, row.sha256))


def missing(world: World, job: Job) -> list[ImageId]:
    """The images of a job that are not stored, and not about to be."""
    return [
        image_id
        for index, image_id in enumerate(job.row.image_ids)
        if index not in job.stored and image_id not in world.pending_outputs
    ]


def _new_row(world: World, job: Job, report: wire.ImageReady) -> ImageRow:
    """The row of an image. It expires as the job says, else as the configuration does."""
    limits, wish = world.limits, job.row
    expire_after_s = limits.expire_after_s if wish.expire_after_s is None else wish.expire_after_s
    downloads = wish.delete_after_downloads
    now_ms = world.now.unix_ms
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
        download_limit=limits.delete_after_downloads if downloads is None else downloads,
        created_at_ms=now_ms,
        expires_at_ms=None if expire_after_s is None else now_ms + int(expire_after_s * 1000),
        checkpoint=wish.checkpoint,
    )


def map_arrived(world: World, report: wire.ControlMap) -> None:
    """A worker sent a control map under a valid lease: store it, unless it is stored or pending."""
    job, kind = world.jobs[report.job_id], blobs.kind_of_map(report.control_type)
    if kind in job.maps_coming:
        return
    if kind in job.blobs:
        _tell_owner_of_map(world, job, report.control_type)
        return
    blob_id = BlobId(world.id_source.id())
    row = BlobRow(
        blob_id=blob_id,
        job_id=job.row.job_id,
        kind=kind,
        file_name=blobs.file_name(blob_id, MAP_MIME),
        mime=MAP_MIME,
        size_bytes=report.size_bytes,
        sha256=report.sha256,
        created_at_ms=world.now.unix_ms,
    )
    job.maps_coming |= {kind}
    world.pending_outputs[blob_id] = PendingOutput(row)
    world.act(actions.StoreOutput(blob_id, Folder.BLOBS, row.file_name, row.sha256))


def stored(world: World, output_id: ImageId | BlobId) -> None:
    """An output is durable: record it as an image or control map, unless its job has ended meanwhile."""
    row = world.pending_outputs.pop(output_id).row
    world.act(actions.ForgetOutput(output_id))
    _stored(world, row)
    _go_on(world, output_id)


def _stored(world: World, row: ImageRow | BlobRow) -> None:
    job = world.jobs.get(row.job_id)
    if job is None:
        folder = Folder.IMAGES if isinstance(row, ImageRow) else Folder.BLOBS
        world.act(actions.TrashFile(folder, row.file_name, world.now.unix_ms))
        return
    if isinstance(row, ImageRow):
        transitions.add_image(world, row)
        job.stored |= {row.position}
        _tell_owner(world, job, row.position)
    else:
        transitions.add_map(world, job, row)
        _tell_owner_of_map(world, job, blobs.control_type_of(row.kind))
    owner = world.job_owner(job)
    jobs.finish_if_complete(world, job)
    if owner is not None:
        reconcile.assign_jobs(world, owner)
    else:
        reconcile.reconcile_engine(world, world.engines[job.row.engine_id])


def _tell_owner(world: World, job: Job, position: int) -> None:
    owner = world.job_owner(job)
    if owner is not None and job.lease is not None:
        order = wire.ImageStored(job_id=job.row.job_id, lease=job.lease, index=position)
        world.act(actions.Order(owner.worker_id, order))


def _tell_owner_of_map(world: World, job: Job, control_type: ControlType) -> None:
    owner = world.job_owner(job)
    if owner is not None and job.lease is not None:
        order = wire.MapStored(job_id=job.row.job_id, lease=job.lease, control_type=control_type)
        world.act(actions.Order(owner.worker_id, order))


def not_stored(world: World, output_id: ImageId | BlobId, reason: str) -> None:
    """An output could not be written: retry while its job is open and the Manager runs.

    Meanwhile no job is given to any worker, because its images would fail on the same disk. After a few tries
    the job waits again, so that its worker need not: it finishes when its last image is written, and starts
    over if the Manager ends before that.
    """
    output = world.pending_outputs[output_id]
    job = world.jobs.get(output.row.job_id)
    is_first = output.tries < MAX_TRIES
    if job is not None and output.tries == MAX_TRIES:
        _set_aside(world, job, f"the image could not be stored: {reason}")
    if job is None or not (is_first or world.phase is Phase.RUNNING):
        _forget(world, output_id)
        return
    output.tries += 1
    world.unwritten.add(output_id)
    world.timers.set(due.Store(output_id), world.now.mono_s + (RETRY_S if is_first else LONG_RETRY_S))


def damaged(world: World, output_id: ImageId | BlobId, reason: str) -> None:
    """The bytes differ from their description, and a retry would not change that: the job fails."""
    job = world.jobs.get(world.pending_outputs[output_id].row.job_id)
    _forget(world, output_id)
    if job is not None:
        _take_away(world, job)
        jobs.fail(world, job, JobBroke.code, f"the image could not be stored: {reason}")
        reconcile.reconcile_engine(world, world.engines[job.row.engine_id])


def _set_aside(world: World, job: Job, text: str) -> None:
    if job.row.status is JobState.PROCESSING:
        _take_away(world, job)
        job.row = replace(job.row, error_code=DiskFull.code, error=text)
        jobs.give_back(world, job)


def _take_away(world: World, job: Job) -> None:
    if job.row.status is JobState.PROCESSING and (owner := world.job_owner(job)) is not None:
        jobs.ask_to_drop(world, owner, job.row.job_id)
        owner.slots[job.row.job_id].is_cancelled = True


def _forget(world: World, output_id: ImageId | BlobId) -> None:
    del world.pending_outputs[output_id]
    world.act(actions.ForgetOutput(output_id))
    _go_on(world, output_id)


def _go_on(world: World, output_id: ImageId | BlobId) -> None:
    """If no write is failing any more, give out the jobs that were held back."""
    if output_id in world.unwritten:
        world.unwritten.discard(output_id)
        if not world.unwritten:
            for engine in list(world.engines.values()):
                reconcile.reconcile_engine(world, engine)
