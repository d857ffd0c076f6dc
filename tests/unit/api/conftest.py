from collections.abc import Iterator
from pathlib import Path

import pytest

from api.http.app import make_app
from api.hub import Hub
from conf.settings import Blobs, Bus, Database, Images, Models, Server, Settings, Thumbnails
from kernel.views.reader import Reader
from tests.unit.api.fake_bus import FakeBus
from tests.unit.api.stage import NOW_MS, Stage
from tests.unit.views.database import SampleDatabase


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    images = tmp_path / "images"
    images.mkdir()
    (tmp_path / "bus").mkdir()
    (tmp_path / "models/uploads").mkdir(parents=True)
    settings = Settings(
        database=Database(folder=tmp_path),
        images=Images(folder=images, min_free_bytes=0),
        blobs=Blobs(folder=tmp_path / "blobs"),
        thumbnails=Thumbnails(folder=tmp_path / "thumbnails"),
        bus=Bus(folder=tmp_path / "bus"),
        server=Server(max_streams=1, allowed_hosts=("studio",)),
        models=Models(folder=tmp_path / "models", folders=(tmp_path / "own",), max_size_bytes=100_000),
    )
    database = SampleDatabase(tmp_path / "spoon.sqlite3")
    reader, bus, hub = Reader(database.file), FakeBus(), Hub()
    yield Stage(settings, make_app(settings, bus, reader, hub, lambda: NOW_MS), bus, database, reader, hub)
    reader.close()
    database.close()
