"""The VAE: encodes pixels to latents and decodes latents to pixels, whole or in tiles.

Tiles need less memory. Their overlapping borders are blended, but the result is not identical to that of one
piece, so `tile_px` is reported and ends up in the infotext.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from engine_worker.engine.images.output_file import Pixels
from engine_worker.engine.networks.components import Vae
from engine_worker.engine.networks.offload import load_under
from engine_worker.engine.runtime.oom_retry import fall_back_on_oom
from kernel.protocol.enums import MemoryPlan
from kernel.protocol.errors import JobRejected

_BROKEN_ON_THE_WAY: Final = "use another scheduler or scheduler_config"
# Larger tiles save little memory: SDXL's default is 1024, the size of its images.
_MAX_TILE_PX: Final = 512
# Adjacent tiles overlap by a quarter, which must be whole latents.
_TILE_MULTIPLE: Final = 4


def make_vae(autoencoder: AutoencoderKL, dtype: torch.dtype, device: torch.device, plan: MemoryPlan) -> Vae:
    """Wrap an autoencoder for use on a device under a memory plan; its configuration tells the scaling of
    latents."""
    config = autoencoder.config
    return Vae(
        encoder=autoencoder,
        decoder=autoencoder,
        dtype=dtype,
        latent_channels=config.latent_channels,
        pixels_per_latent=2 ** (len(config.block_out_channels) - 1),
        scaling_factor=config.scaling_factor,
        latents_mean=None if config.latents_mean is None else tuple(config.latents_mean),
        latents_std=None if config.latents_std is None else tuple(config.latents_std),
        in_tiles=plan is not MemoryPlan.FAST,
        loaded=load_under(plan, [autoencoder], device),
    )


@dataclass(frozen=True, slots=True)
class Encoded:
    """The latents that an image encodes to: a mean and a deviation, from which each image of a job draws its
    own.

    Shapes: mean and deviation (1, channels, height, width), float32 on the CPU, unscaled.
    """

    vae: Vae
    mean: Tensor
    deviation: Tensor
    tile_px: int | None = None
    """The side of the tiles that it was encoded in; None if in one piece."""

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw latents (1, channels, height, width), float32 on the CPU, scaled for the UNet."""
        noise = torch.randn(self.mean.shape, generator=generator, dtype=torch.float32)
        return _scaled(self.vae, self.mean + self.deviation * noise)


def encode(vae: Vae, pixels: Tensor, device: torch.device) -> Encoded:
    """Encode one image, in tiles if there is not enough memory for one piece.

    Shapes: pixels (1, 3, height_px, width_px), -1 to 1, on the CPU.
    Raises: torch.OutOfMemoryError, if even tiles do not fit.
    """
    whole, tiled = partial(_encode_whole, vae, pixels, device), partial(_encode_tiled, vae, pixels, device)
    with vae.loaded():
        return fall_back_on_oom(whole, tiled, device)


def _encode_whole(vae: Vae, pixels: Tensor, device: torch.device) -> Encoded:
    mean, deviation = _moments(vae, pixels, device)
    return Encoded(vae, mean, deviation)


def _encode_tiled(vae: Vae, pixels: Tensor, device: torch.device) -> Encoded:
    """Encode tile by tile. diffusers' own method is not used: it would set the tile size on the VAE that
    another thread may be decoding with at the same time."""
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
    """The tiles along one side, as (begin, end). They overlap by a quarter; the last one, of equal size, by
    more."""
    last = max(0, length - tile)
    return [(begin, min(begin + tile, length)) for begin in (*range(0, last, tile - tile // 4), last)]


def _ramps(begin: int, end: int, length: int, tile: int) -> Tensor:
    """The weight of each latent of a tile: lower toward a neighboring tile, 1 at the image's edge."""
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


@dataclass(frozen=True, slots=True)
class Decoded:
    """The pixels of an image. `tile_px` is the side of the tiles that it was decoded in; None if in one
    piece."""

    pixels: Pixels
    tile_px: int | None = None


def decode_latents(vae: Vae, latents: Tensor) -> Decoded:
    """Decode one image, in tiles if the plan says so or if there is not enough memory for one piece.

    Shapes: latents (1, channels, height, width).
    Raises: JobRejected, if the latents or the pixels contain NaN; torch.OutOfMemoryError, if even tiles do
    not fit.
    """
    if vae.in_tiles:
        return _decode_in_tiles(vae, latents)
    return fall_back_on_oom(
        lambda: Decoded(decode(vae, latents)), partial(_decode_in_tiles, vae, latents), latents.device
    )


def _decode_in_tiles(vae: Vae, latents: Tensor) -> Decoded:
    _check_finite(latents, _BROKEN_ON_THE_WAY)
    height_px, width_px = (side * vae.pixels_per_latent for side in latents.shape[2:])
    tile_px = tile_side_px(height_px, width_px, vae.pixels_per_latent)
    return Decoded(_as_pixels(_decode_tiled(vae, _unscaled(vae, latents), tile_px)), tile_px)


def decode(vae: Vae, latents: Tensor) -> Pixels:
    """Decode one image in one piece. Shapes: latents (1, channels, height, width).

    Raises: JobRejected, if the latents or the pixels contain NaN; torch.OutOfMemoryError.
    """
    _check_finite(latents, _BROKEN_ON_THE_WAY)
    with vae.loaded():
        (decoded,) = vae.decoder.decode(_unscaled(vae, latents), return_dict=False)
    return _as_pixels(decoded)


def _decode_tiled(vae: Vae, unscaled: Tensor, tile_px: int) -> Tensor:
    # Only `tiled_decode` reads these, so another thread that decodes in one piece is not affected.
    vae.decoder.tile_sample_min_size = tile_px
    vae.decoder.tile_latent_min_size = tile_px // vae.pixels_per_latent
    with vae.loaded():
        (decoded,) = vae.decoder.tiled_decode(unscaled, return_dict=False)
    return decoded


def _as_pixels(decoded: Tensor) -> Pixels:
    _check_finite(decoded, "the VAE overflowed; use another VAE")
    image = (decoded[0].float() / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)
    # Rounded on the device, so that a quarter of the bytes is copied.
    return (image * 255).round().to(torch.uint8).cpu().numpy()


def _check_finite(tensor: Tensor, advice: str) -> None:
    if not bool(torch.isfinite(tensor).all()):
        raise JobRejected(f"the image contains NaN: {advice}")


def _unscaled(vae: Vae, latents: Tensor) -> Tensor:
    """The latents in the scale and the precision of the decoder."""
    if vae.latents_mean is None or vae.latents_std is None:
        return (latents / vae.scaling_factor).to(vae.dtype)
    mean, std = (
        latents.new_tensor(numbers).view(1, -1, 1, 1) for numbers in (vae.latents_mean, vae.latents_std)
    )
    return (latents * std / vae.scaling_factor + mean).to(vae.dtype)


def tile_side_px(height_px: int, width_px: int, pixels_per_latent: int) -> int:
    """The side of a tile: at most half of the image's longer side, so that tiling saves memory."""
    step_px = _TILE_MULTIPLE * pixels_per_latent
    return max(step_px, min(_MAX_TILE_PX, max(height_px, width_px) // 2 // step_px * step_px))
