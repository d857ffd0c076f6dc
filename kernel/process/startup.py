"""What a process of the server does first: it keeps what is its user's alone, and ends with its parent."""

import ctypes
import os
import resource
import signal
from typing import Final

PRIVATE_UMASK: Final = 0o077
"""Whatever the umask of whoever starts the server: what its processes make is its owner's alone."""
ENOUGH_FILES: Final = 1 << 16
"""More than anything here needs: where the hard limit is higher, this is asked for."""
# prctl(2).
_PR_SET_PDEATHSIG: Final = 1
"""The signal that the system sends when the thread that started this process ends."""
_PR_SET_DUMPABLE: Final = 4
"""With 0 there is no core dump, not even for a program that collects them, and only root may read the
process's memory and its environment."""


def die_with_parent(parent_pid: int, number: signal.Signals) -> bool:
    """Have the system send this signal when the parent dies, however that happens.

    It comes when the thread that started this process ends, so a launcher must live as long as its children.
    Returns: False, if the parent was dead before. Raises: OSError, if the system refuses.
    """
    _prctl(_PR_SET_PDEATHSIG, number)
    return os.getppid() == parent_pid


def make_files_private() -> None:
    """What is made from now on, also by processes that this one starts, is its owner's alone."""
    os.umask(PRIVATE_UMASK)


def hide_memory() -> None:
    """For processes that hold keys or tokens. A program that is started from here is not hidden by it.

    Raises: OSError, if the system refuses.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


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


def raise_file_limit() -> int:
    """Raise the soft limit of open files and sockets to the hard one, as far as it is of use.

    The usual soft limit of 1,024 is that of select(2), which nothing here calls; it is meant to be raised.
    Returns: the limit that holds now. Source: getrlimit(2), RLIMIT_NOFILE.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, ENOUGH_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return ENOUGH_FILES if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # a container may forbid it: then there are fewer connections
        return soft
    return wanted


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
