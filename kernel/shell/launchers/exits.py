"""How a process ended, and the end of what it wrote."""

import os
import signal
from pathlib import Path
from typing import Final

LAST_WORDS_BYTES: Final = 4096
"""Enough for the end of a traceback."""


def describe_exit(return_code: int) -> str:
    """How a process exited, for a person."""
    if return_code >= 0:
        return f"exit code {return_code}"
    try:
        return f"signal {signal.Signals(-return_code).name}"
    except ValueError:
        return f"signal {-return_code}"  # most real-time signals have no name


def tail_of(log_file: Path) -> str:
    """The end of a log, at most LAST_WORDS_BYTES of it."""
    try:
        with log_file.open("rb") as log:
            size_bytes = log.seek(0, os.SEEK_END)
            log.seek(max(0, size_bytes - LAST_WORDS_BYTES))
            return log.read().decode(errors="replace")
    except OSError:
        return ""  # a person removed it
