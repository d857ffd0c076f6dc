"""Signals as bytes in a pipe: a polling thread reads them like any other input.

They interrupt nothing, and reach the poller even while the main thread is busy in C.
"""

import os
import signal
from collections.abc import Collection


class SignalPipe:
    """While it is open, the watched signals make `fileno` readable. Created and closed by the main thread."""

    def __init__(self, watched: Collection[signal.Signals], ignored: Collection[signal.Signals] = ()) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, _leave_it_to_the_pipe) for number in watched}
        self._old |= {number: signal.signal(number, signal.SIG_IGN) for number in ignored}

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._reader

    def take_all(self) -> list[signal.Signals]:
        """The signals that have come since the last call."""
        try:
            return [signal.Signals(number) for number in os.read(self._reader, 4096)]
        except BlockingIOError:
            return []

    def close(self, ignored: Collection[signal.Signals] = ()) -> None:
        """Restore the previous handlers. `ignored`: signals that a process which is ending already ignores
        from now on."""
        for number, handler in self._old.items():
            signal.signal(number, signal.SIG_IGN if number in ignored else handler)
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)


def _leave_it_to_the_pipe(_number: int, _frame: object) -> None:
    """A no-op: Python only writes to the wakeup descriptor for signals that have a handler."""
