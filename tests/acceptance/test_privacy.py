"""What the server makes and holds is its user's alone, whoever starts it and however."""

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw
import pytest

from kernel.protocol.client import JobAccepted
from kernel.protocol.enums import InputKind, JobState
from kernel.protocol.ids import EngineId
from tests.acceptance.conftest import cleaned_up
from tests.acceptance.orders import PLAIN, create_engine, register_models, with_pictures, write_checkpoint
from tests.acceptance.patience import wait_for
from tests.acceptance.processes import API, MANAGER, WORKER
from tests.acceptance.server import Server

TOKEN: Final = "a-token-that-nobody-else-may-see"
VARIABLE: Final = "TOKEN_OF_THE_TEST"
OTHERS: Final = 0o077
KEPT: Final = ("database", "images", "blobs", "bus", "models")
"""The folders of an installation."""


@pytest.fixture
def fresh() -> Iterator[Server]:
    """A server with an empty folder, whose processes are started under no umask at all."""
    with (
        tempfile.TemporaryDirectory(prefix="spoon-") as name,
        cleaned_up(Server(Path(name), with_api=True)) as server,
    ):
        write_checkpoint(server.folder / "checkpoint.safetensors")
        server.umask = 0
        yield server


def a_finished_job(server: Server) -> str:
    """A job with a picture of its own. Returns: the name of the image's file."""
    engine_id = engine_of(server)
    pictures = {InputKind.REFERENCE: b"a picture"}
    accepted = server.line.ask(with_pictures(engine_id, pictures), JobAccepted, blobs=list(pictures.values()))
    assert server.records.wait_for_job(accepted.job_id).status is JobState.FINISHED
    return server.records.image(accepted.image_ids[0]).file_name


def engine_of(server: Server) -> EngineId:
    return create_engine(server.line, server.records.model_named(PLAIN))


def modes(server: Server) -> dict[str, int]:
    """The mode of everything that the server keeps."""
    paths = (path for name in KEPT for path in (server.folder / name, *(server.folder / name).rglob("*")))
    return {str(path.relative_to(server.folder)): stat.S_IMODE(path.lstat().st_mode) for path in paths}


def open_paths(server: Server) -> dict[str, str]:
    return {name: oct(mode) for name, mode in modes(server).items() if mode & OTHERS}


def shown(pid: int, name: str) -> bytes:
    """What the system tells of a process: to root all, to others not the environment of who hides it."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except PermissionError:
        return b""


def open_everything(server: Server) -> None:
    """As an older version left it, under the usual umask."""
    for name in modes(server):
        path = server.folder / name
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_all_that_a_server_makes_is_its_users_alone_under_any_umask(fresh: Server) -> None:
    fresh.start()
    register_models(fresh, fresh.folder / "checkpoint.safetensors")
    a_finished_job(fresh)
    endings = {Path(name).suffix for name in modes(fresh)}
    assert endings >= {".png", ".log", ".url", ".key_secret", ".lock", ".sqlite3", ".sqlite3-wal"}
    assert open_paths(fresh) == {}


def test_what_an_older_version_left_open_is_closed_once_and_a_person_may_open_it_again(
    fresh: Server,
) -> None:
    fresh.start()
    register_models(fresh, fresh.folder / "checkpoint.safetensors")
    image = fresh.images / a_finished_job(fresh)
    assert fresh.stop() == 0
    open_everything(fresh)
    own = fresh.images / "holiday.png"
    own.write_bytes(b"the person's own")
    with apsw.Connection(str(fresh.database_file)) as database:
        database.execute("DELETE FROM meta WHERE name = 'access'")
    fresh.start()
    assert set(open_paths(fresh)) == {"images/holiday.png", "models"} | bus_files(fresh)
    assert "action=access_set" in fresh.log_tail()

    assert fresh.stop() == 0
    for path in (fresh.images, image):
        path.chmod(0o755)
    fresh.start()
    assert {"images", f"images/{image.name}"} <= set(open_paths(fresh))


def bus_files(server: Server) -> set[str]:
    """What lies in the folder of the bus, which nobody else may enter."""
    return {name for name in open_paths(server) if name.startswith("bus/")}


def test_the_group_reads_pictures_and_nothing_else_where_the_setting_says_so(fresh: Server) -> None:
    fresh.start()
    register_models(fresh, fresh.folder / "checkpoint.safetensors")
    before = fresh.images / a_finished_job(fresh)
    assert fresh.stop() == 0
    fresh.configure(images="group_readable = true")
    fresh.start()
    after = fresh.images / a_finished_job(fresh)
    shared = {"images", *(f"images/{one.name}" for one in (before, after)), "images/.spoon-installation"}
    assert open_paths(fresh) == {name: "0o750" if name == "images" else "0o640" for name in shared}

    assert fresh.stop() == 0
    fresh.configure()
    fresh.start()
    assert open_paths(fresh) == {}


def test_a_token_is_in_no_environment_and_in_no_file(fresh: Server) -> None:
    fresh.variables[VARIABLE] = TOKEN
    fresh.configure(models=f'tokens = ["huggingface.co=env:{VARIABLE}"]')
    fresh.start()
    register_models(fresh, fresh.folder / "checkpoint.safetensors")
    a_finished_job(fresh)
    for module in (MANAGER, API, WORKER):
        living = wait_for(f"a process of {module}", lambda m=module: fresh.processes(m))
        for process in living:
            for name in ("environ", "cmdline"):
                assert TOKEN.encode() not in shown(process.pid, name)
    for path in fresh.folder.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
