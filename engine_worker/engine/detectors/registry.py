"""The detectors of one engine: found in local folders, loaded when first asked for, never downloaded."""

import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import torch
from PIL import Image

from engine_worker.engine.detectors.depth import load_depth_model, load_midas
from engine_worker.engine.detectors.edges import find_edges
from engine_worker.engine.detectors.faces import find_faces
from engine_worker.engine.detectors.poses import load_pose_detector
from engine_worker.engine.runtime.failures import is_out_of_memory
from engine_worker.engine.runtime.lru_cache import LruCache
from kernel.protocol.detectors import DETECTOR_FILES
from kernel.protocol.enums import ControlType
from kernel.protocol.errors import ModelUnreadable, NotInstalled

_log = logging.getLogger(__name__)

_CPU: Final = torch.device("cpu")
# Half a gigabyte of host memory each.
_KEPT: Final = 2
# What torch and transformers raise at files that are broken or are not what their name says.
_BROKEN: Final = (OSError, RuntimeError, ValueError, LookupError, TypeError, EOFError, pickle.UnpicklingError)


class NetworkDetector(Protocol):
    """A detector with weights, which lies in host memory between two images."""

    def to(self, device: torch.device) -> object:
        """Move the weights to a device."""

    def draw(self, image: Image.Image) -> Image.Image:
        """The map of an RGB image, in a size near the image's."""


LoadDetector = Callable[[Path], NetworkDetector]


class Detectors:
    """Draws control maps, for one thread. `folder` holds a folder for each detector with weights."""

    def __init__(self, folder: Path | None, device: torch.device) -> None:
        self._folder = folder
        self._device = device
        self._kept: LruCache[ControlType, NetworkDetector] = LruCache(_KEPT)

    def detect(self, control_type: ControlType, image: Image.Image) -> Image.Image:
        """The map of an RGB image, in a size near the image's.

        Raises: NotInstalled, if a package or a file is missing; ModelUnreadable, if a file is broken.
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
                _log.warning("action=detected_on_cpu control_type=%s reason=out_of_memory", control_type)
            finally:
                # Between two drawings the device's memory is the sampler's alone.
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
        _log.info("action=detector_loaded control_type=%s folder=%s", control_type, folder)
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
