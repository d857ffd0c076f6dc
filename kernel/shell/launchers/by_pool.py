"""The launchers of all workers behind one port: this host's, and those of pools with a launcher.

A pool's driver is started with its first worker, and again after it has exited. Ids of workers are unique, so
an id says where its process is.
"""

import logging
import select
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, assert_never

from msgspec.structs import replace

from conf.pools import LauncherKind, Pool
from kernel.process.log import line
from kernel.process.worker_logs import log_file, name_engine
from kernel.protocol.ids import EngineId, WorkerId
from kernel.protocol.join import Join
from kernel.shell.launchers.driver_messages import Ended, Report, Running, Waiting
from kernel.shell.launchers.driver_process import DriverProcess, driver_command
from kernel.shell.launchers.local import SubprocessLauncher
from kernel.shell.ports import Exited, LaunchNews, LaunchRuns, LaunchWaits

DRIVER_LOG: Final = "launcher-{pool}"
LONGEST_REASON: Final = 300

log = logging.getLogger("manager")


class LaunchersByPool:
    """Starts each worker where it belongs: with its ticket on this host, or by the launcher of its pool.

    `endpoint`: the address of the Manager for workers of pools that name none. `environ` is inherited by the
    drivers. `command_of` makes the command of a driver.
    """

    def __init__(
        self,
        local: SubprocessLauncher,
        pools: Mapping[str, Pool],
        endpoint: str | None,
        log_folder: Path,
        environ: Mapping[str, str],
        command_of: Callable[[LauncherKind], Sequence[str]] = driver_command,
    ) -> None:
        self._local, self._log_folder = local, log_folder
        self._pools = {name: replace(pool, manager=pool.manager or endpoint) for name, pool in pools.items()}
        self._environ, self._command_of = dict(environ), command_of
        self._drivers: dict[str, DriverProcess] = {}
        self._epoll = select.epoll()

    def launch(self, join: Join, engine_id: EngineId | None) -> None:
        self._local.launch(join, engine_id)

    def launch_in(self, pool: str, worker_id: WorkerId, engine_id: EngineId | None) -> None:
        self._local.remove_old_logs([name for driver in self._drivers.values() for name in driver.names])
        file = log_file(self._log_folder, worker_id)
        file.write_bytes(b"")
        if engine_id is not None:
            name_engine(file, worker_id, engine_id)
        self._driver(pool).launch(worker_id, file)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def poll(self) -> list[LaunchNews]:
        news: list[LaunchNews] = [*self._local.poll()]
        for pool, driver in list(self._drivers.items()):
            news += map(_news, driver.take())
            if driver.is_over() and not driver.names:
                self._let_go(pool)
        return news

    def terminate(self, name: WorkerId | str) -> None:
        if (driver := self._driver_of(name)) is not None:
            driver.stop(name)
        else:
            self._local.terminate(name)

    def kill(self, name: WorkerId | str) -> None:
        if (driver := self._driver_of(name)) is not None:
            driver.kill(name, time.monotonic())
        else:
            self._local.kill(name)

    def pids(self) -> dict[str, int]:
        """The drivers that have not been seen to exit, by their pools."""
        return {pool: driver.pid for pool, driver in self._drivers.items()}

    def end_workers(self) -> None:
        """End every worker and wait for its exit; no event is reported."""
        self._local.end_workers()
        for driver in self._drivers.values():
            driver.leave()
        for pool in list(self._drivers):
            self._let_go(pool)

    def close(self) -> None:
        """End what is there, and watch no more."""
        self.end_workers()
        self._epoll.close()

    def _driver(self, pool: str) -> DriverProcess:
        """The running driver of a pool. Raises: OSError."""
        driver = self._drivers.get(pool)
        if driver is not None and not driver.is_over():
            return driver
        terms = self._pools.get(pool)
        if terms is None or terms.launcher is None:
            raise OSError(f"the configuration has no launcher for the pool {pool}")
        if driver is not None:  # its workers' ends have not been told yet
            raise OSError(f"the launcher of pool {pool} has ended")
        log_name = DRIVER_LOG.format(pool=pool)
        command = self._command_of(terms.launcher)
        driver = DriverProcess(pool, terms, command, log_file(self._log_folder, log_name), self._environ)
        self._drivers[pool] = driver
        self._epoll.register(driver, select.EPOLLIN)
        return driver

    def _driver_of(self, name: str) -> DriverProcess | None:
        return next((driver for driver in self._drivers.values() if name in driver.names), None)

    def _let_go(self, pool: str) -> None:
        driver = self._drivers.pop(pool)
        with suppress(OSError):
            self._epoll.unregister(driver)
        driver.close()
        log.info(line("driver_gone", pool=pool))


def _news(report: Report) -> LaunchNews:
    match report:
        case Waiting(name=name, reason=reason):
            return LaunchWaits(name, " ".join(reason.split())[:LONGEST_REASON])
        case Running(name=name):
            return LaunchRuns(name)
        case Ended(name=name, status=status, last_words=words, exit_code=exit_code):
            return Exited(name, status, words, exit_code)
        case _:
            assert_never(report)
