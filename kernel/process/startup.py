"""The first steps of every server process: keep its files and memory private, and end with its parent."""

import ctypes
import os
import resource
import signal
from typing import Final

PRIVATE_UMASK: Final = 0o077
"""The umask of all processes, whatever the caller's: files are readable by their owner only."""
ENOUGH_FILES: Final = 1 << 16
"""As many open files as are ever needed; a higher hard limit is not used."""
# prctl(2).
_PR_SET_PDEATHSIG: Final = 1
"""The option that sets the signal sent when the thread that started this process ends."""
_PR_SET_DUMPABLE: Final = 4
"""With 0 there is no core dump, not even for a program that collects them, and only root may read the
process's memory and environment."""


def die_with_parent(parent_pid: int, number: signal.Signals) -> bool:
    """Have the system send a signal to this process when its parent dies, for any reason.

    The signal comes when the thread that started this process ends, so a launcher thread must live as long as
    its children.

    Returns: False, if the parent was already dead. Raises: OSError, if the system refuses.
    """
    _prctl(_PR_SET_PDEATHSIG, number)
    return os.getppid() == parent_pid


def make_files_private() -> None:
    """Make files and folders private to their owner from now on, also in child processes."""
    os.umask(PRIVATE_UMASK)


def hide_memory() -> None:
    """Hide the memory of a process that holds keys or tokens; programs that it starts are not hidden.

    Raises: OSError, if the system refuses.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def forget_variable(name: str) -> None:
    """Remove a variable from this process's environment, and from `/proc/PID/environ`.

    Without the second part the value would stay in the memory that the system filled at the program's start,
    readable for processes of the same user. Source: proc(5), environ(7).
    """
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    place: int | None = libc.getenv(os.fsencode(name))
    if place is not None:
        ctypes.memset(place, 0, len(ctypes.string_at(place)))
    os.environ.pop(name, None)


def raise_file_limit() -> int:
    """Raise the soft limit of open files and sockets to the hard limit, up to ENOUGH_FILES.

    The usual soft limit of 1,024 is that of select(2), which nothing here calls.

    Returns: the limit in effect. Source: getrlimit(2), RLIMIT_NOFILE.
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
