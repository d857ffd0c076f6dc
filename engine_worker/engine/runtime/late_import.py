"""Imports optional packages on first use, with an error that says what to install."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from kernel.protocol.errors import NotInstalled


@contextmanager
def late_import(feature: str, *adapters: str) -> Iterator[None]:
    """A context for imports that `feature` needs; any of these extras of automatic-spoon installs them.

    Warnings of the packages about each other's versions are suppressed: a server's user cannot act on them.
    Raises: NotInstalled, if a package is missing or cannot be loaded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as error:
        ways = " or ".join(f"[{extra}]" for extra in adapters)
        raise NotInstalled(
            f"{feature} requires the package {error.name}, which comes with the extra {ways}: "
            "`spoon doctor` has the command that installs it"
        ) from error
    except ImportError as error:
        raise NotInstalled(f"{feature} failed to load: {error}{_remedy(str(error))}") from error


def _remedy(reason: str) -> str:
    # mediapipe's OpenCV has a GUI, which needs a library that slim containers lack.
    if "libGL.so" in reason:
        return ": install the system's package libgl1 (Debian, Ubuntu) or mesa-libGL (Fedora)"
    return ""
