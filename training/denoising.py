"""What a UNet is trained to do: to tell the noise in noisy latents. Shared by the UNets and by all that is
trained behind them.

Choices that a small model needs more than a large one, each with its source:
- noise with an offset per channel, because the schedule's last step leaks the mean, which is the background's
  color (N. Guttenberg, "Diffusion with offset noise", 2023; S. Lin et al., arXiv 2305.08891);
- many late timesteps, where place and colors are decided;
- a loss weighted by signal to noise, at most 5 (T. Hang et al., arXiv 2303.09556).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from training.batches import Feed
from training.gallery import Gallery
from training.loop import Run, autocast, seeded
from training.prompts import Prompts

OFFSET = 0.2
LATE_SHARE = 0.3
LATE_FROM = 700
MOST_SNR = 5.0
TIMESTEPS = 1000

Tell = Callable[[Prompts, Tensor, Tensor], Tensor]
"""Tells the noise from prompts, noisy latents (batch, 4, 16, 16) and timesteps (batch,)."""


def build_noise_schedule() -> DDPMScheduler:
    """Build the schedule of SD 1.5 and SDXL."""
    return DDPMScheduler(
        num_train_timesteps=TIMESTEPS, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    )


@dataclass(frozen=True, slots=True)
class GalleryLoss:
    """The loss of any step: how badly the noise over a gallery's images is told from their captions."""

    gallery: Gallery
    feed: Feed[Prompts]
    tell: Tell
    run: Run
    schedule: DDPMScheduler = field(default_factory=build_noise_schedule)

    def __call__(self, step: int) -> Tensor:
        """Add noise at random timesteps and measure the error, weighted."""
        prompts = self.feed(step).to(self.run.device)
        latents = self.gallery.latents[prompts.images].float()
        generator = seeded(self.run.seed, step, self.run.device)
        timesteps = _timesteps(len(latents), generator)
        noise = _noise(latents, generator)
        with autocast(self.run.device, is_convolutional=False):
            told = self.tell(prompts, self.schedule.add_noise(latents, noise, timesteps), timesteps)
        error = (told.float() - noise).square().mean((1, 2, 3))
        return (error * _weights(self.schedule, timesteps)).mean()


def _noise(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Draw noise with an offset per channel."""
    noise = torch.randn(latents.shape, generator=generator, device=latents.device)
    return noise + OFFSET * torch.randn(
        (*latents.shape[:2], 1, 1), generator=generator, device=latents.device
    )


def _timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Draw timesteps, a share of them late."""
    chance = torch.rand((2, count), generator=generator, device=generator.device)
    late = LATE_FROM + (TIMESTEPS - LATE_FROM) * chance[1]
    return torch.where(chance[0] < LATE_SHARE, late, TIMESTEPS * chance[1]).long()


def _weights(schedule: DDPMScheduler, timesteps: Tensor) -> Tensor:
    kept = schedule.alphas_cumprod.to(timesteps.device)[timesteps]
    snr: Tensor = kept / (1 - kept)
    return snr.clamp(max=MOST_SNR) / snr
