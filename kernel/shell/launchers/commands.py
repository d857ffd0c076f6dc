"""Runs the commands of a pool: without a shell, in sessions of their own, ended with this process.

Units: monotonic seconds.
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Final

from kernel.process.startup import die_with_parent

MOST_OUTPUT_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands of one worker, placeholders filled in; empty ones are not there."""

    start: Sequence[str]
    poll: Sequence[str]
    stop: Sequence[str]
    kill: Sequence[str]
    poll_every_s: float


@dataclass(slots=True)
class Step:
    """A short command, such as a poll, that is running until it exits or its time is over."""

    kind: str
    command: Sequence[str]
    until_s: float
    process: "subprocess.Popen[bytes]" = field(init=False)
    _output: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    _errors: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def __post_init__(self) -> None:
        """Raises: OSError, if the command cannot be run."""
        try:
            self.process = run(self.command, self._output, self._errors)
        except OSError:
            self._output.close()
            self._errors.close()
            raise

    def exit_code(self, now_s: float) -> int | None:
        """Its exit code, None while it runs. A command whose time is over is killed."""
        if self.process.poll() is None and now_s >= self.until_s:
            end_group(self.process)
        return self.process.poll()

    def texts(self) -> tuple[str, str]:
        """What it has written to stdout and to stderr, once."""
        return _text(self._output), _text(self._errors)


def run(command: Sequence[str], output: IO[bytes], errors: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Raises: OSError, if it cannot be run."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        start_new_session=True,
        preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGKILL),
    )


def signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Send a signal to a command and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a command with what it has started, and wait for its exit."""
    signal_group(process, signal.SIGKILL)
    process.wait()


def _text(file: IO[bytes]) -> str:
    with file:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(max(0, size_bytes - MOST_OUTPUT_BYTES))
        return file.read().decode(errors="replace").strip()
