"""Encodes pixels to latents, whole or in tiles."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from engine_worker.engine.networks.components import Vae
from engine_worker.engine.networks.tiling import tile_side_px
from engine_worker.engine.runtime.oom_retry import fall_back_on_oom


@dataclass(frozen=True, slots=True)
class Encoded:
    """What an image may be in latents: a VAE gives a mean and a deviation, of which each image of a job
    draws its own.

    Shapes: mean and deviation (1, channels, height, width), float32 on the CPU, as they leave the VAE.
    """

    vae: Vae
    mean: Tensor
    deviation: Tensor
    tile_px: int | None = None
    """The side of the tiles that it was encoded in, None if in one piece."""

    def draw(self, generator: torch.Generator) -> Tensor:
        """Latents (1, channels, height, width), float32 on the CPU, scaled as the UNet wants them."""
        noise = torch.randn(self.mean.shape, generator=generator, dtype=torch.float32)
        return _scaled(self.vae, self.mean + self.deviation * noise)


def encode(vae: Vae, pixels: Tensor, device: torch.device) -> Encoded:
    """Encode one image; in tiles if it turns out that there is no memory for the whole.

    `pixels` are (1, 3, height_px, width_px), -1 to 1, on the CPU. Where tiles meet they are blended, but it
    is not quite the same image, so its recipe should say so.
    Raises: torch.OutOfMemoryError, if even tiles are too large.
    """
    whole, tiled = partial(_encode_whole, vae, pixels, device), partial(_encode_tiled, vae, pixels, device)
    with vae.loaded():
        return fall_back_on_oom(whole, tiled, device)


def _encode_whole(vae: Vae, pixels: Tensor, device: torch.device) -> Encoded:
    mean, deviation = _moments(vae, pixels, device)
    return Encoded(vae, mean, deviation)


def _encode_tiled(vae: Vae, pixels: Tensor, device: torch.device) -> Encoded:
    """One tile after the other. The method of diffusers is not used: it would set the size of tiles on the
    very VAE that another thread may just be decoding with."""
    scale = vae.pixels_per_latent
    height, width = (side // scale for side in pixels.shape[-2:])
    tile_px = tile_side_px(height * scale, width * scale, scale)
    tile = tile_px // scale
    mean = torch.zeros(1, vae.latent_channels, height, width)
    deviation, total = torch.zeros_like(mean), torch.zeros(height, width)
    for top, bottom in _spans(height, tile):
        for left, right in _spans(width, tile):
            piece = pixels[..., top * scale : bottom * scale, left * scale : right * scale]
            weight = torch.outer(_ramps(top, bottom, height, tile), _ramps(left, right, width, tile))
            of_mean, of_deviation = _moments(vae, piece, device)
            mean[..., top:bottom, left:right] += weight * of_mean
            deviation[..., top:bottom, left:right] += weight * of_deviation
            total[top:bottom, left:right] += weight
    return Encoded(vae, mean / total, deviation / total, tile_px)


def _moments(vae: Vae, pixels: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    (posterior,) = vae.encoder.encode(pixels.to(device, vae.dtype), return_dict=False)
    return posterior.mean.float().cpu(), posterior.std.float().cpu()


def _spans(length: int, tile: int) -> list[tuple[int, int]]:
    """Tiles along one side, from a beginning up to an end: they overlap by a quarter, and the last one, which
    is as large as the others, by more."""
    last = max(0, length - tile)
    return [(begin, min(begin + tile, length)) for begin in (*range(0, last, tile - tile // 4), last)]


def _ramps(begin: int, end: int, length: int, tile: int) -> Tensor:
    """How much each latent of a tile counts: less towards a neighbour, fully at the image's edge."""
    weights = torch.ones(end - begin)
    rising = torch.arange(1, tile // 4 + 1) / (tile // 4 + 1)
    if begin > 0:
        weights[: len(rising)] = rising
    if end < length:
        weights[-len(rising) :] = rising.flip(0)
    return weights


def _scaled(vae: Vae, latents: Tensor) -> Tensor:
    if vae.latents_mean is None or vae.latents_std is None:
        return latents * vae.scaling_factor
    mean, deviation = (
        latents.new_tensor(numbers).view(1, -1, 1, 1) for numbers in (vae.latents_mean, vae.latents_std)
    )
    return (latents - mean) * vae.scaling_factor / deviation
