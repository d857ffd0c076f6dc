"""Progress of a download or upload on the terminal: bytes, speed and remaining time."""

import time
from collections.abc import Callable
from typing import Final, TextIO

from api.cli.output import size

_WIDTH: Final = 30
_PLAIN_SHARES: Final = 4
"""A file or pipe gets a line for each quarter, not for each chunk."""
_EVERY_S: Final = 0.1


class TransferBar:
    """One line that is redrawn on a terminal, or a few lines elsewhere."""

    def __init__(self, stream: TextIO, verb: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`verb`: `downloading` or `uploading`."""
        self._stream = stream
        self._verb = verb
        self._clock = clock
        self._is_terminal = stream.isatty()
        self._drawn_at_s: float | None = None
        self._quarter = -1

    def show(self, done_bytes: int, total_bytes: int | None, bytes_per_s: int | None) -> None:
        """Draw the bar, at most once per interval. None: unknown."""
        share = done_bytes / total_bytes if total_bytes else 0.0
        text = f"{self._verb} {_amount(done_bytes, total_bytes)}{_pace(done_bytes, total_bytes, bytes_per_s)}"
        if not self._is_terminal:
            self._show_quarter(int(share * _PLAIN_SHARES), text)
            return
        now_s = self._clock()
        if self._drawn_at_s is None or now_s - self._drawn_at_s >= _EVERY_S or done_bytes == total_bytes:
            self._drawn_at_s = now_s
            filled = min(round(share * _WIDTH), _WIDTH)
            # ECMA-48: CSI K erases to the end of the line, where a longer text may have stood.
            line = f"\r[{'#' * filled}{'.' * (_WIDTH - filled)}] {text}\x1b[K"
            print(line, end="", file=self._stream, flush=True)

    def close(self) -> None:
        """End the line."""
        if self._drawn_at_s is not None:
            print(file=self._stream, flush=True)

    def _show_quarter(self, quarter: int, text: str) -> None:
        if quarter != self._quarter:
            self._quarter = quarter
            print(text, file=self._stream, flush=True)


def _amount(done_bytes: int, total_bytes: int | None) -> str:
    done = size(done_bytes) or "0 B"
    return done if total_bytes is None else f"{done} of {size(total_bytes)}"


def _pace(done_bytes: int, total_bytes: int | None, bytes_per_s: int | None) -> str:
    if not bytes_per_s:
        return ""
    eta = ""
    if total_bytes is not None and total_bytes > done_bytes:
        eta = f", {_duration((total_bytes - done_bytes) / bytes_per_s)} left"
    return f", {size(bytes_per_s)}/s{eta}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"
