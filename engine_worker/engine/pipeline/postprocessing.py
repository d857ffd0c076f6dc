"""Postprocessing beside the next steps: decode latents, remove backgrounds, encode files.

Two threads, a lane each: one decodes, which is the device's work, the other removes backgrounds and encodes.
Images leave in the order in which they came. Latents are small, and any number may wait; of images only a
few are there at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import torch
from torch import Tensor

from engine_worker.engine.background.apply_matte import Removers, cut_out, is_nothing_left
from engine_worker.engine.images.infotext import Digests, InfotextSource, infotext
from engine_worker.engine.images.output_file import MIMES, Pixels, colour_of, encode, laid_on
from engine_worker.engine.networks.components import Vae
from engine_worker.engine.networks.vae import Decoded, decode_latents
from engine_worker.engine.runtime.cuda_stream import Moment, wait_for_event
from engine_worker.engine.runtime.failures import fail_job
from engine_worker.engine.runtime.oom_retry import retry_on_oom
from engine_worker.engine.runtime.open_job import OpenJob
from engine_worker.engine.runtime.worker_thread import WorkerThread
from engine_worker.port import ImageEncoded
from kernel.protocol.enums import ImageFileType, Stage
from kernel.protocol.errors import JobRejected
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.schedulers import KINDS
from kernel.protocol.specs import JobOrder, PictureOrder

# Decoded images that wait to be encoded: 12 MiB each at 2048 x 2048.
_WAITING: Final = 2
_CPU: Final = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class DenoisedImage:
    """An image that needs no more steps. Shapes: latents (1, channels, height, width)."""

    job: OpenJob
    image: PictureOrder
    latents: Tensor
    vae: Vae
    """The one that these latents were made for."""
    encoded_tile_px: int | None = None
    """The side of the tiles that the images which came along were encoded in, None if in one piece."""
    digests: Digests = field(default_factory=dict)
    written: Moment = None
    """When the latents are there to be read."""


@dataclass(frozen=True, slots=True)
class _DecodedImage:
    finished: DenoisedImage
    decoded: Decoded


FinishImage = Callable[[DenoisedImage], None]
"""Takes an image over and returns at once."""


class Postprocessor:
    """Decodes, cuts out, encodes and emits images."""

    def __init__(
        self,
        checkpoint: ModelSource,
        removers: Removers,
        device: torch.device = _CPU,
        let_go: Callable[[], None] = lambda: None,
    ) -> None:
        """`let_go` frees memory that is not in use, from any thread."""
        self._checkpoint = checkpoint
        self._removers = removers
        self._device = device
        self._let_go = let_go
        self._filing: WorkerThread[_DecodedImage] = WorkerThread("encoder", self._file, room=_WAITING)
        self._developing: WorkerThread[DenoisedImage] = WorkerThread("decoder", self._develop, device=device)

    def put(self, finished: DenoisedImage) -> None:
        """Hand over an image; returns at once.

        Raises: torch.AcceleratorError, if the device broke while an earlier one was being finished.
        """
        self._developing.put(finished)

    def close(self) -> None:
        """Wait until every image that was handed over is out."""
        self._developing.close()
        self._filing.close()

    @torch.inference_mode()
    def _develop(self, finished: DenoisedImage) -> None:
        job = finished.job
        if not job.is_open:
            return
        job.come_to(Stage.FINISHING)
        try:
            latents = wait_for_event(finished.latents, finished.written)
            decoded = retry_on_oom(partial(decode_latents, finished.vae, latents), self._device, self._let_go)
        except Exception as error:  # noqa: BLE001 - the border of one job: its error must not harm another
            fail_job(job, error)
            return
        self._filing.put(_DecodedImage(finished, decoded))

    def _file(self, developed: _DecodedImage) -> None:
        job = developed.finished.job
        if not job.is_open:
            return
        try:
            job.image_done(self._image(developed))
        except Exception as error:  # noqa: BLE001 - the border of one job
            fail_job(job, error)

    def _image(self, developed: _DecodedImage) -> ImageEncoded:
        finished, decoded = developed.finished, developed.decoded
        order, image = finished.job.order, finished.image
        spec = order.spec
        pixels = self._without_background(finished.job, decoded.pixels)
        making = InfotextSource(finished.encoded_tile_px, decoded.tile_px, finished.digests)
        recipe = infotext(order, image.seed, self._checkpoint, KINDS[spec.scheduler].label, making)
        return ImageEncoded(
            job_id=order.job_id,
            index=image.index,
            image_id=image.image_id,
            seed=image.seed,
            mime=MIMES[spec.image_file_type],
            width_px=pixels.shape[1],
            height_px=pixels.shape[0],
            data=encode(pixels, spec.image_file_type, spec.quality, recipe),
        )

    def _without_background(self, job: OpenJob, pixels: Pixels) -> Pixels:
        """As the job wants it: transparent, or laid on its colour where the file knows no transparency."""
        spec = job.order.spec
        if not spec.remove_background:
            return pixels
        job.come_to(Stage.REMOVING_BACKGROUND)
        removers = [self._removers.load(source) for source in _removers_of(job.order)]
        for remover in removers:
            if self._removers.is_gpu_wanted and not remover.is_on_gpu:
                job.warn(f"background remover {remover.name} ran on the CPU: onnxruntime found no usable GPU")
        colour = colour_of(spec.background_color)
        cut = cut_out(pixels, removers, colour)
        if is_nothing_left(cut):
            job.warn("the background removers removed an entire image")
        return laid_on(cut, colour) if spec.image_file_type is ImageFileType.JPEG else cut


def _removers_of(order: JobOrder) -> list[ModelSource]:
    """Raises: JobRejected, if the order does not say where one of them is."""
    sources = {source.model_id: source for source in order.models}
    return [_source(model_id, sources) for model_id in order.spec.remove_background]


def _source(model_id: ModelId, sources: dict[ModelId, ModelSource]) -> ModelSource:
    if model_id not in sources:
        raise JobRejected(f"background remover {model_id} is missing from the job")
    return sources[model_id]
