"""Postprocessing beside the next steps: decodes latents, removes backgrounds, encodes image files.

Two threads share the work: one decodes, which is the device's work, the other removes backgrounds and encodes
files. Images leave in the order in which they arrive. Any number of latents may wait, because they are small;
of decoded images only a few exist at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import torch
from torch import Tensor

from engine_worker.engine.background.apply_matte import Removers, cut_out, is_nothing_left
from engine_worker.engine.images.infotext import Digests, InfotextSource, infotext
from engine_worker.engine.images.inpainting import Overlay
from engine_worker.engine.images.output_file import MIMES, Pixels, color_of, encode, laid_on
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
from kernel.protocol.specs import JobOrder, PictureOrder
from kernel.protocol.values import WHITE

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
    """The VAE of these latents."""
    encoded_tile_px: int | None = None
    """The side of the tiles in which the input images were encoded; None if in one piece."""
    digests: Digests = field(default_factory=dict)
    overlay: Overlay | None = None
    """What of the reference image stays as it is; None without a mask."""
    written: Moment = None
    """The event after which the latents can be read."""


@dataclass(frozen=True, slots=True)
class _DecodedImage:
    finished: DenoisedImage
    decoded: Decoded


FinishImage = Callable[[DenoisedImage], None]
"""Accepts an image and returns at once."""


class Postprocessor:
    """Decodes images, removes their backgrounds, encodes and emits them."""

    def __init__(
        self,
        checkpoint: ModelSource,
        removers: Removers,
        device: torch.device = _CPU,
        evict: Callable[[], None] = lambda: None,
    ) -> None:
        """`evict` empties caches, and may be called from any thread."""
        self._checkpoint = checkpoint
        self._removers = removers
        self._device = device
        self._evict = evict
        self._encoding: WorkerThread[_DecodedImage] = WorkerThread(
            "encoder", self._encode, max_waiting=_WAITING
        )
        self._decoding: WorkerThread[DenoisedImage] = WorkerThread("decoder", self._decode, device=device)

    def put(self, finished: DenoisedImage) -> None:
        """Hand over an image; returns at once.

        Raises: torch.AcceleratorError, if the device failed while an earlier one was decoded.
        """
        self._decoding.put(finished)

    def close(self) -> None:
        """Wait until all images are emitted."""
        self._decoding.close()
        self._encoding.close()

    @torch.inference_mode()
    def _decode(self, finished: DenoisedImage) -> None:
        job = finished.job
        if not job.is_open:
            return
        job.come_to(Stage.FINISHING)
        try:
            latents = wait_for_event(finished.latents, finished.written)
            decoded = retry_on_oom(partial(decode_latents, finished.vae, latents), self._device, self._evict)
        except Exception as error:  # noqa: BLE001 - the border of one job: its error must not harm another
            fail_job(job, error)
            return
        self._encoding.put(_DecodedImage(finished, decoded))

    def _encode(self, decoded_image: _DecodedImage) -> None:
        job = decoded_image.finished.job
        if not job.is_open:
            return
        try:
            job.image_done(self._finished(decoded_image))
        except Exception as error:  # noqa: BLE001 - the border of one job
            fail_job(job, error)

    def _finished(self, decoded_image: _DecodedImage) -> ImageEncoded:
        finished, decoded = decoded_image.finished, decoded_image.decoded
        order, image = finished.job.order, finished.image
        spec = order.spec
        drawn = decoded.pixels if finished.overlay is None else finished.overlay.over(decoded.pixels)
        pixels = self._without_background(finished.job, drawn)
        facts = InfotextSource(finished.encoded_tile_px, decoded.tile_px, finished.digests)
        text = infotext(order, image.seed, self._checkpoint, facts)
        return ImageEncoded(
            job_id=order.job_id,
            index=image.index,
            image_id=image.image_id,
            seed=image.seed,
            mime=MIMES[spec.image_file_type],
            width_px=pixels.shape[1],
            height_px=pixels.shape[0],
            data=encode(pixels, spec.image_file_type, spec.quality, text),
        )

    def _without_background(self, job: OpenJob, pixels: Pixels) -> Pixels:
        """As the job asks for it: transparent, or over its background color if the file type has no
        transparency."""
        spec = job.order.spec
        if not spec.remove_background:
            return pixels
        job.come_to(Stage.REMOVING_BACKGROUND)
        removers = [self._removers.load(source) for source in _removers_of(job.order)]
        for remover in removers:
            if self._removers.is_gpu_wanted and not remover.is_on_gpu:
                job.warn(f"background remover {remover.name} ran on the CPU: onnxruntime found no usable GPU")
        color = color_of(spec.background_color or WHITE)
        cut = cut_out(pixels, removers, color)
        if is_nothing_left(cut):
            job.warn("the background removers removed an entire image")
        return laid_on(cut, color) if spec.image_file_type is ImageFileType.JPEG else cut


def _removers_of(order: JobOrder) -> list[ModelSource]:
    """Raises: JobRejected, if one of them is missing from the order."""
    sources = {source.model_id: source for source in order.models}
    return [_source(model_id, sources) for model_id in order.spec.remove_background]


def _source(model_id: ModelId, sources: dict[ModelId, ModelSource]) -> ModelSource:
    if model_id not in sources:
        raise JobRejected(f"background remover {model_id} is missing from the job")
    return sources[model_id]
