"""The tile size for encoding and decoding an image where memory is short."""

from typing import Final

# Above this a tile saves little: SDXL's own is 1024, as large as its images.
_MAX_TILE_PX: Final = 512
# Neighbours overlap by a quarter of a tile, which must be whole latents.
_TILE_MULTIPLE: Final = 4


def tile_side_px(height_px: int, width_px: int, pixels_per_latent: int) -> int:
    """At most half of the image's longer side, so that there is something to gain."""
    step_px = _TILE_MULTIPLE * pixels_per_latent
    return max(step_px, min(_MAX_TILE_PX, max(height_px, width_px) // 2 // step_px * step_px))
