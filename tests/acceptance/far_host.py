"""A host that runs workers of a pool: processes of its own, which do not end with the Manager's."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kernel.protocol.worker_tokens import CreateWorkerToken, WorkerTokenIssued
from tests.acceptance.patience import PATIENCE_S
from tests.acceptance.processes import WORKER, environment, processes_of
from tests.acceptance.server import Server, free_port

SUPERVISOR: Final = "engine_worker.supervisor"
POOL: Final = "gpu-lab"


class FarHost:
    """Has a token file, and knows the Manager's address."""

    def __init__(self, folder: Path, manager: str, before: Sequence[str] = ()) -> None:
        """`before`: words before its commands, such as those that run them in a network of its own."""
        folder.mkdir()
        self.folder = folder
        self.manager = manager
        self._before = before
        self.log = folder / "log"
        self.token_file = folder / "token"
        self._supervisors: list[subprocess.Popen[bytes]] = []

    def takes(self, token: str) -> None:
        """A person copies the token to this host."""
        self.token_file.touch(0o600)
        self.token_file.write_text(f"{token}\n")

    def starts(self, *options: str, is_fake: bool = True) -> "subprocess.Popen[bytes]":
        """`spoon worker --token-file F --manager URL`."""
        fake = ["--fake-engines"] if is_fake else []
        where = ["--token-file", str(self.token_file), "--manager", self.manager, *fake, *options]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self._before, sys.executable, "-m", SUPERVISOR, *where],
                stderr=log,
                env=environment(self.folder),
            )
        self._supervisors.append(process)
        return process

    def exit_code(self) -> int:
        """Wait for the end of what was started last."""
        return self._supervisors[-1].wait(PATIENCE_S)

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        return [found.pid for found in processes_of(self.folder, WORKER)]

    def count(self, action: str) -> int:
        """How often this is in the workers' logs."""
        text = self.log.read_text() if self.log.exists() else ""
        return sum(f"action={action} " in f"{line} " for line in text.splitlines())

    def close(self) -> None:
        for process in self._supervisors:
            process.kill()
            process.wait(PATIENCE_S)
        for found in processes_of(self.folder):
            found.send(signal.SIGKILL)
        print(self.log.read_text() if self.log.exists() else "no worker was started")


@contextmanager
def far_host(server: Server, folder: Path) -> Iterator[FarHost]:
    """A host beside a server that listens for it; the server is not started yet."""
    address = f"tcp://127.0.0.1:{free_port()}"
    server.configure(bus=f'endpoint = "{address}"')
    host = FarHost(folder, address)
    try:
        yield host
    finally:
        host.close()


def new_token(server: Server) -> str:
    """A token of the pool."""
    issued = server.line.ask(CreateWorkerToken(pool=POOL), WorkerTokenIssued)
    assert issued.text is not None
    return issued.text
