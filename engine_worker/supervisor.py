"""Keeps one worker of a pool running on this host, for `spoon worker`.

Each process of the worker makes its own CURVE key pair, enrolls with the token, and serves one engine: when
the Manager closes that engine, the process ends, since only that surely frees a GPU, and a fresh one enrolls.
It reads its ticket, with the token, from a pipe, as a worker of the Manager does.

    SIGTERM, SIGINT   the worker finishes its jobs and leaves; a second one leaves at once

    exit status    0   stopped by a signal, drained for good, or (with --launch) done
                   2   the command line or the token file cannot be used, or a package is missing
                   3   refused: the token or the worker was revoked, or the versions do not match
"""

import argparse
import logging
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zmq
from zmq.utils import z85

from engine_worker import ticket
from engine_worker.session.actions import ExitCode
from kernel.process.log import line, start
from kernel.process.signals import SignalPipe
from kernel.process.startup import make_files_private
from kernel.protocol.enums import WorkerRole
from kernel.protocol.errors import BadConfiguration
from kernel.protocol.ids import WorkerId
from kernel.protocol.join import (
    CACHE_BYTES_OPTION,
    CACHE_FOLDER_OPTION,
    JOIN_FD_OPTION,
    MAP_OPTION,
    PRELOAD_OPTION,
    Join,
    worker_environ,
    write_join,
)
from kernel.protocol.worker_tokens import server_key_of

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
STEADY_S: Final = 60.0
"""A process that lived this long did not end because of its start."""
_FINAL: Final = frozenset({ExitCode.BAD_TICKET, ExitCode.REFUSED})

_log: Final = logging.getLogger("supervisor")


@dataclass(frozen=True, slots=True)
class Terms:
    """What every process of the worker is told."""

    token: str
    manager: str
    file_roots: tuple[str, ...] = ()
    detectors_folder: str | None = None
    launch: str | None = None
    is_fake: bool = False
    files: tuple[str, ...] = ()
    """Options of the process: where it gets models that this host lacks."""

    def ticket(self) -> Join:
        """A ticket with a new key pair, whose secret half never leaves this host."""
        public, secret = zmq.curve_keypair()
        return Join(
            role=WorkerRole.ENGINE,
            worker_id=WorkerId("enrolling"),
            endpoint=self.manager,
            server_public_key=z85.encode(server_key_of(self.token)).decode(),
            public_key=public.decode(),
            secret_key=secret.decode(),
            token=self.token,
            enrolls=True,
            file_roots=self.file_roots,
            detectors_folder=self.detectors_folder,
            is_fake=self.is_fake,
            manager_pid=os.getpid(),
            launch=self.launch,
        )


def main(arguments: list[str] | None = None) -> int:
    """Run the worker until it is stopped or refused. Returns: the exit status."""
    make_files_private()
    options = _options(arguments)
    start("supervisor", process="supervisor")
    try:
        terms = Terms(
            token=ticket.token_in(options.token_file),
            manager=options.manager,
            file_roots=tuple(str(folder.absolute()) for folder in options.file_root),
            detectors_folder=options.detectors_folder,
            launch=options.launch,
            is_fake=options.fake_engines,
            files=_files(options),
        )
    except BadConfiguration as error:
        _log.error(line("bad_token", text=error.detail))
        return ExitCode.BAD_TICKET
    signals = SignalPipe([signal.SIGTERM, signal.SIGINT, signal.SIGCHLD])
    return Supervisor(terms, signals).run()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="engine_worker.supervisor", description="A worker of a pool.")
    parser.add_argument("--token-file", type=Path, required=True, help="file with the enrollment token")
    parser.add_argument("--manager", required=True, help="the Manager's bus.endpoint: tcp://HOST:PORT")
    parser.add_argument("--file-root", type=Path, action="append", default=[], help="folder with models")
    parser.add_argument("--detectors-folder", help="folder with the control map detectors")
    parser.add_argument(CACHE_FOLDER_OPTION, type=Path, help="folder for models that this host lacks")
    parser.add_argument(CACHE_BYTES_OPTION, type=int, help="the most that it may hold")
    parser.add_argument(MAP_OPTION, action="append", default=[], help="a shared folder: there=here")
    parser.add_argument("--launch", help="which of a launcher's workers this is")
    parser.add_argument("--fake-engines", action="store_true", help="run a simulated engine (for tests)")
    return parser.parse_args(arguments)


