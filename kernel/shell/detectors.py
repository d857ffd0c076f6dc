"""Which detectors of control maps workers of this host cannot load, because their files are not there."""

from pathlib import Path

from kernel.protocol.detectors import DETECTOR_FILES
from kernel.protocol.enums import ControlType


def absent_detectors(folder: Path) -> dict[ControlType, str]:
    """How to get the files of each one that is not whole below this folder.

    Looked up anew whenever it matters, because a person may put them there at any time.
    """
    absent: dict[ControlType, str] = {}
    for control_type, files in DETECTOR_FILES.items():
        place = folder / control_type
        names = [name for name in files.names if not (place / name).is_file()]
        if names:
            absent[control_type] = files.remedy(names, str(place))
    return absent


def none_absent() -> dict[ControlType, str]:
    """For engines that only pretend."""
    return {}
