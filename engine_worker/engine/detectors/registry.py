"""The detectors of one engine: found in local folders, loaded on first use, never downloaded.

Canny and MediaPipe need no files and are called here directly; the others are in modules of their own.
"""

import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from PIL import Image

from engine_worker.engine.detectors.depth import load_depth_model, load_midas
from engine_worker.engine.detectors.poses import load_pose_detector
from engine_worker.engine.runtime.failures import is_out_of_memory
from engine_worker.engine.runtime.late_import import late_import
from engine_worker.engine.runtime.lru_cache import LruCache
from kernel.process.log import line
from kernel.protocol.detectors import DETECTOR_FILES
from kernel.protocol.enums import ControlType
from kernel.protocol.errors import ModelUnreadable, NotInstalled

_log = logging.getLogger(__name__)

_CPU: Final = torch.device("cpu")
# Each takes half a gigabyte of host memory.
_KEPT: Final = 2
# The exceptions of torch and transformers for damaged or unexpected files.
_BROKEN: Final = (OSError, RuntimeError, ValueError, LookupError, TypeError, EOFError, pickle.UnpicklingError)
# The thresholds that the canny ControlNets were trained with.
_CANNY_LOW: Final = 100
_CANNY_HIGH: Final = 200
# Enough for most group photographs; each face takes milliseconds.
_MAX_FACES: Final = 10


class NetworkDetector(Protocol):
    """A detector with weights, which are in host memory between two images."""

    def to(self, device: torch.device) -> object:
        """Move the weights to a device."""

    def draw(self, image: Image.Image) -> Image.Image:
        """The control map of an RGB image, at about its size."""


LoadDetector = Callable[[Path], NetworkDetector]


class Detectors:
    """Draws control maps, for one thread. `folder` has a subfolder for each detector with weights."""

    def __init__(self, folder: Path | None, device: torch.device) -> None:
        self._folder = folder
        self._device = device
        self._kept: LruCache[ControlType, NetworkDetector] = LruCache(max_count=_KEPT)

    def detect(self, control_type: ControlType, image: Image.Image) -> Image.Image:
        """The control map of an RGB image, at about its size.

        Raises: NotInstalled, if a package or a file is missing; ModelUnreadable, if a file is damaged.
        """
        match control_type:
            case ControlType.CANNY:
                return find_edges(image)
            case ControlType.MEDIAPIPE:
                return find_faces(image)
            case ControlType.OPENPOSE:
                return self._draw(control_type, image, load_pose_detector)
            case ControlType.MIDAS:
                return self._draw(control_type, image, load_midas)
            case ControlType.DEPTH:
                return self._draw(control_type, image, load_depth_model)

    def _draw(self, control_type: ControlType, image: Image.Image, load: LoadDetector) -> Image.Image:
        detector = self._kept.get(control_type, lambda: self._load(control_type, load))
        if self._device != _CPU:
            try:
                detector.to(self._device)
                return detector.draw(image)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                _log.warning(line("detected_on_cpu", control_type=control_type, reason="out_of_memory"))
            finally:
                # Between two images the device's memory belongs to the sampler.
                detector.to(_CPU)
        return detector.draw(image)

    def _load(self, control_type: ControlType, load: LoadDetector) -> NetworkDetector:
        folder = self._folder_of(control_type)
        try:
            detector = load(folder)
        except _BROKEN as error:
            if is_out_of_memory(error):
                raise
            raise ModelUnreadable(
                f"cannot load the {control_type} detector from {folder}: {error}"
            ) from error
        _log.info(line("detector_loaded", control_type=control_type, folder=folder))
        return detector

    def _folder_of(self, control_type: ControlType) -> Path:
        needed = DETECTOR_FILES[control_type]
        if self._folder is None:
            raise NotInstalled(
                f"the {control_type} detector requires files, but this worker has no detectors folder "
                "(models.detectors_folder)"
            )
        folder = self._folder / control_type
        absent = [name for name in needed.names if not (folder / name).is_file()]
        if absent:
            raise NotInstalled(
                f"the {control_type} detector is not installed: {needed.remedy(absent, str(folder))}"
            )
        return folder


def find_edges(image: Image.Image) -> Image.Image:
    """The edges of an RGB image (canny): white lines of one pixel on black, at its size.

    Raises: NotInstalled.
    """
    with late_import("canny", "worker"):
        import cv2

    return Image.fromarray(cv2.Canny(np.asarray(image), _CANNY_LOW, _CANNY_HIGH))


def find_faces(image: Image.Image) -> Image.Image:
    """Ovals, eyes, brows and lips of the faces in an RGB image (MediaPipe), in color on black, at about its
    size.

    The network is part of the package. Raises: NotInstalled.
    """
    with late_import("mediapipe", "faces"):
        import mediapipe  # noqa: F401 - controlnet_aux does without it, and breaks only when it is called
        from controlnet_aux import MediapipeFaceDetector

    side_px = min(image.size)
    drawn: Image.Image = MediapipeFaceDetector()(
        image, max_faces=_MAX_FACES, detect_resolution=side_px, image_resolution=side_px
    )
    return drawn