def _files(options: argparse.Namespace) -> tuple[str, ...]:
    """The options about models' files, as the process takes them."""
    mappings = tuple(f"{MAP_OPTION}={mapping}" for mapping in options.map)
    if options.cache_folder is None:
        return mappings
    size = () if options.cache_bytes is None else (CACHE_BYTES_OPTION, str(options.cache_bytes))
    return (*mappings, CACHE_FOLDER_OPTION, str(options.cache_folder), *size)


class Supervisor:
    """Starts one process after the other, and passes signals on."""

    def __init__(
        self, terms: Terms, signals: SignalPipe, chance: Callable[[], float] = random.random
    ) -> None:
        self._terms, self._signals, self._chance = terms, signals, chance
        self._is_stopping = False
        self._failures = 0

    def run(self) -> int:
        """Returns: the exit status."""
        while True:
            began_s = time.monotonic()
            code = self._live()
            if (end := self._end_of(code)) is not None:
                return end
            self._failures = 0 if time.monotonic() - began_s > STEADY_S else self._failures + 1
            if code == ExitCode.LEFT and self._failures <= 1:
                continue
            self._sleep(self._pause_s())
            if self._is_stopping:
                return ExitCode.LEFT

    def _end_of(self, code: int) -> int | None:
        """The supervisor's own exit status after that of a process; None: start another one."""
        if code in _FINAL:
            return code
        if code == ExitCode.DRAINED or self._is_stopping:
            return ExitCode.LEFT
        return code if self._terms.launch is not None else None

    def _pause_s(self) -> float:
        doubled_s = min(FIRST_PAUSE_S * float(1 << min(self._failures - 1, 16)), LONGEST_PAUSE_S)
        return doubled_s * (0.5 + self._chance())

    def _live(self) -> int:
        """Run one process to its end. Returns: its exit status."""
        reader, writer = os.pipe()
        command = [*_python("engine_worker.main"), JOIN_FD_OPTION, str(reader), *self._terms.files]
        if not self._terms.is_fake:
            command.append(PRELOAD_OPTION)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(reader,),
                env=worker_environ(os.environ),
                start_new_session=True,  # Ctrl-C reaches only this process, which passes it on
            )
        finally:
            os.close(reader)
        _log.info(line("worker_started", pid=process.pid))
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(write_join(self._terms.ticket()))
        while process.poll() is None:
            if self._wait(None):
                process.terminate()
        _log.info(line("worker_ended", pid=process.pid, code=process.returncode))
        return process.returncode

    def _sleep(self, seconds: float) -> None:
        """Wait so long, or until a signal asks to stop."""
        end_s = time.monotonic() + seconds
        while not self._is_stopping and (left_s := end_s - time.monotonic()) > 0:
            self._wait(left_s)

    def _wait(self, timeout_s: float | None) -> bool:
        """Wait for signals. True, if one asks to stop."""
        select.select([self._signals], [], [], timeout_s)
        found = [one for one in self._signals.take_all() if one is not signal.SIGCHLD]
        self._is_stopping = self._is_stopping or bool(found)
        return bool(found)


def _python(module: str) -> Sequence[str]:
    """The command that runs a module as this process runs."""
    isolation = ["-P"] if sys.flags.safe_path else []
    return [sys.executable, *isolation, "-m", module]


if __name__ == "__main__":
    sys.exit(main())
