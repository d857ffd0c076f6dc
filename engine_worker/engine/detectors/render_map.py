"""Renders a control map of the job's size from its pose image."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from engine_worker.engine.images.input_image import fit
from kernel.protocol.enums import ControlType, ImageFit
from kernel.protocol.errors import JobRejected

Detect = Callable[[ControlType, Image.Image], Image.Image]
"""Draws the control map of an RGB image, at about its size."""

DETECTION_SIDE_PX: Final = 512
"""The shorter side of the image for detectors, whatever the job's size: the default of controlnet_aux."""
_MAX_DETECTION_PX: Final = 1 << 21
_MIN_SIDE_PX: Final = 64

# A map is empty if less than one pixel in ten thousand is brighter than a tenth of the maximum.
_BRIGHT: Final = 25
_MIN_BRIGHT_SHARE: Final = 1e-4

_ADVICE: Final = {
    ControlType.OPENPOSE: "show people at least from head to hip, at a quarter of the image height",
    ControlType.MEDIAPIPE: "show a face from the front, at a sixth of the image height",
    ControlType.CANNY: "use an image with more contrast",
    ControlType.MIDAS: "use an image with near and far objects",
    ControlType.DEPTH: "use an image with near and far objects",
}


def render_map(
    control_type: ControlType,
    image: Image.Image,
    size: tuple[int, int],
    how: ImageFit,
    detect: Detect,
) -> Image.Image:
    """The control map of an RGB image, in RGB, of exactly that size (width, height).

    Bars of `pad` are added to the map, because a detector would see their edges in the image.
    Raises: JobRejected, if the detector found nothing; what `detect` raises.
    """
    content = _contained(image.size, size) if how is ImageFit.PAD else size
    shaped = ImageFit.CROP if how is ImageFit.CROP else ImageFit.STRETCH
    seen = fit(image, *_seen_size(control_type, content), shaped)
    drawn = detect(control_type, seen).convert("RGB")
    if drawn.size != content:
        drawn = drawn.resize(content, Image.Resampling.BILINEAR)
    if is_empty(drawn):
        raise JobRejected(
            f"the {control_type} detector found nothing in the pose image: {_ADVICE[control_type]}, "
            "or send the control map itself (preprocessed)"
        )
    return ImageOps.pad(drawn, size)


def is_empty(drawn: Image.Image) -> bool:
    """True if a control map is black or nearly so: a ControlNet would have no effect."""
    brightest = np.asarray(drawn.convert("RGB")).max(axis=2)
    return bool((brightest > _BRIGHT).mean() < _MIN_BRIGHT_SHARE)


def _contained(inner: tuple[int, int], outer: tuple[int, int]) -> tuple[int, int]:
    """The largest size with the proportions of the inner one that fits in the outer one."""
    scale = min(outer[0] / inner[0], outer[1] / inner[1])
    return max(1, round(inner[0] * scale)), max(1, round(inner[1] * scale))


def _seen_size(control_type: ControlType, size: tuple[int, int]) -> tuple[int, int]:
    # Edges are one pixel wide at any size, so downscaling would blur them.
    if control_type is ControlType.CANNY:
        return size
    width, height = size
    scale = min(DETECTION_SIDE_PX / min(size), math.sqrt(_MAX_DETECTION_PX / (width * height)))
    return max(_MIN_SIDE_PX, round(width * scale)), max(_MIN_SIDE_PX, round(height * scale))
