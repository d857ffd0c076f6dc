"""A server for each test, in a copy of an installation whose models are registered already."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kernel.protocol.ids import EngineId, ModelId
from tests.acceptance.orders import PLAIN, create_engine, register_models, write_checkpoint
from tests.acceptance.server import Server


@pytest.fixture(scope="session")
def installed() -> Iterator[Path]:
    """A folder with models and without engines. Its name is short: an ipc path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="spoon-") as name:
        folder = Path(name)
        write_checkpoint(folder / "checkpoint.safetensors")
        with cleaned_up(Server(folder)) as server:
            server.start()
            register_models(server, folder / "checkpoint.safetensors")
            assert server.stop() == 0
        (folder / "log").unlink()
        shutil.rmtree(folder / "database" / "logs")
        yield folder


@contextmanager
def copy_of(installed: Path) -> Iterator[Path]:
    """An installation like it, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="spoon-") as name:
        shutil.copytree(installed, name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.ipc"))
        yield Path(name)


@contextmanager
def cleaned_up(server: Server) -> Iterator[Server]:
    """Whatever the test does with it, nothing of it runs afterwards. A failed test shows its log."""
    try:
        yield server
    finally:
        server.close()
        print(server.log_tail())


@pytest.fixture
def folder(installed: Path) -> Iterator[Path]:
    """The folder of the test's server."""
    with copy_of(installed) as folder:
        yield folder


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """A Manager alone, which the test configures and starts."""
    with cleaned_up(Server(folder)) as server:
        yield server


@pytest.fixture
def server_with_api(folder: Path) -> Iterator[Server]:
    """A Manager that runs the API, too, on a port of its own."""
    with cleaned_up(Server(folder, with_api=True)) as server:
        yield server


@pytest.fixture
def address(server_with_api: Server) -> str:
    """That of its API, which runs."""
    server_with_api.start()
    return f"http://127.0.0.1:{server_with_api.port}"


@pytest.fixture
def other_server(installed: Path) -> Iterator[Server]:
    """One more, with a folder of its own."""
    with copy_of(installed) as folder, cleaned_up(Server(folder)) as server:
        yield server


@pytest.fixture
def plain(server: Server) -> ModelId:
    """The model whose engines behave until a prompt tells them otherwise."""
    return server.records.model_named(PLAIN)


@pytest.fixture
def engine(server: Server, plain: ModelId) -> EngineId:
    """An engine on a server that is started for it: jobs start the engine."""
    server.start()
    return create_engine(server.line, plain)


@pytest.fixture
def go(folder: Path) -> Path:
    """Jobs with `[until ...]` this file wait for it."""
    return folder / "go"


@pytest.fixture
def kills() -> int:
    """How many processes test_kills.py kills: KILLS in the environment, or what every run can afford."""
    return int(os.environ.get("KILLS", "60"))


@pytest.fixture
def kill_seed() -> int:
    """Where its chance begins: KILL_SEED in the environment, or each time somewhere else."""
    return int(os.environ.get("KILL_SEED", time.time_ns()))
