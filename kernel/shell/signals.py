"""Signals as bytes in a pipe, so that the loop reads them like everything else."""

import os
import signal
from typing import Final

WATCHED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class SignalPipe:
    """While it is open, WATCHED signals make `fileno` readable and interrupt nothing."""

    def __init__(self, *, is_for_life: bool = False) -> None:
        """`is_for_life`: once it is closed, the process ends, and who asks for that again changes nothing."""
        self._is_for_life = is_for_life
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, _ignore) for number in WATCHED}

    def fileno(self) -> int:
        return self._reader

    def take(self) -> list[signal.Signals]:
        """The signals that have come since the last call."""
        try:
            return [signal.Signals(number) for number in os.read(self._reader, 4096)]
        except BlockingIOError:
            return []

    def close(self) -> None:
        for number, handler in self._old.items():
            is_deaf = self._is_for_life and number is not signal.SIGCHLD
            signal.signal(number, signal.SIG_IGN if is_deaf else handler)
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)


def _ignore(_number: int, _frame: object) -> None:
    """The byte in the pipe is all that is wanted."""
