"""A whole server in a folder of its own: real processes and sockets, fake engines or real ones; always
cleaned up."""

import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

from conf.settings import Database, Settings
from tests.acceptance.line import Line
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.processes import MANAGER, Found, environment, processes_of
from tests.acceptance.records import Records

TAIL_BYTES: Final = 6_000
LOGS_SHOWN: Final = 3
CONFIG: Final = """
[database]
folder = "database"
[images]
folder = "images"
min_free = 0
{images}
[blobs]
folder = "blobs"
[bus]
folder = "bus"
{bus}
[server]
port = {port}
{server}
[models]
folder = "models"
file_roots = ["/"]
{models}
[callbacks]
{callbacks}
[engines]
max_running = 8
{engines}
[shutdown]
{shutdown}
"""


class Server:
    """An installation, and the one Manager that runs in it at a time. It may be ended and started again."""

    def __init__(self, folder: Path, *, with_api: bool = False, has_fakes: bool = True) -> None:
        self.folder = folder
        self.with_api = with_api
        self.has_fakes = has_fakes
        self.port = free_port() if with_api else 1
        self.manager: subprocess.Popen[bytes] | None = None
        self.before: Sequence[str] = ()
        """Words before its command, such as those that run it on another host."""
        self.umask = -1
        """Under which the Manager is started; -1: the test's own."""
        self.variables: dict[str, str] = {}
        """What it gets in its environment, beside the usual."""
        self._lines: list[Line] = []
        self.configure()

    def configure(
        self,
        *,
        images: str = "",
        engines: str = "",
        shutdown: str = "",
        models: str = "",
        callbacks: str = "",
        server: str = "",
        bus: str = "",
    ) -> None:
        """Write the configuration, with these lines added to its sections."""
        text = CONFIG.format(
            port=self.port,
            images=images,
            engines=engines,
            shutdown=shutdown,
            models=models,
            callbacks=callbacks,
            server=server,
            bus=bus,
        )
        self.config_file.write_text(text)

    @property
    def config_file(self) -> Path:
        return self.folder / "spoon.toml"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs"

    @property
    def database_file(self) -> Path:
        return Settings(database=Database(folder=self.folder / "database")).database_file

    # Its life.

    def start(self) -> None:
        """Start the Manager, and wait until it answers; with the API, until that listens, too."""
        self.launch()
        self.wait_for_manager()
        if self.with_api:
            wait_for("the API", self.is_api_there)

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start a Manager, and do not wait."""
        command = [*self.before, sys.executable, "-m", MANAGER, "--config", str(self.config_file)]
        if self.has_fakes:
            command.append("--fake-engines")
        if self.with_api:
            command.append("--with-api")
        with (self.folder / "log").open("ab") as log:
            self.manager = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=environment(self.folder) | self.variables,
                umask=self.umask,
            )
        return self.manager

    def wait_for_manager(self) -> None:
        """Wait until the Manager that was launched answers."""
        process = self.manager
        assert process is not None
        wait_for("the keys of the bus", lambda: self._are_keys_there(process))
        pid = self.line.status().pid
        assert pid == process.pid, f"process {pid} answers instead of {process.pid}"

    def _are_keys_there(self, process: "subprocess.Popen[bytes]") -> bool:
        assert process.poll() is None, f"the Manager left with {process.returncode}"
        return (self.folder / "bus" / "manager.key").exists()

    def is_api_there(self) -> bool:
        """Does anything listen on the port?"""
        return is_listening(self.port)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the Manager."""
        assert self.manager is not None
        self.manager.send_signal(number)

    def exit_code(self) -> int:
        """Wait for the Manager's end."""
        assert self.manager is not None
        return self.manager.wait(PATIENCE_S)

    def stop(self) -> int:
        """Ask the Manager to stop. Returns: its exit code."""
        self.signal(signal.SIGTERM)
        return self.exit_code()

    def kill(self) -> None:
        """End the Manager as a power cut would; its children go with it."""
        self.signal(signal.SIGKILL)
        self.exit_code()
        wait_for("the end of the Manager's children", lambda: not self.processes())

    def close(self) -> None:
        """End everything, whatever state it is in."""
        for process in self.processes():
            process.send(signal.SIGKILL)
        if self.manager is not None:
            self.manager.wait(PATIENCE_S)
        for line in self._lines:
            line.close()
        self.records.close()

    # What people do with it.

    def spoon(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the command line for this installation."""
        command = [sys.executable, "-m", "api.cli.main", "--config", str(self.config_file), *arguments]
        environ = environment(self.folder) | variables
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    def make_key(self, name: str, role: str) -> str:
        """A new API key."""
        made = self.spoon("keys", "create", name, "--role", role)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    # What can be seen of it.

    def processes(self, module: str | None = None) -> list[Found]:
        """The living processes of this installation, or those that run this module."""
        return processes_of(self.folder, module)

    @cached_property
    def records(self) -> Records:
        """The database, for the test's own thread."""
        return Records(self.database_file)

    @cached_property
    def line(self) -> Line:
        """The bus, for the test's own thread."""
        return self.new_line()

    def new_line(self) -> Line:
        """One more line to the bus, for a thread of its own."""
        self._lines.append(Line(self.folder / "bus"))
        return self._lines[-1]

    @property
    def worker_logs(self) -> list[Path]:
        """One file for each worker that was ever started here."""
        return sorted((self.folder / "database" / "logs").glob("w*.log"), key=lambda log: log.stat().st_mtime)

    def log_tail(self) -> str:
        """The end of what the Manager and the API said, and of what the last workers said."""
        logs = [log for log in (self.folder / "log", *self.worker_logs[-LOGS_SHOWN:]) if log.exists()]
        texts = [log.read_bytes()[-TAIL_BYTES:].decode(errors="replace") for log in logs]
        return "\n".join(f"--- {log.name}\n{text}" for log, text in zip(logs, texts, strict=True))


def is_listening(port: int) -> bool:
    """True if somebody accepts connections on a port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
