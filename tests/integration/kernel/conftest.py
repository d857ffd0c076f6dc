"""What the tests of the Manager's hands share: a database, a bus, folders with short names."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kernel.shell.state_reader import StateReader
from kernel.shell.store import Store
from tests.integration.kernel.small_bus import SmallBus


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose sockets' paths fit into the 107 bytes that an ipc path may have."""
    with tempfile.TemporaryDirectory(prefix="spoon-") as folder:
        yield Path(folder)


@pytest.fixture
def bus(short_folder: Path) -> Iterator[SmallBus]:
    with SmallBus.opened(short_folder / "bus") as found:
        yield found


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "spoon.sqlite3"


@pytest.fixture
def open_store(database: Path) -> Iterator[Callable[[], Store]]:
    """Opens the database anew; whatever was opened is closed in the end."""
    opened: list[Store] = []

    def open_it() -> Store:
        opened.append(Store(database))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    return open_store()


@pytest.fixture
def state_reader(store: Store) -> StateReader:
    return StateReader(store.connection)
