"""The openpose detector: bodies, hands and faces as coloured bones.

Its source is licensed for non-commercial use only (kernel/protocol/detectors.py says so to the doctor).
"""

from pathlib import Path
from typing import Protocol

import torch
from PIL import Image

from engine_worker.engine.late_import import late_import


class _OpenPose(Protocol):
    """The detector of controlnet_aux, as far as it is used here."""

    def to(self, device: torch.device) -> object: ...

    def __call__(
        self,
        input_image: Image.Image,
        *,
        detect_resolution: int,
        image_resolution: int,
        include_hand: bool,
        include_face: bool,
    ) -> Image.Image: ...


class PoseDetector:
    """Finds people in pictures."""

    def __init__(self, openpose: _OpenPose) -> None:
        self._openpose = openpose

    def to(self, device: torch.device) -> None:
        """Move the networks to a device."""
        self._openpose.to(device)

    def draw(self, picture: Image.Image) -> Image.Image:
        """Everybody in an RGB picture, drawn on black, about in its size."""
        side_px = min(picture.size)
        return self._openpose(
            picture,
            detect_resolution=side_px,
            image_resolution=side_px,
            include_hand=True,
            include_face=True,
        )


def load_pose_detector(folder: Path) -> PoseDetector:
    """Load the networks of bodies, hands and faces. Nothing in their files is run: torch takes tensors only.

    Raises: NotInstalled, and whatever a broken file makes torch raise.
    """
    with late_import("openpose", "pose"):
        from controlnet_aux import OpenposeDetector

        return PoseDetector(OpenposeDetector.from_pretrained(str(folder), local_files_only=True))
