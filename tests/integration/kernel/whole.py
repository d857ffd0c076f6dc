"""What must be true of an installation whose Manager has stopped, whatever happened to it."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import apsw
from msgspec.structs import replace

from kernel.protocol import client
from kernel.protocol.ids import JobId
from kernel.shell.files import INSTALLATION_FILE
from tests.integration.kernel.lives import Story, Tell, World, settings_of
from tests.integration.kernel.steps import BASE


def assert_whole(world: World) -> None:
    """Every row has its file, every file its row, nothing is open, nothing promised is lost or doubled."""
    database = apsw.Connection(
        str(settings_of(world.folder).database_file), flags=apsw.SQLITE_OPEN_READONLY, vfs=BASE
    )
    try:
        assert database.pragma("integrity_check") == "ok"
        _assert_jobs(world, database)
        for folder, where in (("images", "WHERE gone_reason IS NULL"), ("blobs", "")):
            rows = database.execute(f"SELECT file_name, size_bytes, sha256 FROM {folder[:-1]} {where}")
            _assert_files(world.folder / folder, rows)
        _assert_models(world.folder / "models", database)
        assert list(database.execute("SELECT file_name FROM trash")) == []
        assert list(database.execute("SELECT 1 FROM blob WHERE job_id NOT IN (SELECT job_id FROM job)")) == []
    finally:
        database.close()


def _assert_jobs(world: World, database: apsw.Connection) -> None:
    """Each job that a client was told of is there once, unless it was deleted; and no other one."""
    promised, deleted = _promised(world), _deleted(world)
    found = list(database.execute("SELECT job_id, status, image_ids FROM job"))
    assert sorted(job_id for job_id, _, _ in found) == sorted(promised - deleted)
    assert {status for _, status, _ in found} <= {"finished", "failed", "cancelled"}
    lacking = """SELECT job.job_id FROM job LEFT JOIN image USING (job_id) WHERE job.status = 'finished'
                 GROUP BY job.job_id HAVING count(image_id) <> json_array_length(image_ids)"""
    assert list(database.execute(lacking)) == []
    twice = "SELECT 1 FROM image GROUP BY job_id, position HAVING count(*) > 1"
    assert list(database.execute(twice)) == []


def _promised(world: World) -> set[JobId]:
    return {one.reply.job_id for one in world.told if isinstance(one.reply, client.JobAccepted)}


def _deleted(world: World) -> set[JobId]:
    deleted = {one.tell.ask.job_id for one in world.told if isinstance(one.tell.ask, client.DeleteJob)}
    are_all = any(isinstance(one.tell.ask, client.DeleteEngine) for one in world.told)
    return deleted | _promised(world) if are_all else deleted


def _assert_files(folder: Path, rows: Iterable[tuple[str, int, str]]) -> None:
    wanted = {name: (size_bytes, sha256) for name, size_bytes, sha256 in rows}
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != INSTALLATION_FILE}
    assert {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()} == wanted


def _assert_models(folder: Path, database: apsw.Connection) -> None:
    """What is kept belongs to a model that is ready, and nothing is left of how it came."""
    assert set(database.execute("SELECT DISTINCT status FROM model")) <= {("ready",)}
    wanted = {name for (name,) in database.execute("SELECT stored FROM model WHERE stored IS NOT NULL")}
    places = [place for kind in ("files", "trees") for place in (folder / kind).iterdir()]
    assert {f"{place.parent.name}/{place.name}" for place in places} == wanted
    for place in places:
        content = place / "unet/model" if place.is_dir() else place
        assert hashlib.sha256(content.read_bytes()).hexdigest() == place.stem
    assert list((folder / "incoming").iterdir()) == []
    is_taken = bool(list(database.execute("SELECT 1 FROM model WHERE uri LIKE 'upload:%'")))
    assert len(list((folder / "uploads").iterdir())) == (0 if is_taken else 1)


def the_same_again(world: World) -> Story:
    """Every command of the last days comes once more: nothing changes, and the answers are the same."""
    for one in [told for told in world.told if told.calendar_s == world.calendar_s]:
        reply = yield Tell(one.tell.ask, one.tell.blobs, one.key)
        if isinstance(reply, client.JobAccepted) and reply.spec is None:
            assert reply.job_id in _deleted(world), "the spec is in the job's row, as long as there is one"
            reply = replace(reply, engine_id=one.reply.engine_id, spec=one.reply.spec)
        assert reply == one.reply, one
