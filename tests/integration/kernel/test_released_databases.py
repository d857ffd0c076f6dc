"""Databases that releases have left: killed while they are migrated, and asked for old answers."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import pytest

from kernel.protocol import client
from kernel.protocol.specs import JobRequest
from kernel.shell.state_reader import StateReader
from kernel.shell.store import Store, migrations
from tests.acceptance.releases.recording import KILLED, STOPPED, read_recording, recorded_versions, unpack


def content(file: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    with closing(apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        assert connection.pragma("integrity_check") == "ok"
        tables = [
            str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return {name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr) for name in tables}


@pytest.mark.exhaustive
@pytest.mark.parametrize("version", recorded_versions())
def test_a_migration_that_is_killed_at_any_statement_comes_to_the_same_at_the_next_start(
    version: str, tmp_path: Path
) -> None:
    unpack(version, KILLED, tmp_path)
    database = tmp_path / "database/spoon.sqlite3"
    command = [
        sys.executable,
        "-m",
        "tests.integration.kernel.killed_migrations",
        database,
        tmp_path / "copies",
    ]
    kills = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    expected = content(tmp_path / "copies" / str(kills) / database.name)
    found_at = set()
    for number in range(kills):
        file = tmp_path / "copies" / str(number) / database.name
        with closing(apsw.Connection(str(file))) as connection:
            found_at.add(int(connection.pragma("user_version")))
        Store(file).close()
        assert content(file) == expected
    assert found_at == set(range(read_recording(version).schema, len(migrations()) + 1))


@pytest.mark.parametrize("version", recorded_versions())
def test_a_key_of_a_release_still_has_its_answer(version: str, tmp_path: Path) -> None:
    unpack(version, STOPPED, tmp_path)
    with closing(Store(tmp_path / "database/spoon.sqlite3")) as store:
        reader = StateReader(store.connection)
        answers = [
            (
                reply.answer,
                reader.facts(f"http:{reply.key}", client.SubmitJob(request=JobRequest())).stored_reply,
            )
            for reply in read_recording(version).stopped.replies
        ]
    for said, stored in answers:
        assert stored is not None
        now = msgspec.json.decode(msgspec.json.encode(stored.reply))
        ids = {"model_id", "engine_id", "job_id", "image_ids"} & said.keys() & now.keys()
        assert {name: now[name] for name in ids} == {name: said[name] for name in ids}
