"""The files that detectors of control maps need on a worker's host: nobody downloads them by themselves."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from kernel.protocol.enums import ControlType


class DetectorFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What one detector reads, in the folder of its own name below the folder of all detectors."""

    control_type: ControlType
    names: tuple[str, ...]
    optional: tuple[str, ...] = ()
    """Files with which it draws more."""
    source: str
    """Where a person gets them."""
    licence: str | None = None
    """What must be known before they are used."""

    def remedy(self, absent: Sequence[str], folder: str) -> str:
        """What to do about files that are not in the detector's folder."""
        return f"put {', '.join(absent)} into {folder} (from {self.source})"


DETECTOR_FILES: Final[Mapping[ControlType, DetectorFiles]] = MappingProxyType(
    {
        ControlType.OPENPOSE: DetectorFiles(
            control_type=ControlType.OPENPOSE,
            names=("body_pose_model.pth",),
            # Hands and faces. Many ControlNets know bodies alone, and on a CPU a hand takes half a minute.
            optional=("hand_pose_model.pth", "facenet.pth"),
            source="the Hugging Face repository lllyasviel/Annotators",
            licence="licensed for non-commercial use only",
        ),
        ControlType.MIDAS: DetectorFiles(
            control_type=ControlType.MIDAS,
            names=("dpt_hybrid-midas-501f0c75.pt",),
            source="the Hugging Face repository lllyasviel/Annotators",
        ),
        ControlType.DEPTH: DetectorFiles(
            control_type=ControlType.DEPTH,
            names=("config.json", "preprocessor_config.json", "model.safetensors"),
            source="a transformers depth model, such as Intel/dpt-hybrid-midas on Hugging Face",
        ),
    }
)
"""Detectors that are not here (canny, mediapipe) come with their packages."""
