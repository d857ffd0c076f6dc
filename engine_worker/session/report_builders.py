"""What an engine says of a job, in the words of the bus: under the lease that the job is held by."""

from engine_worker.port import Previewed, Stepped
from engine_worker.session.actions import Send
from engine_worker.session.events import ImageMade, MapMade
from kernel.protocol.ids import Lease
from kernel.protocol.worker import ControlMap, ImageReady, Preview, Progress


def progress(event: Stepped, lease: Lease) -> Send:
    """How far the job is."""
    return Send(
        Progress(job_id=event.job_id, lease=lease, step=event.step, steps=event.steps, stage=event.stage)
    )


def preview(event: Previewed, lease: Lease) -> Send:
    """How an image looks so far."""
    report = Preview(job_id=event.job_id, lease=lease, index=event.index, step=event.step)
    return Send(report, event.data)


def control_map(event: MapMade, lease: Lease) -> ControlMap:
    """A map's description; its file is the blob beside it."""
    made = event.made
    return ControlMap(
        job_id=made.job_id,
        lease=lease,
        control_type=made.control_type,
        size_bytes=len(made.data),
        sha256=event.sha256,
    )


def image_ready(event: ImageMade, lease: Lease) -> ImageReady:
    """An image's description; its file is the blob beside it."""
    image = event.image
    return ImageReady(
        job_id=image.job_id,
        lease=lease,
        index=image.index,
        image_id=image.image_id,
        seed=image.seed,
        mime=image.mime,
        width_px=image.width_px,
        height_px=image.height_px,
        size_bytes=len(image.data),
        sha256=event.sha256,
    )
