"""What a UNet is trained to do: to tell the noise in noisy latents. Shared by the UNets and by all that is trained behind them.

Choices that a small model needs more than a large one, each with its source:
- noise with an offset per channel, for the schedule's last step leaks the mean, that is the background's colour
  (N. Guttenberg, "Diffusion with offset noise", 2023; S. Lin et al., arXiv 2305.08891);
- many late timesteps, where place and colours are decided;
- a loss weighted by signal to noise, at most 5 (T. Hang et al., arXiv 2303.09556).
"""

from collections.abc import Callable

import torch
from diffusers import DDPMScheduler
from torch import Tensor

OFFSET = 0.2
LATE_SHARE = 0.3
LATE_FROM = 700
MOST_SNR = 5.0
TIMESTEPS = 1000

Predict = Callable[[Tensor, Tensor], Tensor]
"""Tells the noise from noisy latents (batch, 4, 16, 16) and timesteps (batch,)."""


def build_noise_schedule() -> DDPMScheduler:
    """Build the schedule of SD 1.5 and SDXL."""
    return DDPMScheduler(
        num_train_timesteps=TIMESTEPS, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    )


def denoising_loss(predict: Predict, latents: Tensor, schedule: DDPMScheduler, noise: torch.Generator) -> Tensor:
    """Add noise at random timesteps and measure how badly it is told."""
    timesteps = _timesteps(len(latents), noise)
    added = torch.randn(latents.shape, generator=noise, device=latents.device)
    added += OFFSET * torch.randn((*latents.shape[:2], 1, 1), generator=noise, device=latents.device)
    told = predict(schedule.add_noise(latents, added, timesteps), timesteps)
    error = (told.float() - added).square().mean((1, 2, 3))
    return (error * _weights(schedule, timesteps)).mean()


def _timesteps(count: int, noise: torch.Generator) -> Tensor:
    """Draw timesteps, a share of them late."""
    chance = torch.rand((2, count), generator=noise, device=noise.device)
    late = LATE_FROM + (TIMESTEPS - LATE_FROM) * chance[1]
    return torch.where(chance[0] < LATE_SHARE, late, TIMESTEPS * chance[1]).long()


def _weights(schedule: DDPMScheduler, timesteps: Tensor) -> Tensor:
    kept = schedule.alphas_cumprod.to(timesteps.device)[timesteps]
    snr = kept / (1 - kept)
    return snr.clamp(max=MOST_SNR) / snr
