"""Signals as bytes in a pipe: they reach the thread that polls it even while the main thread is busy in C."""

import os
import signal
from types import FrameType


class SignalPipe:
    """SIGTERM, and SIGINT for a worker started by hand, as something to poll. Belongs to the main thread."""

    def __init__(self, *, is_local: bool) -> None:
        """Take the signals over. A local worker ignores SIGINT: Ctrl-C in a terminal reaches the Manager too,
        and the Manager decides."""
        self._reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, _leave_it_to_the_pipe)
        signal.signal(signal.SIGINT, signal.SIG_IGN if is_local else _leave_it_to_the_pipe)

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._reader

    def take_all(self) -> list[signal.Signals]:
        """The signals that came since."""
        try:
            return [signal.Signals(number) for number in os.read(self._reader, 64)]
        except BlockingIOError:
            return []


def _leave_it_to_the_pipe(number: int, frame: FrameType | None) -> None:
    """A signal without a Python handler writes no byte, so this one does nothing but exist."""
