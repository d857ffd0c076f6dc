"""An upgrade that is killed at any moment goes on at the next start, and comes to the same."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from kernel.shell.store import Store, migrations
from tests.acceptance.releases.recording import KILLED, read_recording, recorded_versions, unpack


def content(file: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    with closing(apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        assert connection.pragma("integrity_check") == "ok"
        tables = [
            str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return {name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr) for name in tables}


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
