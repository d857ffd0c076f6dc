"""The openpose detector: bodies as colored bones; hands and faces too if their networks are installed.

Its source is licensed for non-commercial use only, which kernel/protocol/detectors.py tells the user.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import torch
from PIL import Image

from engine_worker.engine.runtime.late_import import late_import

_BODY: Final = "body_pose_model.pth"
_HAND: Final = "hand_pose_model.pth"
_FACE: Final = "facenet.pth"


class _Movable(Protocol):
    def to(self, device: torch.device) -> object: ...


class _OpenPose(Protocol):
    """The interface of controlnet_aux' detector."""

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
    """Finds people in images."""

    def __init__(
        self, openpose: _OpenPose, networks: Sequence[_Movable], has_hands: bool, has_faces: bool
    ) -> None:
        self._openpose = openpose
        self._networks = networks
        self._has_hands = has_hands
        self._has_faces = has_faces

    def to(self, device: torch.device) -> None:
        """Move the networks to a device."""
        for network in self._networks:
            network.to(device)

    def draw(self, image: Image.Image) -> Image.Image:
        """The people in an RGB image, drawn on black, at about its size."""
        side_px = min(image.size)
        return self._openpose(
            image,
            detect_resolution=side_px,
            image_resolution=side_px,
            include_hand=self._has_hands,
            include_face=self._has_faces,
        )


def load_pose_detector(folder: Path) -> PoseDetector:
    """Load the network for bodies, and those for hands and faces if their files exist.

    No code in the files is run: torch loads tensors only.
    Raises: NotInstalled, and what torch raises for a damaged file.
    """
    with late_import("openpose", "pose"):
        from controlnet_aux import OpenposeDetector
        from controlnet_aux.open_pose.body import Body
        from controlnet_aux.open_pose.face import Face
        from controlnet_aux.open_pose.hand import Hand

        body = Body(str(folder / _BODY))
        hand = Hand(str(folder / _HAND)) if (folder / _HAND).is_file() else None
        face = Face(str(folder / _FACE)) if (folder / _FACE).is_file() else None
    networks = [network for network in (body, hand, face) if network is not None]
    return PoseDetector(OpenposeDetector(body, hand, face), networks, hand is not None, face is not None)
