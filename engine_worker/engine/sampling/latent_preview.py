"""Previews without the VAE: a linear map from latent channels to RGB.

The latents of Stable Diffusion are a small image already, if a strange one: a linear map of each pixel's
channels gives its colours. The map is fitted to the VAE at hand: so it is right for any, without a table.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from engine_worker.engine.networks.components import Vae
from engine_worker.engine.networks.vae_encode import encode

# 1,024 colours to fit sixteen numbers to; larger would take longer and fit no better.
_SAMPLE_LATENTS: Final = 32
# From flat areas to single latents: what images are made of.
_COARSENESS: Final = (2, 4, 8, 16)
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class LatentPreview:
    """The map of one VAE. Shapes: weights (channels + 1, 3), on the CPU; the last row is added to all."""

    weights: Tensor

    def draw(self, latents: Tensor) -> Tensor:
        """Latents (1, channels, height, width), on the CPU, to an image (height, width, 3), uint8."""
        colours = (_with_ones(latents) @ self.weights).reshape(*latents.shape[2:], 3)
        scaled = (colours / 2 + 0.5).clamp(0, 1) * 255
        return scaled.round().to(torch.uint8)


def fit_latent_preview(vae: Vae, device: torch.device) -> LatentPreview:
    """Fit the map by least squares: to an image of clouds in all colours, and what the VAE makes of it."""
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
    """One row for each pixel: its channels, and a one. Shapes: (height * width, channels + 1)."""
    return pad(latents[0].float().flatten(1).T, (0, 1), value=1.0)
