"""How a worker process ends: its exit codes."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the worker's exit status tells the one who started it."""

    LEFT = 0
    """It left properly: drained, told to leave, or stopped by a signal."""
    BAD_TICKET = 2
    """The command line or the ticket cannot be used; nothing was sent."""
    REFUSED = 3
    """The Manager knows neither its key nor its token, or did not want it."""
    MANAGER_GONE = 4
    """The Manager never answered, fell silent, or is no longer the parent process."""
    BUG = 70
    """A defect of this software; the last lines of stderr say what (EX_SOFTWARE of sysexits.h)."""
