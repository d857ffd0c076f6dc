"""From pixels to latents: the VAE's way in."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine_worker.engine.parts import Vae


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a picture may be in latents: a VAE gives a mean and a deviation, of which each picture of a job
    draws its own.

    Shapes: mean and deviation (1, channels, height, width), float32 on the CPU, as they leave the VAE.
    """

    vae: Vae
    mean: Tensor
    deviation: Tensor

    def draw(self, generator: torch.Generator) -> Tensor:
        """Latents (1, channels, height, width), float32 on the CPU, scaled as the UNet wants them."""
        noise = torch.randn(self.mean.shape, generator=generator, dtype=torch.float32)
        return _scaled(self.vae, self.mean + self.deviation * noise)


def encode(vae: Vae, pixels: Tensor, device: torch.device) -> Encoded:
    """Encode one picture. `pixels` are (1, 3, height_px, width_px), -1 to 1."""
    (posterior,) = vae.encoder.encode(pixels.to(device, vae.dtype), return_dict=False)
    return Encoded(vae, posterior.mean.float().cpu(), posterior.std.float().cpu())


def _scaled(vae: Vae, latents: Tensor) -> Tensor:
    if vae.latents_mean is None or vae.latents_std is None:
        return latents * vae.scaling_factor
    mean, deviation = (
        latents.new_tensor(numbers).view(1, -1, 1, 1) for numbers in (vae.latents_mean, vae.latents_std)
    )
    return (latents - mean) * vae.scaling_factor / deviation
