"""A whole server to measure: Manager and API with fake engines, on a temporary folder and a free port."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit

from bench.manager import settings_in
from bench.stage import WAIT_S, add_model, process
from conf.settings import Server
from kernel.core.actions import SaveKey
from kernel.protocol.api_keys import digest_of, key_text
from kernel.protocol.endpoints import API_URL_FILE
from kernel.protocol.enums import Role
from kernel.protocol.ids import KeyId
from kernel.protocol.rows import KeyRow
from kernel.shell.store import Store

CONFIG: Final = """
[database]
folder = "database"
[images]
folder = "images"
min_free = 0
[blobs]
folder = "blobs"
[models]
folder = "models"
file_roots = ["/"]
allow_hosts = ["127.0.0.1"]
[bus]
folder = "bus"
[server]
port = 0
"""
THREADS: Final = Server().threads


@dataclass(frozen=True, slots=True)
class Running:
    """Where a server listens, and its processes."""

    host: str
    port: int
    folder: Path
    manager: subprocess.Popen[bytes]


KEY_ID: Final = KeyId("01900000-0000-7000-8000-000000000001")
KEY: Final = key_text(KEY_ID, "5" * 64)


def add_key(database_file: Path) -> None:
    """Let the server ask for keys, and take this one, of an admin."""
    store = Store(database_file)
    store.save(
        SaveKey(
            KeyRow(
                key_id=KEY_ID,
                name="bench",
                role=Role.ADMIN,
                digest=digest_of(KEY),
                created_at_ms=1,
                issued_at_ms=1,
            )
        )
    )
    store.commit()
    store.close()


def _fill_nothing(database_file: Path) -> None:
    """A server without jobs."""


@contextmanager
def server(
    before: Sequence[str] = (),
    filling: Callable[[Path], None] = _fill_nothing,
    models: str = "",
    bus: str = "",
) -> Iterator[Running]:
    """A fresh server with one ready model; its configuration is CONFIG. `before` goes before its command.

    `filling` puts more into the database, whose file it gets. `models` and `bus` are lines for
    these sections.
    """
    with TemporaryDirectory(prefix="spoon-") as name:
        folder = Path(name)
        config = CONFIG.replace("[models]\n", f"[models]\n{models}\n").replace("[bus]\n", f"[bus]\n{bus}\n")
        (folder / "spoon.toml").write_text(config)
        add_model(folder)
        filling(settings_in(folder).database_file)
        command = [*before, sys.executable, "-m", "kernel.main", "--with-api", "--fake-engines"]
        with (
            (folder / "log").open("wb") as log,
            process([*command, "--config", str(folder / "spoon.toml")], log.fileno()) as manager,
        ):
            url = urlsplit(_wait_for_url(folder))
            yield Running(url.hostname or "", url.port or 0, folder, manager)


def _wait_for_url(folder: Path) -> str:
    end_s = time.monotonic() + WAIT_S
    while not (folder / "bus" / API_URL_FILE).exists():
        if time.monotonic() > end_s:
            raise SystemExit(f"the server did not start:\n{(folder / 'log').read_text()}")
        time.sleep(0.02)
    return (folder / "bus" / API_URL_FILE).read_text().strip()
