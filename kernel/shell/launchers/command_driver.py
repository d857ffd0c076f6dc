"""The driver of a pool with `launcher = "command"`: `python -m kernel.shell.launchers.command_driver`.

It is started by the Manager, and ends with it (`kernel/shell/launchers/driver_loop.py:drive`).
"""

import logging
import signal
import sys
from pathlib import Path
from typing import assert_never

from conf.pools import Pool, filled
from kernel.process.log import line, start
from kernel.process.signals import SignalPipe
from kernel.process.startup import make_files_private
from kernel.shell.launchers.command_worker import CommandWorker
from kernel.shell.launchers.commands import Commands
from kernel.shell.launchers.driver_loop import drive
from kernel.shell.launchers.driver_messages import Configure, Ended, Kill, Launch, Order, Report, Stop

log = logging.getLogger("launcher")


class CommandDriver:
    """Runs the commands of one pool."""

    def __init__(self, configure: Configure) -> None:
        self._pool, self._terms = configure.pool, configure.terms
        self._workers: dict[str, CommandWorker] = {}
        self._failed: list[Report] = []

    def obey(self, order: Order, now_s: float) -> None:
        match order:
            case Launch(name=name, log_file=log_file):
                self._launch(name, Path(log_file), now_s)
            case Stop(name=name):
                if (worker := self._workers.get(name)) is not None:
                    worker.stop()
            case Kill(name=name):
                if (worker := self._workers.get(name)) is not None:
                    worker.kill()
            case Configure():
                pass
            case _:
                assert_never(order)

    def tend(self, now_s: float) -> list[Report]:
        reports, self._failed = self._failed, []
        for name, worker in list(self._workers.items()):
            found = worker.tend(now_s)
            reports += found
            if any(isinstance(report, Ended) for report in found):
                del self._workers[name]
        for report in reports:
            log.info(line(type(report).__name__.lower(), name=report.name))
        return reports

    def next_s(self) -> float | None:
        times = [worker.next_s() for worker in self._workers.values()]
        return min((time_s for time_s in times if time_s is not None), default=None)

    def end_all(self, now_s: float) -> None:
        for worker in self._workers.values():
            worker.kill()

    def is_idle(self) -> bool:
        return not self._workers

    def _launch(self, name: str, log_file: Path, now_s: float) -> None:
        try:
            commands = commands_of(name, self._pool, self._terms)
            self._workers[name] = CommandWorker(name, commands, log_file, now_s)
        except OSError as error:
            self._failed.append(Ended(name=name, status=f"could not start: {error}"))


def commands_of(name: str, pool: str, terms: Pool) -> Commands:
    """The commands of a worker."""
    values = {
        "name": name,
        "pool": pool,
        "manager": terms.manager or "",
        "token_file": terms.token_file or "",
    }
    start, poll, stop, kill = (
        filled(template, values) for template in (terms.start, terms.poll, terms.stop, terms.kill)
    )
    return Commands(start, poll, stop, kill, terms.poll_every_s)


def main() -> int:
    """Serve the Manager until it is gone."""
    start("launcher", process="launcher")
    make_files_private()
    signals = SignalPipe([signal.SIGCHLD])
    return drive(CommandDriver, signals)


if __name__ == "__main__":
    sys.exit(main())
