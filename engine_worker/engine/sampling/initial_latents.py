"""The initial latents of an image: its noise, and the part of the init image that remains.

All random numbers are drawn in the order in which the stock pipelines of diffusers draw them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine_worker.engine.networks.vae_encode import Encoded
from engine_worker.engine.sampling.init_image import InitImage
from engine_worker.engine.sampling.inpaint_mask import InpaintMask
from engine_worker.engine.sampling.schedulers import Schedule


@dataclass(frozen=True, slots=True)
class InitialLatents:
    """The first latents of an image, and what goes along with them; see `Trajectory`."""

    latents: Tensor
    further_channels: Tensor | None = None
    inpaint_mask: InpaintMask | None = None


def prepare_latents(
    schedule: Schedule, generator: torch.Generator, shape: tuple[int, int, int], init_image: InitImage | None
) -> InitialLatents:
    """The beginning of one image, on the CPU. `shape` is that of its latents: channels, height, width."""
    if init_image is None:
        return InitialLatents(_pure(schedule, _noise(shape, generator)))
    reference = None if init_image.reference is None else init_image.reference.draw(generator)
    if reference is not None and not schedule.calls:
        return InitialLatents(reference)
    noise = _noise(shape, generator)
    latents = _pure(schedule, noise)
    if reference is not None and not init_image.is_pure_noise:
        latents = schedule.scheduler.add_noise(reference, noise, schedule.timesteps[:1])
    if init_image.mask is None:
        return InitialLatents(latents)
    if init_image.staying is not None:
        return InitialLatents(latents, _further_channels(init_image.mask, init_image.staying, generator))
    # The stock pipeline encodes what stays for every UNet, and this number of the generator with it.
    _noise(shape, generator)
    return InitialLatents(
        latents, inpaint_mask=None if reference is None else InpaintMask(reference, noise, init_image.mask)
    )


def _noise(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    return torch.randn((1, *shape), generator=generator, dtype=torch.float32)


def _pure(schedule: Schedule, noise: Tensor) -> Tensor:
    return noise * schedule.scheduler.init_noise_sigma


def _further_channels(mask: Tensor, staying: Encoded, generator: torch.Generator) -> Tensor:
    return torch.cat([mask, staying.draw(generator)], dim=1)
