"""Whether this machine has an NVIDIA GPU that its driver can use, and so which build of onnxruntime is right.

`make venv` asks too, before anything is installed: only the standard library is imported here.
"""

import ctypes
from enum import StrEnum
from typing import Final

_NVML: Final = "libnvidia-ml.so.1"
"""NVIDIA's management library, which comes with the driver: also in containers and in WSL 2."""
_NVML_SUCCESS: Final = 0


class Runtime(StrEnum):
    """The extra with the build of onnxruntime, and the build of torch that goes with it."""

    CPU = "cpu"
    CUDA = "cuda"


def has_nvidia_driver(library: str = _NVML) -> bool:
    """True if NVIDIA's driver is loaded."""
    try:
        initialize = ctypes.CDLL(library).nvmlInit_v2
    except (OSError, AttributeError):
        return False
    return int(initialize()) == _NVML_SUCCESS


def runtime() -> Runtime:
    """The runtime for this machine."""
    return Runtime.CUDA if has_nvidia_driver() else Runtime.CPU
