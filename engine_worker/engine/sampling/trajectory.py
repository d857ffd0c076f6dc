"""The state of one image between steps, from noise to latents."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine_worker.engine.networks.conditioning import Conditioning
from engine_worker.engine.networks.controlnet import Control
from engine_worker.engine.sampling.inpaint_mask import InpaintMask
from engine_worker.engine.sampling.schedulers import Schedule


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
