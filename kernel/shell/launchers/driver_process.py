"""The Manager's end of a driver: a child process that starts, watches and ends the workers of one pool.

A driver keeps what can hang, crash or bring threads out of the Manager: the commands of a pool, and Ray. Both
pipes are non-blocking on this side. A driver that does not read its orders is broken and is killed; its
workers then count as ended, and the next launch starts another driver. Source: adr/0079.
"""

import importlib.util
import logging
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from conf.pools import LauncherKind, Pool
from kernel.process.log import line
from kernel.shell.launchers.driver_messages import (
    Configure,
    Ended,
    Kill,
    Launch,
    Lines,
    Order,
    Report,
    Stop,
    read_report,
    to_line,
)
from kernel.shell.launchers.exits import describe_exit, tail_of
from kernel.shell.launchers.local import python_module

READ_BYTES: Final = 64 << 10
ANSWER_S: Final = 90.0
"""The drivers give up a worker 60 s after it was killed."""
LEAVE_S: Final = 25.0
"""The driver gives its workers 20 s (`kernel/shell/launchers/driver_loop.py:LEAVE_S`)."""

log = logging.getLogger("manager")


def driver_command(
    kind: LauncherKind, find: Callable[[str], object | None] = importlib.util.find_spec
) -> list[str]:
    """The program of a pool's driver. Raises: OSError, if a package is missing."""
    if kind is LauncherKind.RAY:
        if find("ray") is None:
            raise OSError("the package ray is missing: install automatic-spoon with its ray extra")
        return [*python_module("kernel.shell.launchers.ray_driver"), str(os.getpid())]
    return python_module("kernel.shell.launchers.command_driver")


class DriverProcess:
    """A running driver, and the names of the workers that it has."""

    def __init__(
        self, pool: str, terms: Pool, command: Sequence[str], log_file: Path, environ: Mapping[str, str]
    ) -> None:
        """Raises: OSError, if it cannot be started."""
        self.pool = pool
        self.names: set[str] = set()
        self._killed_at_s: dict[str, float] = {}
        self._log_file, self._lines = log_file, Lines()
        with log_file.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environ,
                start_new_session=True,
                bufsize=0,
            )
        assert self._process.stdin is not None, "it is a pipe"
        assert self._process.stdout is not None, "it is a pipe"
        self._orders, self._reports = self._process.stdin, self._process.stdout
        os.set_blocking(self._orders.fileno(), False)
        os.set_blocking(self._reports.fileno(), False)
        log.info(line("driver_started", pool=pool, pid=self._process.pid))
        self._send(Configure(pool=pool, terms=terms))

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """Readable when `take` has something to say."""
        return self._reports.fileno()

    def launch(self, name: str, log_file: Path) -> None:
        """Have a worker started; whatever comes of it is reported."""
        self.names.add(name)
        self._send(Launch(name=name, log_file=str(log_file)))

    def stop(self, name: str) -> None:
        """Ask a worker to leave."""
        self._send(Stop(name=name))

    def kill(self, name: str, now_s: float) -> None:
        """End a worker. A driver that has not ended it after ANSWER_S is ended itself, with all its
        workers."""
        if now_s - self._killed_at_s.setdefault(name, now_s) < ANSWER_S:
            self._send(Kill(name=name))
        else:
            log.error(line("driver_does_not_answer", pool=self.pool, name=name))
            self._process.kill()

    def take(self) -> list[Report]:
        """What it has reported since the last call; after its exit, that its workers have ended."""
        is_over = self._process.poll() is not None  # before reading: nothing comes after it
        found = list(self._read())
        if is_over:
            found += self._abandoned()
        for report in found:
            if isinstance(report, Ended):
                self.names.discard(report.name)
                self._killed_at_s.pop(report.name, None)
        return found

    def is_over(self) -> bool:
        """True if it has exited."""
        return self._process.poll() is not None

    def leave(self) -> None:
        """Let it end its workers and exit."""
        self._orders.close()

    def close(self) -> None:
        """Wait for its exit, and kill it if it does not come."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LEAVE_S)
        if self._process.poll() is None:
            log.warning(line("driver_killed", pool=self.pool))
            self._process.kill()
            self._process.wait()
        self._orders.close()
        self._reports.close()

    def _abandoned(self) -> list[Report]:
        assert self._process.returncode is not None, "it has exited"
        status = describe_exit(self._process.returncode)
        log.warning(line("driver_exited", pool=self.pool, status=status, workers=len(self.names)))
        words = tail_of(self._log_file)
        ended = f"the launcher of pool {self.pool} ended: {status}"
        return [Ended(name=name, status=ended, last_words=words) for name in sorted(self.names)]

    def _send(self, order: Order) -> None:
        data = to_line(order)
        try:
            if os.write(self._orders.fileno(), data) == len(data):
                return
        except BrokenPipeError:
            return  # its exit is on the way
        except BlockingIOError:
            pass
        log.error(line("driver_does_not_read", pool=self.pool))
        self._process.kill()

    def _read(self) -> list[Report]:
        found: list[Report] = []
        try:
            while data := os.read(self._reports.fileno(), READ_BYTES):
                found += map(read_report, self._lines.feed(data))
            self._process.kill()  # it has closed its end: it exits, or is broken
        except BlockingIOError:
            pass
        except (ValueError, msgspec.DecodeError) as error:
            log.error(line("driver_not_understood", pool=self.pool, error=error))
            self._process.kill()
        return found
