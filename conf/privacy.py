"""What each process of the server does first, so that nobody else reads what it makes or holds."""

import ctypes
import os
from typing import Final

PRIVATE_UMASK: Final = 0o077
"""Whatever the umask of whoever starts the server: what its processes make is its owner's alone."""
_PR_SET_DUMPABLE: Final = 4
"""prctl(2). With 0 there is no core dump, not even for a program that collects them, and only root may read
the process's memory and its environment."""


def make_files_private() -> None:
    """What is made from now on, also by processes that this one starts, is its owner's alone."""
    os.umask(PRIVATE_UMASK)


def hide_memory() -> None:
    """For processes that hold keys or tokens. A program that is started from here is not hidden by it.

    Raises: OSError, if the system refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed")


def forget_variable(name: str) -> None:
    """Take a variable out of this process's environment, and out of what `/proc/PID/environ` shows of it.

    Without the second half the value would stay in the memory that the system filled when the program was
    started, for whoever runs as the same user. Source: proc(5), environ(7).
    """
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    place: int | None = libc.getenv(os.fsencode(name))
    if place is not None:
        ctypes.memset(place, 0, len(ctypes.string_at(place)))
    os.environ.pop(name, None)
