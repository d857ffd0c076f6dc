"""Shapes of UNet calls, and which of them an engine compiles or records while it loads."""

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from engine_worker.engine.networks.components import Components
from engine_worker.engine.prompts.reader import MAX_TOKENS
from kernel.protocol.specs import EngineLoad

# A larger call keeps a GPU busy for so long that the host is always ahead of it.
_MAX_IMAGES: Final = 16
_SIZE_NUMBERS: Final = 6
"""SDXL is conditioned on original size, crop, and target size: two numbers each."""


@dataclass(frozen=True, slots=True)
class CallShape:
    """Calls of the same shape run the same kernels; `height` and `width` in latents.

    Calls with a prompt mask or with residuals of ControlNets have no such shape.
    """

    rows: int
    channels: int
    height: int
    width: int
    tokens: int


def shape_of(sample: Tensor, embeds: Tensor) -> CallShape:
    """The shape of a call. Shapes: sample (rows, channels, height, width), embeds (rows, tokens, width)."""
    rows, channels, height, width = sample.shape
    return CallShape(rows, channels, height, width, tokens=embeds.shape[1])


def shapes_to_compile(parts: Components, order: EngineLoad, slots: int) -> tuple[CallShape, ...]:
    """The most frequent calls of an engine: for one image with its defaults, for two, and so on.

    The largest comes first, so that its memory is enough for all others.
    """
    if order.width_px is None or order.height_px is None:
        return ()
    scale = parts.vae.pixels_per_latent
    rows_of_one = 2 if order.guidance_scale > 1.0 and not parts.is_distilled else 1
    return tuple(
        CallShape(
            rows=rows_of_one * images,
            channels=parts.unet_shape.in_channels,
            height=order.height_px // scale,
            width=order.width_px // scale,
            tokens=MAX_TOKENS,
        )
        for images in range(min(slots, _MAX_IMAGES), 0, -1)
    )


def pooled_width(parts: Components) -> int | None:
    """The width of the pooled embedding; None for SD, which has none."""
    added, of_size = parts.unet_shape.added_width, parts.unet_config.get("addition_time_embed_dim")
    if added is None or not isinstance(of_size, int):
        return None
    return added - _SIZE_NUMBERS * of_size
