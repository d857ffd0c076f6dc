"""Previews of unfinished images, for jobs that ask for them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import sqrt
from time import monotonic
from typing import Final
from weakref import WeakKeyDictionary

import torch
from PIL import Image
from torch import Tensor

from engine_worker.engine.networks.components import Encoder, Vae
from engine_worker.engine.runtime.cuda_stream import Moment, record_event, wait_for_event
from engine_worker.engine.runtime.failures import is_of_the_device
from engine_worker.engine.runtime.open_job import OpenJob
from engine_worker.engine.runtime.worker_thread import WorkerThread
from engine_worker.engine.sampling.latent_preview import LatentPreview, fit_latent_preview
from engine_worker.engine.sampling.sampler import model_input
from engine_worker.engine.sampling.trajectory import Trajectory

_log = logging.getLogger(__name__)

LONGEST_PX: Final = 256
"""Of a preview's sides; 10 kB."""
_LEAST_INTERVAL_S: Final = 0.5
_JPEG_QUALITY: Final = 75
_WAITING: Final = 4
# With zero terminal SNR the first timestep has no signal at all.
_LEAST_SIGNAL: Final = 1e-4


@dataclass(frozen=True, slots=True)
class _Sketch:
    """An image as it may become. Shapes: latents (1, channels, height, width)."""

    job: OpenJob
    index: int
    latents: Tensor
    vae: Vae
    written: Moment


@dataclass(frozen=True, slots=True)
class _Shown:
    """The last preview of a job."""

    index: int
    at_s: float


class Previews:
    """Draws previews on a thread of its own, which also waits for the device, so that no step does.

    A job gets two a second at most. Where drawing does not keep up, previews are left out.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = monotonic) -> None:
        self._device = device
        self._clock = clock
        self._last: WeakKeyDictionary[OpenJob, _Shown] = WeakKeyDictionary()
        self._looks: WeakKeyDictionary[Encoder, LatentPreview] = WeakKeyDictionary()
        self._drawing: WorkerThread[_Sketch] | None = None

    def choose(self, job: OpenJob, indices: Sequence[int]) -> int | None:
        """Of which of its images a job wants to see something now, one after the other; None: of none."""
        if not job.order.spec.previews:
            return None
        last = self._last.get(job)
        if last is None:
            return indices[0]
        if self._clock() - last.at_s < _LEAST_INTERVAL_S:
            return None
        return min([index for index in indices if index > last.index] or indices)

    def show(self, job: OpenJob, index: int, vae: Vae, latents: Callable[[], Tensor]) -> None:
        """Draw a preview of latents that may still have to be computed; returns at once.

        Raises: torch.AcceleratorError, if the device broke while an earlier one was drawn.
        """
        if self._drawing is None:
            self._drawing = WorkerThread("previews", self._draw, room=_WAITING, device=self._device)
        with _bordered(job):
            sketched = latents()
            if self._drawing.offer(_Sketch(job, index, sketched, vae, record_event(self._device))):
                self._last[job] = _Shown(index, self._clock())

    def close(self) -> None:
        """Wait until what was handed over is drawn."""
        if self._drawing is not None:
            self._drawing.close()

    @torch.inference_mode()
    def _draw(self, sketch: _Sketch) -> None:
        if not sketch.job.is_open:
            return
        with _bordered(sketch.job):
            latents = wait_for_event(sketch.latents, sketch.written)
            pixels = self._look(sketch.vae).draw(latents.cpu())
            sketch.job.look(sketch.index, _as_jpeg(Image.fromarray(pixels.numpy()), sketch.vae))

    def _look(self, vae: Vae) -> LatentPreview:
        if vae.encoder not in self._looks:
            self._looks[vae.encoder] = fit_latent_preview(vae, self._device)
        return self._looks[vae.encoder]


@contextmanager
def _bordered(job: OpenJob) -> Iterator[None]:
    """Where a preview cannot be drawn, its job hears of it, and goes on without."""
    try:
        yield
    except Exception as error:
        if is_of_the_device(error):
            raise
        _log.warning("action=preview_failed job_id=%s", job.order.job_id, exc_info=error)
        job.warn(f"a preview could not be rendered: {error}")


def expected(trajectory: Trajectory, prediction: Tensor) -> Tensor:
    """The latents that the image would have if the UNet were right about all of its noise at once.

    The input of the UNet is sqrt(a) of the image and sqrt(1 - a) of noise, where a is the timestep's share
    of signal, whatever the scheduler's own way to keep latents (arXiv:2006.11239; v: arXiv:2202.00512).
    """
    scheduler = trajectory.schedule.scheduler
    nearest = min(round(trajectory.timestep.item()), len(scheduler.alphas_cumprod) - 1)
    signal = max(scheduler.alphas_cumprod[nearest].item(), _LEAST_SIGNAL)
    seen = model_input(trajectory)
    match scheduler.config.prediction_type:
        case "epsilon":
            return (seen - sqrt(1 - signal) * prediction) / sqrt(signal)
        case "v_prediction":
            return sqrt(signal) * seen - sqrt(1 - signal) * prediction
        case _:
            return prediction


def _as_jpeg(image: Image.Image, vae: Vae) -> bytes:
    """As large as the image will be, but no larger than a preview is."""
    scale = min(float(vae.pixels_per_latent), LONGEST_PX / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    file = BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()
