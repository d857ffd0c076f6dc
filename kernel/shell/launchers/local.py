"""Worker processes on this host: started with a pipe for their ticket, and watched until they exit.

The ticket is written to an inherited pipe: it contains the worker's secret key, and arguments and
environments can be read by other processes of the user. Writing it late is also what makes standbys possible:
an engine's worker is a standby that receives its ticket (adr/0042). Each worker has a session of its own, so
Ctrl-C in the terminal reaches only the Manager, which then ends its workers in order; if the Manager dies,
PR_SET_PDEATHSIG ends them. stderr goes to a log file per worker, whose end explains a crash. Exits are
reported once, by `poll` after SIGCHLD; nothing blocks on a process while the loop runs.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Final

from kernel.process.log import line
from kernel.process.worker_logs import log_file, name_engine
from kernel.protocol.enums import WorkerRole
from kernel.protocol.errors import unusable_folder
from kernel.protocol.ids import EngineId, WorkerId
from kernel.protocol.join import JOIN_FD_OPTION, PRELOAD_OPTION, Join, worker_environ, write_join
from kernel.shell.devices.cpu import available_bytes
from kernel.shell.launchers.exits import describe_exit, tail_of
from kernel.shell.launchers.standby import NONE_AT_ALL, Standby, Standbys, StandbyTerms
from kernel.shell.ports import Exited

LOGS_KEPT: Final = 50

log = logging.getLogger("manager")


class SubprocessLauncher:
    """Runs `python -m engine_worker.main` for each worker; its stderr goes to a log file of its own.

    An engine's worker is a standby that receives its ticket, if one is ready. `environ` is inherited by the
    processes. `threads`: compute threads of a worker on the CPU; 0: its libraries' default.
    """

    def __init__(
        self,
        log_folder: Path,
        environ: Mapping[str, str],
        standby: StandbyTerms = NONE_AT_ALL,
        threads: int = 0,
    ) -> None:
        """Raises: BadConfiguration, if the folder of the logs cannot be created."""
        self._log_folder = log_folder
        self._environ = dict(environ)
        self._worker_environ = worker_environ(environ)
        if threads:
            self._worker_environ["OMP_NUM_THREADS"] = str(threads)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._workers: set[str] = set()
        """The names among them that are workers."""
        self.standbys = Standbys(standby, self._start_standby, available_bytes)
        try:
            log_folder.mkdir(0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unusable_folder(log_folder, error) from error

    def launch(self, join: Join, engine_id: EngineId | None = None) -> None:
        is_real_engine = join.role is WorkerRole.ENGINE and not join.is_fake
        if is_real_engine and self._hand_over(join, engine_id):
            return
        worker = self._start_worker(join.worker_id, does_preload=is_real_engine)
        self._add(join.worker_id, worker.process)
        self._name_engine(join.worker_id, join.worker_id, engine_id)
        try:
            os.write(worker.writer, write_join(join))
        finally:
            os.close(worker.writer)

    def start(self, name: str, command: Sequence[str], *, is_logged: bool = True) -> None:
        """Start a process in a session of its own, so that the terminal's Ctrl-C does not reach it.

        With `is_logged` its output goes to its log file, else to the Manager's own output.

        Raises: OSError, if it cannot be started.
        """
        self._processes[name] = self._run(name, command, self._environ, is_logged=is_logged)

    def _hand_over(self, join: Join, engine_id: EngineId | None) -> bool:
        """Turn a standby into the worker of this ticket. False, if there is no standby."""
        while (standby := self.standbys.take()) is not None:
            self._name_engine(standby.name, join.worker_id, engine_id)
            try:
                os.write(standby.writer, write_join(join))
            except BrokenPipeError:
                self.standbys.dismiss(standby)
                continue
            os.close(standby.writer)
            log.info(line("standby_taken", name=standby.name, worker_id=join.worker_id))
            self._add(join.worker_id, standby.process)
            with suppress(FileNotFoundError):  # a person removed it
                self._log_file(standby.name).rename(self._log_file(join.worker_id))
            return True
        return False

    def _name_engine(self, name: str, worker_id: WorkerId, engine_id: EngineId | None) -> None:
        """Say in a log whose it is from now on (`kernel.process.worker_logs`)."""
        if engine_id is None:
            return
        with suppress(OSError):
            name_engine(self._log_file(name), worker_id, engine_id)

    def _add(self, worker_id: WorkerId, process: "subprocess.Popen[bytes]") -> None:
        self._processes[worker_id] = process
        self._workers.add(worker_id)

    def _start_standby(self, name: str) -> Standby:
        return self._start_worker(name, does_preload=True)

    def _start_worker(self, name: str, *, does_preload: bool) -> Standby:
        """A worker process that waits for its ticket. Raises: OSError."""
        reader, writer = os.pipe()
        command = [*python_module("engine_worker.main"), JOIN_FD_OPTION, str(reader)]
        try:
            process = self._run(
                name,
                [*command, PRELOAD_OPTION] if does_preload else command,
                self._worker_environ,
                (reader,),
            )
        except OSError:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        return Standby(name, process, writer)

    def _run(
        self,
        name: str,
        command: Sequence[str],
        environ: Mapping[str, str],
        keep_open: tuple[int, ...] = (),
        *,
        is_logged: bool = True,
    ) -> "subprocess.Popen[bytes]":
        self.remove_old_logs()
        with self._log_file(name).open("ab") if is_logged else nullcontext() as output:
            if output is not None:  # that of a process of this name of an earlier run
                output.truncate(0)
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=keep_open,
                env=environ,
                start_new_session=True,
            )

    def poll(self) -> list[Exited]:
        self.standbys.poll(time.monotonic())
        ended = [(name, p.returncode) for name, p in self._processes.items() if p.poll() is not None]
        for name, _ in ended:
            del self._processes[name]
            self._workers.discard(name)
        return [
            Exited(name, describe_exit(code), tail_of(self._log_file(name)), code if code >= 0 else None)
            for name, code in ended
        ]

    def pids(self) -> dict[WorkerId, int]:
        """The worker processes that have not been seen to exit."""
        return {WorkerId(name): self._processes[name].pid for name in self._workers}

    def terminate(self, name: WorkerId | str) -> None:
        if (process := self._processes.get(name)) is not None:
            process.terminate()

    def kill(self, name: WorkerId | str) -> None:
        if (process := self._processes.get(name)) is not None:
            process.kill()

    def is_there(self, name: str) -> bool:
        """True if a process of this name has not exited."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def end_workers(self) -> None:
        """Kill every worker and wait for its exit; no event is reported."""
        ending = [self._processes.pop(name) for name in self._workers]
        self._workers.clear()
        for process in ending:
            process.kill()
        for process in ending:
            process.wait()

    def _log_file(self, name: str) -> Path:
        return log_file(self._log_folder, name)

    def remove_old_logs(self, kept: Collection[str] = ()) -> None:
        """Remove all but the last logs of workers, those that run, and those of these names."""
        logs = sorted(self._log_folder.glob("[ws]*.log"), key=lambda file: file.stat().st_mtime)
        running = self._processes.keys() | self.standbys.names() | set(kept)
        for file in logs[: max(0, len(logs) - LOGS_KEPT)]:
            if file.stem not in running:
                file.unlink(missing_ok=True)


def python_module(name: str) -> list[str]:
    """The command that runs a module the way this process runs: with -P if it has it, so that a folder named
    `api` in the working directory is not imported."""
    isolation = ["-P"] if sys.flags.safe_path else []
    return [sys.executable, *isolation, "-m", name]
