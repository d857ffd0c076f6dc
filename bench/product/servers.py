"""What is compared, as its user starts it and talks to it: each kind in a module of its own."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import httpx

from bench.product.counters import pids_below
from bench.product.job import Job

HOST: Final = "127.0.0.1"
START_S: Final = 300.0
POLL_S: Final = 0.02
STOP_S: Final = 30.0
JOB_S: Final = 600.0
"""The longest that a picture may take."""


class Server(Protocol):
    """One that runs."""

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The one that was started."""

    @property
    def worker_word(self) -> str:
        """In the command of those of its processes that make pictures."""

    def make(self, job: Job) -> bytes:
        """Ask for a picture and wait for it. Several threads may ask a Queue at once. Raises: JobLost."""

    def hang_up(self) -> None:
        """Close what leads to it."""


class Queue(Server, Protocol):
    """One that takes jobs for later."""

    def submit(self, job: Job) -> str:
        """Returns: its id, when the server has said that it has taken the job."""

    def picture(self, job_id: str) -> bytes | None:
        """Nothing, while it is not made. Raises: JobLost, if there will never be one."""


class JobLost(Exception):
    """The server does not know a job that it had taken, or has failed at it."""


class Kind(Protocol):
    """A program to compare."""

    @property
    def name(self) -> str: ...

    def prepare(self, folder: Path) -> None:
        """Do what a user does once, if it is not done yet. Raises: SystemExit, if that does not work."""

    def start(self, folder: Path) -> Server:
        """Begin it anew, on what an earlier run has left behind. Returns as soon as it can be asked."""


class QueueKind(Kind, Protocol):
    """A program whose jobs have ids."""

    def start(self, folder: Path) -> Queue:
        """As above."""


def free_port() -> int:
    with socket.create_server((HOST, 0)) as found:
        port: int = found.getsockname()[1]
        return port


def begin(command: Sequence[str], log: Path, environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """A process that writes what it has to say to a file, in a session of its own."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environ),
            start_new_session=True,
        )


def connect(process: "subprocess.Popen[bytes]", url: str, path: str, log: Path) -> httpx.Client:
    """Ask until there is an answer. Returns: what asks for more below that address.

    Raises: SystemExit, if the process ends, or START_S do.
    """
    http = httpx.Client(base_url=url, timeout=JOB_S)
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        try:
            if http.get(path).is_success:
                return http
        except httpx.TransportError:
            time.sleep(POLL_S)
    http.close()
    raise SystemExit(f"gate failed: it did not start:\n{tail(log)}")


def await_picture(server: Queue, job_id: str) -> bytes:
    """Ask again and again. Raises: JobLost, if there will be none, or not in JOB_S."""
    end_s = time.monotonic() + JOB_S
    while time.monotonic() < end_s:
        if (picture := server.picture(job_id)) is not None:
            return picture
        time.sleep(POLL_S)
    raise JobLost(f"{job_id} is not made after {JOB_S} seconds")


def tail(log: Path) -> str:
    """The last lines of what was said."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def end(server: Server) -> None:
    """Ask it to end; what is left of it after a while is killed."""
    process = server.process
    family = pids_below(process.pid)
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        kill(family)
        process.wait()
    server.hang_up()


def kill_all(server: Server) -> None:
    """kill -9 of every process of a server at once."""
    kill(pids_below(server.process.pid))
    server.process.wait()
    server.hang_up()


def kill(pids: Sequence[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has ended meanwhile


@contextmanager
def running(kind: Kind, folder: Path) -> Iterator[Server]:
    """A server that ends with the block."""
    server = kind.start(folder)
    try:
        yield server
    finally:
        end(server)
