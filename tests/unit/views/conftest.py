from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.views.reader import Reader
from tests.unit.views.database import SampleDatabase


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SampleDatabase]:
    made = SampleDatabase(tmp_path / "spoon.sqlite3")
    yield made
    made.close()


@pytest.fixture
def reader(database: SampleDatabase) -> Iterator[Reader]:
    made = Reader(database.file)
    yield made
    made.close()
