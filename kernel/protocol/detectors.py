"""The files that control map detectors need on a worker's host, which are not downloaded automatically."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from kernel.protocol.enums import ControlType


class DetectorFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one detector, in a folder with its name inside the detectors folder."""

    control_type: ControlType
    names: tuple[str, ...]
    optional: tuple[str, ...] = ()
    """Files that make the map more detailed."""
    source: str
    """Where a person gets the files."""
    licence: str | None = None
    """License terms to know before the files are used."""

    def remedy(self, absent: Sequence[str], folder: str) -> str:
        """The advice for files that are missing in the detector's folder."""
        return f"put {', '.join(absent)} into {folder} (from {self.source}){self.terms()}"

    def terms(self) -> str:
        """The license terms, to be added to a sentence; empty if there is nothing to know."""
        return "" if self.licence is None else f"; {self.licence}"


DETECTOR_FILES: Final[Mapping[ControlType, DetectorFiles]] = MappingProxyType(
    {
        ControlType.OPENPOSE: DetectorFiles(
            control_type=ControlType.OPENPOSE,
            names=("body_pose_model.pth",),
            # Hands and faces. Many ControlNets are trained on bodies only, and on a CPU a hand takes half a
            # minute.
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
"""The files of other detectors (canny, mediapipe) come with their packages."""
