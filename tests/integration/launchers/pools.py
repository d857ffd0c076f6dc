"""Launchers by pool as the Manager has them, and what they tell."""

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from conf.pools import Pool
from kernel.process.signals import SignalPipe
from kernel.protocol.ids import EngineId, WorkerId
from kernel.shell.launchers.by_pool import LaunchersByPool
from kernel.shell.launchers.driver_process import driver_command
from kernel.shell.launchers.local import SubprocessLauncher
from kernel.shell.ports import Exited, LaunchNews

PATIENCE_S: Final = 60.0
POOL: Final = "lab"
WORKER: Final = WorkerId("w1-1")
ENGINE: Final = EngineId("e1")


class Launching:
    """Launchers with one pool, `lab`; it waits as the loop does."""

    def __init__(self, logs: Path, pool: Pool, command_of=driver_command) -> None:
        self.logs = logs
        self.signals = SignalPipe([signal.SIGCHLD])
        local = SubprocessLauncher(logs, os.environ)
        endpoint = "tcp://10.0.0.1:7871"
        self.launchers = LaunchersByPool(local, {POOL: pool}, endpoint, logs, os.environ, command_of)
        self._news: list[LaunchNews] = []

    def launch(self, worker_id: WorkerId = WORKER) -> None:
        self.launchers.launch_in(POOL, worker_id, ENGINE)

    def next(self, patience_s: float = PATIENCE_S) -> LaunchNews:
        """The next that is told."""
        end_s = time.monotonic() + patience_s
        while not self._news:
            left_s = end_s - time.monotonic()
            assert left_s > 0, "nothing is told"
            select.select([self.launchers, self.signals], [], [], left_s)
            self.signals.take_all()
            self._news += self.launchers.poll()
        return self._news.pop(0)

    def end(self, worker_id: WorkerId = WORKER) -> Exited:
        """How a worker has ended; what else is told before does not matter."""
        while not (isinstance(news := self.next(), Exited) and news.name == worker_id):
            pass
        return news

    def close(self) -> None:
        self.launchers.close()
        self.signals.close()


@contextmanager
def launching(logs: Path, pool: Pool, command_of=driver_command) -> Iterator[Launching]:
    opened = Launching(logs, pool, command_of)
    try:
        yield opened
    finally:
        opened.close()


def python(program: str, *arguments: str) -> tuple[str, ...]:
    """A command that runs a program."""
    return (sys.executable, "-c", program, *arguments)


def is_alive(pid: int) -> bool:
    """True if a process has not ended. One that nobody waits for yet has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
