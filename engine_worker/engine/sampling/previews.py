"""Previews of unfinished images, for jobs that ask for them, without the VAE.

The latents of Stable Diffusion already are a small image in unusual colors: a linear map from their channels
to RGB makes it visible. The map is fitted to the VAE at hand, so it is right for any VAE without a table.
"""

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
from torch.nn.functional import avg_pool2d, interpolate, pad

from engine_worker.engine.networks.components import Encoder, Vae
from engine_worker.engine.networks.vae import encode
from engine_worker.engine.runtime.cuda_stream import Moment, record_event, wait_for_event
from engine_worker.engine.runtime.failures import is_of_the_device
from engine_worker.engine.runtime.open_job import OpenJob
from engine_worker.engine.runtime.worker_thread import WorkerThread
from engine_worker.engine.sampling.sampler import model_input
from engine_worker.engine.sampling.trajectory import Trajectory
from kernel.process.log import line

_log = logging.getLogger(__name__)

LONGEST_PX: Final = 256
"""The longest side of a preview; about 10 kB."""
_LEAST_INTERVAL_S: Final = 0.5
_JPEG_QUALITY: Final = 75
_WAITING: Final = 4
# With zero terminal SNR the first timestep has no signal, and dividing by it would overflow.
_LEAST_SIGNAL: Final = 1e-4
# 1,024 pixels to fit about fifteen numbers to; more would take longer and fit no better.
_SAMPLE_LATENTS: Final = 32
# From large areas to single latents, like the structures of images.
_COARSENESS: Final = (2, 4, 8, 16)
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class LatentPreview:
    """The linear map of one VAE. Shapes: weights (channels + 1, 3), on the CPU; the last row is a
    constant."""

    weights: Tensor

    def draw(self, latents: Tensor) -> Tensor:
        """Convert latents (1, channels, height, width), on the CPU, to an image (height, width, 3), uint8."""
        colors = (_with_ones(latents) @ self.weights).reshape(*latents.shape[2:], 3)
        scaled = (colors / 2 + 0.5).clamp(0, 1) * 255
        return scaled.round().to(torch.uint8)


@dataclass(frozen=True, slots=True)
class _Sketch:
    """The expected result of an image. Shapes: latents (1, channels, height, width)."""

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
    """Renders previews on a thread of its own, which also waits for the device, so that no step does.

    A job gets at most two per second. If rendering does not keep up, previews are skipped.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = monotonic) -> None:
        self._device = device
        self._clock = clock
        self._last: WeakKeyDictionary[OpenJob, _Shown] = WeakKeyDictionary()
        self._looks: WeakKeyDictionary[Encoder, LatentPreview] = WeakKeyDictionary()
        self._drawing: WorkerThread[_Sketch] | None = None

    def choose(self, job: OpenJob, indices: Sequence[int]) -> int | None:
        """The index of the job's image to preview now, one after the other; None if no preview is due."""
        if not job.order.spec.previews:
            return None
        last = self._last.get(job)
        if last is None:
            return indices[0]
        if self._clock() - last.at_s < _LEAST_INTERVAL_S:
            return None
        return min([index for index in indices if index > last.index] or indices)

    def show(self, job: OpenJob, index: int, vae: Vae, latents: Callable[[], Tensor]) -> None:
        """Render a preview of latents, which `latents` computes. Returns at once.

        Raises: torch.AcceleratorError, if the device failed while an earlier one was rendered.
        """
        if self._drawing is None:
            self._drawing = WorkerThread("previews", self._draw, max_waiting=_WAITING, device=self._device)
        with _bordered(job):
            sketched = latents()
            if self._drawing.offer(_Sketch(job, index, sketched, vae, record_event(self._device))):
                self._last[job] = _Shown(index, self._clock())

    def close(self) -> None:
        """Wait until all previews are rendered."""
        if self._drawing is not None:
            self._drawing.close()

    @torch.inference_mode()
    def _draw(self, sketch: _Sketch) -> None:
        if not sketch.job.is_open:
            return
        with _bordered(sketch.job):
            latents = wait_for_event(sketch.latents, sketch.written)
            pixels = self._look(sketch.vae).draw(latents.cpu())
            sketch.job.preview(sketch.index, _as_jpeg(Image.fromarray(pixels.numpy()), sketch.vae))

    def _look(self, vae: Vae) -> LatentPreview:
        if vae.encoder not in self._looks:
            self._looks[vae.encoder] = fit_latent_preview(vae, self._device)
        return self._looks[vae.encoder]


@contextmanager
def _bordered(job: OpenJob) -> Iterator[None]:
    """A context in which an error becomes a warning of the job, which continues without the preview."""
    try:
        yield
    except Exception as error:
        if is_of_the_device(error):
            raise
        _log.warning(line("preview_failed", job_id=job.order.job_id), exc_info=error)
        job.warn(f"a preview could not be rendered: {error}")


def expected(trajectory: Trajectory, prediction: Tensor) -> Tensor:
    """The latents that result if the UNet's prediction of the noise is right.

    The UNet's input is sqrt(a) of the image and sqrt(1 - a) of noise, where a is the timestep's signal share,
    whatever scale the scheduler keeps its latents in.
    Source: arXiv:2006.11239; v-prediction: arXiv:2202.00512.
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
    """As large as the final image, but no larger than a preview may be."""
    scale = min(float(vae.pixels_per_latent), LONGEST_PX / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    file = BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def fit_latent_preview(vae: Vae, device: torch.device) -> LatentPreview:
    """Fit the map by least squares to an image of colored clouds and to the latents that the VAE encodes it
    to."""
    generator = torch.Generator("cpu").manual_seed(_SEED)
    image = _clouds(_SAMPLE_LATENTS * vae.pixels_per_latent, generator)
    latents = encode(vae, image, device).draw(generator)
    seen = avg_pool2d(image, vae.pixels_per_latent)
    weights = torch.linalg.lstsq(_with_ones(latents), seen[0].flatten(1).T).solution
    return LatentPreview(weights)


def _clouds(size_px: int, generator: torch.Generator) -> Tensor:
    """(1, 3, size_px, size_px), -1 to 1."""
    layers = [
        interpolate(torch.randn(1, 3, cells, cells, generator=generator), size_px, mode="bicubic")
        for cells in _COARSENESS
    ]
    return torch.stack(layers).sum(0).mul(0.5).clamp(-1, 1)


def _with_ones(latents: Tensor) -> Tensor:
    """One row per pixel: its channels and a 1. Shapes: (height * width, channels + 1)."""
    return pad(latents[0].float().flatten(1).T, (0, 1), value=1.0)
