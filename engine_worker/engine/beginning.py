"""Where a picture begins: its noise, and what it keeps of a reference.

All random numbers are drawn in the order in which the stock pipelines of diffusers draw them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine_worker.engine.canvas import Canvas
from engine_worker.engine.encoding import Encoded
from engine_worker.engine.repaint import Repaint
from engine_worker.engine.schedulers import Schedule


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first latents of a picture, and what goes along with them; see `Trajectory`."""

    latents: Tensor
    further_channels: Tensor | None = None
    repaint: Repaint | None = None


def begin(
    schedule: Schedule, generator: torch.Generator, shape: tuple[int, int, int], canvas: Canvas | None
) -> Beginning:
    """The beginning of one picture, on the CPU. `shape` is that of its latents: channels, height, width."""
    if canvas is None:
        return Beginning(_pure(schedule, _noise(shape, generator)))
    reference = None if canvas.reference is None else canvas.reference.draw(generator)
    if reference is not None and not schedule.calls:
        return Beginning(reference)
    noise = _noise(shape, generator)
    latents = _pure(schedule, noise)
    if reference is not None and not canvas.is_pure_noise:
        latents = schedule.scheduler.add_noise(reference, noise, schedule.timesteps[:1])
    if canvas.mask is None:
        return Beginning(latents)
    if canvas.staying is not None:
        return Beginning(latents, _further_channels(canvas.mask, canvas.staying, generator))
    # The stock pipeline encodes what stays for every UNet, and this number of the generator with it.
    _noise(shape, generator)
    return Beginning(latents, repaint=None if reference is None else Repaint(reference, noise, canvas.mask))


def _noise(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    return torch.randn((1, *shape), generator=generator, dtype=torch.float32)


def _pure(schedule: Schedule, noise: Tensor) -> Tensor:
    return noise * schedule.scheduler.init_noise_sigma


def _further_channels(mask: Tensor, staying: Encoded, generator: torch.Generator) -> Tensor:
    return torch.cat([mask, staying.draw(generator)], dim=1)
