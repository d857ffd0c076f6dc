"""Waiting for what must happen: patient on a busy machine, and clear about what did not."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

PATIENCE_S: Final = 40.0
"""Far more than anything takes on a machine that is busy with other things, too."""
GLANCE_S: Final = 0.01

Found = TypeVar("Found")


def wait_for(what: str, look: Callable[[], Found | None], patience_s: float = PATIENCE_S) -> Found:
    """Look until there is something to see (anything but None and False)."""
    end_s = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < end_s, f"{what}: not within {patience_s:g} s"
        time.sleep(GLANCE_S)
    return found
