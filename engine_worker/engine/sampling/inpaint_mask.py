"""Inpainting: after each step, restores the latents outside the mask."""

from dataclasses import dataclass

from torch import Tensor

from engine_worker.engine.runtime.async_copy import copy_async
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
