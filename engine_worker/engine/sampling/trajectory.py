"""The state of one image between steps: latents, schedule, generator, and the mask of inpainting."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine_worker.engine.networks.components import Conditioning
from engine_worker.engine.networks.controlnet import Control
from engine_worker.engine.runtime.cuda_stream import copy_async
from engine_worker.engine.sampling.schedulers import Schedule


@dataclass(frozen=True, slots=True)
class InpaintMask:
    """The mask of an image that is partly repainted, for a UNet that was not trained for inpainting.

    Shapes: original and noise (1, channels, height, width), float32, on the CPU, where schedulers look up the
    noise of a timestep. mask (1, 1, height, width), on the engine's device: 1 is repainted, 0 is kept.
    """

    original: Tensor
    noise: Tensor
    mask: Tensor

    def put_back(self, latents: Tensor, schedule: Schedule, calls_done: int) -> Tensor:
        """Replace the kept part by the original, with the noise of the next timestep."""
        original = self.original
        if calls_done < schedule.calls:
            coming = schedule.timesteps[calls_done : calls_done + 1]
            original = schedule.scheduler.add_noise(original, self.noise, coming)
        return (1 - self.mask) * copy_async(original, latents.device) + self.mask * latents


@dataclass(frozen=True, slots=True)
class Trajectory:
    """An image between two steps.

    Its schedule and generator are its own and advance with it, so a past state cannot be stepped again, and
    other images cannot change it.
    Shapes: latents (1, channels, height, width), float32 on the engine's device; further_channels (1, n,
    height, width), the additional inputs of an inpainting UNet: the mask, and the latents of the masked
    image.
    """

    conditionings: tuple[Conditioning, ...]
    """That of each UNet call, all of one shape; a single one, if it is always the same."""
    guidance_scale: float
    guidance_rescale: float
    schedule: Schedule
    generator: torch.Generator
    """On the CPU, whatever the device, so that a seed gives the same image everywhere."""
    latents: Tensor
    further_channels: Tensor | None = None
    inpaint_mask: InpaintMask | None = None
    """Set if only a part is repainted, by a UNet that was not trained for it."""
    controls: tuple[Control, ...] = ()
    calls_done: int = 0

    @property
    def conditioning(self) -> Conditioning:
        """That of the next call."""
        return self.conditionings[min(self.calls_done, len(self.conditionings) - 1)]

    @property
    def is_done(self) -> bool:
        return self.calls_done == self.schedule.calls

    @property
    def timestep(self) -> Tensor:
        return self.schedule.timesteps[self.calls_done]
