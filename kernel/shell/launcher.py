"""Worker processes on this host: started with a pipe that holds their ticket, watched until they are gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from kernel.protocol.ids import WorkerId
from kernel.protocol.join import JOIN_FD_OPTION, Join, write_join
from kernel.shell.ports import Exited

# A thread of OpenMP that waits for its next piece of work spins by default, and so takes the processor from
# the one that it waits for: two of them beside a busy neighbour are 5 to 15 times slower.
# Source: the OpenMP specification, OMP_WAIT_POLICY.
_UNLESS_SET: Final = {"OMP_WAIT_POLICY": "PASSIVE"}

LAST_WORDS_BYTES: Final = 4096
LOGS_KEPT: Final = 50


class SubprocessLauncher:
    """Runs `python -m engine_worker.main` for each worker; its stderr goes to a log file of its own.

    `environ` is what the processes inherit.
    """

    def __init__(self, log_folder: Path, environ: Mapping[str, str]) -> None:
        self._log_folder = log_folder
        self._environ = {**_UNLESS_SET, **environ}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._workers: set[str] = set()
        """The names among them that are workers'."""
        log_folder.mkdir(0o700, parents=True, exist_ok=True)

    def launch(self, join: Join) -> None:
        reader, writer = os.pipe()
        try:
            command = [*python_module("engine_worker.main"), JOIN_FD_OPTION, str(reader)]
            self.start(join.worker_id, command, keep_open=(reader,))
            self._workers.add(join.worker_id)
            os.write(writer, write_join(join))
        finally:
            os.close(reader)
            os.close(writer)

    def start(
        self, name: str, command: Sequence[str], keep_open: tuple[int, ...] = (), *, is_logged: bool = True
    ) -> None:
        """Start a process in a session of its own, so that a Ctrl-C of the terminal is not meant for it.

        With `is_logged` its output goes to its log file, else to where the Manager's own goes.

        Raises: OSError, if it cannot be started.
        """
        self._remove_old_logs()
        with self._log_file(name).open("wb") if is_logged else nullcontext() as log:
            self._processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=keep_open,
                env=self._environ,
                start_new_session=True,
            )

    def poll(self) -> list[Exited]:
        ended = [(name, p.returncode) for name, p in self._processes.items() if p.poll() is not None]
        for name, _ in ended:
            del self._processes[name]
            self._workers.discard(name)
        return [
            Exited(name, describe_exit(code), self._last_words(name), code if code >= 0 else None)
            for name, code in ended
        ]

    def pids(self) -> dict[WorkerId, int]:
        """The workers' processes that have not been seen to end."""
        return {WorkerId(name): self._processes[name].pid for name in self._workers}

    def terminate(self, name: WorkerId | str) -> None:
        if (process := self._processes.get(name)) is not None:
            process.terminate()

    def kill(self, name: WorkerId | str) -> None:
        if (process := self._processes.get(name)) is not None:
            process.kill()

    def _log_file(self, name: str) -> Path:
        return self._log_folder / f"{name}.log"

    def _last_words(self, name: str) -> str:
        try:
            with self._log_file(name).open("rb") as log:
                size_bytes = log.seek(0, os.SEEK_END)
                log.seek(max(0, size_bytes - LAST_WORDS_BYTES))
                return log.read().decode(errors="replace")
        except OSError:
            return ""  # somebody tidied up

    def _remove_old_logs(self) -> None:
        logs = sorted(self._log_folder.glob("w*.log"), key=lambda file: file.stat().st_mtime)
        for file in logs[: max(0, len(logs) - LOGS_KEPT)]:
            if file.stem not in self._processes:
                file.unlink(missing_ok=True)


def python_module(name: str) -> list[str]:
    """The command that runs a module as this process itself runs: with -P, if it does (no folder named
    `api` where the user stands is then taken for ours)."""
    isolation = ["-P"] if sys.flags.safe_path else []
    return [sys.executable, *isolation, "-m", name]


def describe_exit(return_code: int) -> str:
    """How a process ended, for a person."""
    if return_code >= 0:
        return f"exit code {return_code}"
    try:
        return f"signal {signal.Signals(-return_code).name}"
    except ValueError:
        return f"signal {-return_code}"  # most real-time signals have no name
