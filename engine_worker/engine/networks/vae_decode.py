"""Decodes latents to pixels, whole or in tiles."""

from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor

from engine_worker.engine.images.output_file import Pixels
from engine_worker.engine.networks.components import Vae
from engine_worker.engine.networks.tiling import tile_side_px
from engine_worker.engine.runtime.oom_retry import fall_back_on_oom
from kernel.protocol.errors import JobRejected

_BROKEN_ON_THE_WAY: Final = "use another scheduler or scheduler_config"


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image's pixels. `tile_px` is the side of the tiles that it was decoded in, None if in one piece."""

    pixels: Pixels
    tile_px: int | None = None


def decode_latents(vae: Vae, latents: Tensor) -> Decoded:
    """Decode one image; in tiles if it is known, or turns out, that there is no memory for the whole.

    `latents` are (1, channels, height, width).

    The seams of tiles are blended, but it is not quite the same image, so its recipe should say so.
    Raises: JobRejected, if this left the numbers; torch.OutOfMemoryError, if even tiles are too large.
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
    """Decode one image in one piece. `latents` are (1, channels, height, width).

    Raises: JobRejected, if the way to these latents left the numbers; torch.OutOfMemoryError.
    """
    _check_finite(latents, _BROKEN_ON_THE_WAY)
    with vae.loaded():
        (decoded,) = vae.decoder.decode(_unscaled(vae, latents), return_dict=False)
    return _as_pixels(decoded)


def _decode_tiled(vae: Vae, unscaled: Tensor, tile_px: int) -> Tensor:
    # Read by the decoder's method for tiles alone: decoding in one piece never looks at them.
    vae.decoder.tile_sample_min_size = tile_px
    vae.decoder.tile_latent_min_size = tile_px // vae.pixels_per_latent
    with vae.loaded():
        (decoded,) = vae.decoder.tiled_decode(unscaled, return_dict=False)
    return decoded


def _as_pixels(decoded: Tensor) -> Pixels:
    _check_finite(decoded, "the VAE overflowed; use another VAE")
    image = (decoded[0].float() / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)
    # Rounded on the device: a quarter of the bytes has to be fetched.
    return (image * 255).round().to(torch.uint8).cpu().numpy()


def _check_finite(tensor: Tensor, advice: str) -> None:
    if not bool(torch.isfinite(tensor).all()):
        raise JobRejected(f"the image contains NaN: {advice}")


def _unscaled(vae: Vae, latents: Tensor) -> Tensor:
    """As the decoder takes them, in its precision."""
    if vae.latents_mean is None or vae.latents_std is None:
        return (latents / vae.scaling_factor).to(vae.dtype)
    mean, std = (
        latents.new_tensor(numbers).view(1, -1, 1, 1) for numbers in (vae.latents_mean, vae.latents_std)
    )
    return (latents * std / vae.scaling_factor + mean).to(vae.dtype)
