"""Working through a picture in tiles, where the memory is too small for all of it at once."""

import gc
from collections.abc import Callable
from typing import Final, TypeVar

import torch

from engine_worker.engine.failures import is_out_of_memory

Result = TypeVar("Result")

# Above this a tile saves little: SDXL's own is 1024, as large as its pictures.
_MAX_TILE_PX: Final = 512
# Neighbours overlap by a quarter of a tile, which must be whole latents.
_TILE_MULTIPLE: Final = 4


def whole_or_tiled(whole: Callable[[], Result], tiled: Callable[[], Result], device: torch.device) -> Result:
    """Do it in one piece, and in tiles if that turns out to be too much for the memory of the device or the
    host.

    Raises: what either raises; torch.OutOfMemoryError, if even tiles are too large.
    """
    try:
        return whole()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Out here the failed attempt's tensors are no longer held by its traceback.
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return tiled()


def tile_side_px(height_px: int, width_px: int, pixels_per_latent: int) -> int:
    """At most half of the picture's longer side, so that there is something to gain."""
    step_px = _TILE_MULTIPLE * pixels_per_latent
    return max(step_px, min(_MAX_TILE_PX, max(height_px, width_px) // 2 // step_px * step_px))
