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
    """An image of which a part stays.

    Shapes: original and noise (1, channels, height, width), float32; they stay on the CPU, where schedulers
    look up how much noise a timestep has. mask (1, 1, height, width), on the engine's device: 1 where the
    image is painted anew, 0 where it stays.
    """

    original: Tensor
    noise: Tensor
    mask: Tensor

    def put_back(self, latents: Tensor, schedule: Schedule, calls_done: int) -> Tensor:
        """The latents with what stays as it is at the coming timestep: as noisy as they are."""
        original = self.original
        if calls_done < schedule.calls:
            coming = schedule.timesteps[calls_done : calls_done + 1]
            original = schedule.scheduler.add_noise(original, self.noise, coming)
        return (1 - self.mask) * copy_async(original, latents.device) + self.mask * latents


@dataclass(frozen=True, slots=True)
class Trajectory:
    """An image between two steps.

    The schedule and the generator are its own and move on with it, so that its past cannot be stepped twice
    and its neighbours cannot change it.
    Shapes: latents (1, channels, height, width), float32 on the engine's device; further_channels
    (1, more, height, width), what an inpainting UNet sees beside the latents: the mask, and the latents of
    what stays.
    """

    conditioning: Conditioning
    guidance_scale: float
    schedule: Schedule
    generator: torch.Generator
    """On the CPU, whatever the device, so that a seed means the same image everywhere."""
    latents: Tensor
    further_channels: Tensor | None = None
    inpaint_mask: InpaintMask | None = None
    """Where only a part is painted anew by a UNet that was not made for it."""
    controls: tuple[Control, ...] = ()
    calls_done: int = 0

    @property
    def is_done(self) -> bool:
        return self.calls_done == self.schedule.calls

    @property
    def timestep(self) -> Tensor:
        return self.schedule.timesteps[self.calls_done]
