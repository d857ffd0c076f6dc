"""The canny detector: edges as lines of one pixel."""

from typing import Final

import numpy as np
from PIL import Image

from engine_worker.engine.runtime.late_import import late_import

# The thresholds of the detector that the canny ControlNets are known with.
_LOW: Final = 100
_HIGH: Final = 200


def find_edges(image: Image.Image) -> Image.Image:
    """The edges in an RGB image, white on black, in its size.

    Raises: NotInstalled.
    """
    with late_import("canny", "worker"):
        import cv2

    return Image.fromarray(cv2.Canny(np.asarray(image), _LOW, _HIGH))
