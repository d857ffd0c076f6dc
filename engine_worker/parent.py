"""A local worker never outlives its Manager, however the Manager dies.

Source: prctl(2), PR_SET_PDEATHSIG. The signal comes when the thread that started this process ends, so a
launcher must live as long as its workers.
"""

import ctypes
import os
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


class ManagerGone(Exception):
    """The Manager that started this process has died."""


def die_with(manager_pid: int) -> None:
    """Have the system kill this process when its parent dies.

    SIGKILL, because nobody is left to hand results to, and a hung engine must go as well.
    Raises: ManagerGone, if the parent was gone before; OSError, if the system refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != manager_pid:
        raise ManagerGone
