"""A progress bar on the terminal: steps of a job, or bytes of a transfer with speed and remaining time."""

import time
from collections.abc import Callable
from typing import Final, TextIO

from api.cli.client.client_models import DownloadProgress, Progress
from api.cli.output import size

_WIDTH: Final = 30
_PLAIN_SHARES: Final = 4
"""A file or pipe gets a line for each quarter, not for each step or chunk."""
_EVERY_S: Final = 0.1
_STAGES: Final = {"finishing": ", finishing", "removing_background": ", removing the background"}
"""Stages worth mentioning; preparing and denoising are expected."""


class ProgressBar:
    """One line that is redrawn on a terminal, at most once per interval, or a few lines elsewhere."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._is_terminal = stream.isatty()
        self._drawn_at_s = 0.0
        self._shown: tuple[str, int, object] | None = None
        """The text, the quarter, and the kind of progress that were shown last."""
        self._said = ""

    def show_steps(self, progress: Progress) -> None:
        """How far a job is."""
        share = progress.step / progress.steps if progress.steps else 0.0
        steps = f"{progress.step}/{progress.steps} steps" if progress.steps else "no steps"
        eta = "" if progress.eta_s is None else f", {progress.eta_s:.0f} s left"
        stage = _STAGES.get(progress.stage, "")
        self._show(share, f"{steps}{eta}{stage}", (progress.steps, stage))

    def show_bytes(
        self, verb: str, done_bytes: int, total_bytes: int | None, bytes_per_s: int | None
    ) -> None:
        """How far a transfer is; None: unknown. `verb`: `fetching`, `uploading` or `loading`."""
        share = done_bytes / total_bytes if total_bytes else 0.0
        pace = _pace(done_bytes, total_bytes, bytes_per_s)
        self._show(share, f"{verb} {_amount(done_bytes, total_bytes)}{pace}", verb)

    def show_files(self, read: int, to_read: int) -> None:
        """How many files of a scan have been read."""
        self._show(read / to_read if to_read else 0.0, f"reading {read}/{to_read} files", to_read)

    def say(self, text: str) -> None:
        """Print a line, unless it repeats the last one."""
        if text != self._said:
            self._said = text
            self.close()
            self._shown = None
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """End the line."""
        if self._is_terminal and self._shown is not None:
            print(file=self._stream, flush=True)

    def _show(self, share: float, text: str, kind: object) -> None:
        """Draw, unless nothing has changed or the last change is a moment old. A new kind never waits."""
        now_s = self._clock()
        shown = (text, int(share * _PLAIN_SHARES), kind)
        if self._shown is not None and self._shown[2] == kind:
            is_early = now_s - self._drawn_at_s < _EVERY_S and share < 1
            is_same = self._shown[0] == text if self._is_terminal else self._shown[1] == shown[1]
            if is_same or (self._is_terminal and is_early):
                return
        self._shown, self._drawn_at_s = shown, now_s
        if self._is_terminal:
            filled = min(round(share * _WIDTH), _WIDTH)
            # ECMA-48: CSI K erases to the end of the line, where a longer text may have stood.
            text = f"\r[{'#' * filled}{'.' * (_WIDTH - filled)}] {text}\x1b[K"
        print(text, end="" if self._is_terminal else "\n", file=self._stream, flush=True)


def show_loading(bar: ProgressBar, progress: DownloadProgress) -> None:
    """How far the loading of an engine is."""
    bar.show_bytes("loading", progress.bytes, progress.total_bytes, progress.bytes_per_s)


def _amount(done_bytes: int, total_bytes: int | None) -> str:
    done = size(done_bytes) or "0 B"
    return done if total_bytes is None else f"{done} of {size(total_bytes)}"


def _pace(done_bytes: int, total_bytes: int | None, bytes_per_s: int | None) -> str:
    if not bytes_per_s:
        return ""
    eta = ""
    if total_bytes is not None and total_bytes > done_bytes:
        eta = f", {duration((total_bytes - done_bytes) / bytes_per_s)} left"
    return f", {size(bytes_per_s)}/s{eta}"


def duration(seconds: float) -> str:
    """A time in words: 2 min 5 s."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"
