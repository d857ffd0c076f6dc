"""A standby worker takes the engine that is started next, and another one takes its place."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from engine_worker.embedded.random_checkpoint import write_random_checkpoint
from kernel.protocol.enums import ModelBase
from tests.acceptance.conftest import cleaned_up
from tests.acceptance.image_server import PATIENCE_S, ImageServer, opened_image_server
from tests.acceptance.patience import wait_for
from tests.acceptance.server import Server

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="spoon-") as name:
        yield Path(name)


def taken(image_server: ImageServer) -> list[tuple[str, str]]:
    """Which standby became which worker, as the Manager's log has it."""
    return re.findall(r"standby_taken name=(\S+) worker_id=(\S+)", (image_server.folder / "log").read_text())


def waits(image_server: ImageServer, name: str) -> bool:
    return f"standby_started name={name} " in (image_server.folder / "log").read_text()


def test_each_engine_that_starts_takes_the_one_that_waits() -> None:
    with opened_image_server() as image_server:
        write_random_checkpoint(image_server.folder / "sd.safetensors", base=ModelBase.SD, seed=7)
        image_server.register("checkpoint", "sd", (image_server.folder / "sd.safetensors").as_uri())
        for name, standby in (("first", "standby-1"), ("second", "standby-2")):
            wait_for("a standby", partial(waits, image_server, standby), PATIENCE_S)
            image_server.create_engine(name, "sd")
            image_server.draw(engine=name)
            assert taken(image_server)[-1][0] == standby
            worker_id = taken(image_server)[-1][1]
            log = image_server.folder / "database" / "logs" / f"{worker_id}.log"
            assert "action=engine_ready" in log.read_text()


def test_when_memory_is_scarce_or_none_is_wanted_there_is_none(folder: Path) -> None:
    with cleaned_up(Server(folder, has_fakes=False)) as server:
        for lines in ("standby = 0", 'standby_min_free = "100TB"'):
            server.configure(engines=lines)
            server.start()
            assert server.line.status().standbys == 0
            assert server.stop() == 0


def test_one_that_waits_is_shown_and_ends_with_the_server(folder: Path) -> None:
    with cleaned_up(Server(folder, has_fakes=False)) as server:
        server.start()
        assert server.line.status().standbys == 1
        (standby,) = server.processes("engine_worker.main")
        server.kill()
        server.start()
        (other,) = server.processes("engine_worker.main")
        assert other.pid != standby.pid
        assert server.stop() == 0
        wait_for("the end of the standby", lambda: not server.processes())
