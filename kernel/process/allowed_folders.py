"""Opens files by name, but never one outside the folders that the owner allowed.

The target of a name may change right after it was checked. So a name is first opened without touching its
content (O_PATH: a pipe does not block, a device is not activated), then the descriptor is checked for its
path and type, and everything is read from that descriptor. Sources: open(2), proc(5) on /proc/self/fd;
adr/0040.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path


def place_of(descriptor: int) -> Path:
    """A path for whoever needs one, valid as long as the descriptor is open."""
    return Path(f"/proc/self/fd/{descriptor}")


def open_within(
    path: Path, roots: Sequence[Path], is_wanted: Callable[[int], bool], folder: int | None = None
) -> int | None:
    """A descriptor for reading, after following every link; None if it leads to nothing, to another type, or
    out of the roots. `is_wanted` receives the mode."""
    try:
        looked_at = os.open(path, os.O_PATH | os.O_CLOEXEC, dir_fd=folder)
    except (OSError, ValueError):
        return None
    try:
        if not is_wanted(os.fstat(looked_at).st_mode) or not _is_within(looked_at, roots):
            return None
        return os.open(place_of(looked_at), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    finally:
        os.close(looked_at)


def _is_within(descriptor: int, roots: Sequence[Path]) -> bool:
    """Raises: OSError."""
    real = place_of(descriptor).readlink()
    return any(real.is_relative_to(root.resolve()) for root in roots)
