"""`spoon db` on a real database, in use and not."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from kernel.process.lock import FolderLock
from tests.integration.cli.command import Spoon

MIGRATIONS = Path(__file__).parents[3] / "kernel" / "shell" / "migrations"
DATABASE = Path("data/database/spoon.sqlite3")
IMAGES = Path("data/images")
PICTURE = b"a picture"


@pytest.fixture
def database(here: Spoon) -> Iterator[apsw.Connection]:
    """The database of a server that is running: one engine, one job, one picture."""
    DATABASE.parent.mkdir(parents=True)
    IMAGES.mkdir()
    for folder in (DATABASE.parent, IMAGES):
        folder.chmod(0o700)
    old_umask = os.umask(0o077)
    with closing(apsw.Connection(str(DATABASE))) as connection:
        connection.pragma("journal_mode", "wal")
        for step in sorted(MIGRATIONS.iterdir()):
            connection.execute(step.read_text(encoding="utf-8"))
        insert(connection, "model", model_id="m1", name="dreams", uri="file:///m", status="ready",
               model_type="checkpoint", tags="[]", trigger_words="[]", created_at_ms=1)  # fmt: skip
        insert(
            connection, "engine", engine_id="e1", spec='{"checkpoint":"m1"}', status="closed", created_at_ms=1
        )
        insert(connection, "job", job_id="j1", engine_id="e1", status="finished", priority=0, spec="{}",
               image_ids='["i1"]', attempts=1, crashes=0, warnings="[]", created_at_ms=1)  # fmt: skip
        insert(connection, "image", image_id="i1", job_id="j1", engine_id="e1", position=0,
               file_name="i1.png", mime="image/png", width_px=8, height_px=8, size_bytes=len(PICTURE),
               sha256=hashlib.sha256(PICTURE).hexdigest(), seed=1, downloads=0, created_at_ms=1)  # fmt: skip
        (IMAGES / "i1.png").write_bytes(PICTURE)
        os.umask(old_umask)
        yield connection


def insert(connection: apsw.Connection, table: str, **values: str | int) -> None:
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def test_a_running_server_is_backed_up_with_all_that_was_committed(
    here: Spoon, database: apsw.Connection, tmp_path: Path
) -> None:
    database.execute("BEGIN IMMEDIATE; UPDATE engine SET name = 'not committed'")
    ended = here("db", "backup", "copy.sqlite3")
    database.execute("ROLLBACK")
    assert ended.code == 0, ended.err
    with closing(apsw.Connection("copy.sqlite3", flags=apsw.SQLITE_OPEN_READONLY)) as copy:
        assert copy.execute("SELECT image_id FROM image").fetchall() == [("i1",)]
        assert copy.execute("SELECT name FROM engine").fetchall() == [(None,)]
    assert sorted(path.name for path in tmp_path.glob("*copy*")) == ["copy.sqlite3"]


def test_a_backup_is_the_owners_alone_whatever_the_umask(here: Spoon, database: apsw.Connection) -> None:
    ended = here("db", "backup", "copy.sqlite3")
    assert ended.code == 0, ended.err
    assert Path("copy.sqlite3").stat().st_mode & 0o777 == 0o600


def test_what_others_can_read_is_told_and_is_not_wrong(here: Spoon, database: apsw.Connection) -> None:
    IMAGES.chmod(0o750)
    (IMAGES / "i1.png").chmod(0o640)
    Path(f"{DATABASE}-wal").chmod(0o644)
    ended = here("db", "check", "--json")
    assert ended.code == 0
    paths = [f"{DATABASE}-wal", IMAGES, IMAGES / "i1.png"]
    assert json.loads(ended.out)["open"] == [str(Path(path).absolute()) for path in paths]


def test_what_the_group_may_read_is_not_called_open(here: Spoon, database: apsw.Connection) -> None:
    IMAGES.chmod(0o750)
    (IMAGES / "i1.png").chmod(0o640)
    here.environ["SPOON_IMAGES_GROUP_READABLE"] = "true"
    assert json.loads(here("db", "check", "--json").out)["open"] == []


def test_a_backup_never_overwrites(here: Spoon, database: apsw.Connection) -> None:
    Path("copy.sqlite3").write_bytes(b"mine")
    ended = here("db", "backup", "copy.sqlite3")
    assert (ended.code, Path("copy.sqlite3").read_bytes()) == (4, b"mine")


def test_a_backup_into_a_folder_that_is_not_there_says_so(here: Spoon, database: apsw.Connection) -> None:
    ended = here("db", "backup", "absent/copy.sqlite3")
    assert (ended.code, ended.err) == (4, "spoon: folder absent does not exist [conflict]\n")


def test_without_a_database_there_is_nothing_to_back_up(here: Spoon) -> None:
    ended = here("db", "backup", "copy.sqlite3")
    assert ended.code == 1
    assert "no database at" in ended.err
    assert not Path("copy.sqlite3").exists()


def test_a_sound_database_is_found_sound(here: Spoon, database: apsw.Connection) -> None:
    ended = here("db", "check", "--deep")
    assert (ended.code, ended.out) == (0, "files: 1, problems: 0, orphans: 0, accessible to other users: 0\n")


def test_a_stopped_server_is_checked_too(here: Spoon, database: apsw.Connection) -> None:
    database.close()
    assert here("db", "check").code == 0


def test_a_missing_file_is_wrong(here: Spoon, database: apsw.Connection) -> None:
    (IMAGES / "i1.png").unlink()
    ended = here("db", "check", "--json")
    assert ended.code == 1
    assert json.loads(ended.out)["wrong"] == [f"{IMAGES.absolute()}/i1.png is missing"]


def test_a_file_of_another_size_or_content_is_wrong(here: Spoon, database: apsw.Connection) -> None:
    (IMAGES / "i1.png").write_bytes(PICTURE[::-1])
    assert here("db", "check").code == 0
    assert "has changed since it was stored" in here("db", "check", "--deep").out
    (IMAGES / "i1.png").write_bytes(b"")
    assert "is 0 bytes long, expected 9" in here("db", "check").out


def test_a_picture_that_is_gone_needs_no_file(here: Spoon, database: apsw.Connection) -> None:
    database.execute("UPDATE image SET gone_reason = 'expired', gone_at_ms = 2")
    (IMAGES / "i1.png").unlink()
    assert here("db", "check").code == 0


def test_files_that_nobody_knows_are_listed_and_do_no_harm(here: Spoon, database: apsw.Connection) -> None:
    (IMAGES / "stranger.png").touch()
    (IMAGES / "going.png").touch()
    database.execute("INSERT INTO trash VALUES ('images/going.png', 1)")
    ended = here("db", "check")
    assert (ended.code, ended.out) == (
        0,
        "orphan: images/stranger.png\nfiles: 1, problems: 0, orphans: 1, accessible to other users: 0\n",
    )


def test_rows_that_point_at_nothing_are_wrong(here: Spoon, database: apsw.Connection) -> None:
    database.execute("DELETE FROM engine; DELETE FROM job")
    assert here("db", "check").out.splitlines()[0] == "problem: image i1 refers to a missing job"


def test_a_file_that_is_no_database_is_said_to_be_none(here: Spoon) -> None:
    DATABASE.parent.mkdir(parents=True)
    DATABASE.write_bytes(b"no database at all" * 100)
    ended = here("db", "check")
    assert ended.code == 1
    assert "cannot be read: " in ended.err
    assert ended.err.endswith("[database_unusable]\n")


def test_counts_that_are_wrong_are_told_with_the_way_out(here: Spoon, database: apsw.Connection) -> None:
    database.execute("UPDATE job_count SET count = 5; UPDATE image_count SET size_bytes = 1")
    ended = here("db", "check")
    assert ended.code == 1
    assert "the job counts of engine e1 are wrong; restart the server to correct them" in ended.out
    assert "the image counts of engine e1 are wrong" in ended.out


def test_a_database_of_a_version_without_counts_is_checked_too(
    here: Spoon, database: apsw.Connection
) -> None:
    for name in (
        "job_comes",
        "job_goes",
        "job_moves",
        "image_comes",
        "image_goes",
        "image_ends",
        "image_returns",
    ):
        database.execute(f"DROP TRIGGER {name}")
    database.execute(
        "DROP VIEW job_recount; DROP VIEW image_recount; DROP TABLE job_count; DROP TABLE image_count"
    )
    assert here("db", "check").code == 0


@pytest.fixture
def copy(here: Spoon, database: apsw.Connection) -> Path:
    """A backup of one image, while its database went on, has one more, and is not in use."""
    database.pragma("user_version", len(list(MIGRATIONS.iterdir())))
    assert here("db", "backup", "copy.sqlite3").code == 0
    database.execute("UPDATE engine SET name = 'later'")
    (IMAGES / "later.png").write_bytes(PICTURE)
    database.close()
    return Path("copy.sqlite3")


def name_of_engine(file: Path) -> str | None:
    with closing(apsw.Connection(str(file))) as connection:
        name = connection.execute("SELECT name FROM engine").get
        return None if name is None else str(name)


def test_a_backup_is_restored_and_the_old_database_is_kept(here: Spoon, copy: Path) -> None:
    ended = here("db", "restore", str(copy), "--yes")
    assert ended.code == 0, ended.err
    assert "1 image is unknown to the backup; the server deletes such images" in ended.err
    aside = DATABASE.with_name("spoon.sqlite3.old")
    assert ended.out == f"restored {DATABASE.absolute()}; the old database is {aside.absolute()}\n"
    assert (name_of_engine(DATABASE), name_of_engine(aside)) == (None, "later")
    assert DATABASE.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in DATABASE.parent.iterdir()} == {DATABASE.name, aside.name, "manager.lock"}
    assert here("db", "check").code == 0
    assert here("db", "restore", str(copy), "--yes").code == 0
    assert DATABASE.with_name("spoon.sqlite3.old1").exists()


def epoch_in(file: Path) -> int:
    with closing(apsw.Connection(str(file))) as connection:
        return int(connection.execute("SELECT value FROM meta WHERE name = 'epoch'").get or 0)


def test_the_manager_after_a_restoration_is_never_taken_for_one_before_it(
    here: Spoon, database: apsw.Connection, copy: Path
) -> None:
    """Its predecessor has been started again since the backup."""
    with closing(apsw.Connection(str(copy))) as backup:
        backup.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('epoch', 7)")
    assert here("db", "restore", str(copy), "--yes").code == 0
    first = epoch_in(DATABASE)
    assert first > 1_000_000
    with closing(apsw.Connection(str(copy))) as backup:
        backup.execute("UPDATE meta SET value = ? WHERE name = 'epoch'", (10 * first,))
    assert here("db", "restore", str(copy), "--yes").code == 0
    assert epoch_in(DATABASE) == 10 * first, "the clock was wrong once, and is not believed"


def test_what_is_only_in_the_log_of_the_old_database_is_kept_too(
    here: Spoon, database: apsw.Connection
) -> None:
    database.pragma("user_version", 1)
    assert here("db", "backup", "copy.sqlite3").code == 0
    database.wal_autocheckpoint(0)
    database.execute("UPDATE engine SET name = 'in the log'")
    files = {path.name: path.read_bytes() for path in DATABASE.parent.iterdir()}
    database.close()
    for name, data in files.items():  # as after kill -9
        DATABASE.with_name(name).write_bytes(data)
    assert here("db", "restore", "copy.sqlite3", "--yes").code == 0
    assert name_of_engine(DATABASE.with_name("spoon.sqlite3.old")) == "in the log"
    assert name_of_engine(DATABASE) is None


def test_a_damaged_database_is_replaced_and_kept_with_its_log(here: Spoon, copy: Path) -> None:
    DATABASE.write_bytes(b"damaged" * 1_000)
    DATABASE.with_name("spoon.sqlite3-wal").write_bytes(b"log")
    assert here("db", "restore", str(copy), "--yes").code == 0
    assert DATABASE.with_name("spoon.sqlite3.old").read_bytes() == b"damaged" * 1_000
    assert DATABASE.with_name("spoon.sqlite3.old-wal").read_bytes() == b"log"
    assert here("db", "check").code == 0


def test_a_new_installation_takes_a_backup_without_a_question(here: Spoon, copy: Path) -> None:
    for folder in (DATABASE.parent, IMAGES):
        shutil.rmtree(folder)
    assert here("db", "restore", str(copy)).out == f"restored {DATABASE.absolute()}\n"
    assert name_of_engine(DATABASE) is None


def test_nothing_is_restored_while_a_manager_runs(here: Spoon, copy: Path) -> None:
    lock = FolderLock(DATABASE.parent)
    ended = here("db", "restore", str(copy), "--yes")
    lock.release()
    assert ended.code != 0
    assert "is in use by a Manager" in ended.err
    assert name_of_engine(DATABASE) == "later"


def test_nothing_is_restored_without_consent(
    here: Spoon, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert here("db", "restore", str(copy)).code == 2
    assert name_of_engine(DATABASE) == "later"
    assert not list(DATABASE.parent.glob("*.part"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("PRAGMA user_version = 999", "has schema 999, but this version supports"),
        ("DROP TABLE image", "is not a backup of automatic-spoon"),
        (b"no database at all" * 100, "cannot be read"),
        (b"", "is not a backup of automatic-spoon"),
    ],
)
def test_what_is_no_backup_is_refused_and_nothing_changes(
    here: Spoon, copy: Path, change: str | bytes, why: str
) -> None:
    if isinstance(change, bytes):
        copy.write_bytes(change)
    else:
        with closing(apsw.Connection(str(copy))) as connection:
            connection.execute(change)
    ended = here("db", "restore", str(copy), "--yes")
    assert ended.code == 1
    assert why in ended.err
    assert name_of_engine(DATABASE) == "later"
    assert not list(DATABASE.parent.glob("*.old"))


def test_a_damaged_backup_is_refused(here: Spoon, copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    for page in range(2 * 4096, len(data), 4096):
        data[page : page + 200] = b"\xff" * 200
    copy.write_bytes(data)
    ended = here("db", "restore", str(copy), "--yes")
    assert ended.code == 1
    assert name_of_engine(DATABASE) == "later"


def test_a_backup_of_the_first_version_is_restored(here: Spoon, copy: Path) -> None:
    with closing(apsw.Connection("first.sqlite3")) as connection:
        connection.execute(next(iter(sorted(MIGRATIONS.iterdir()))).read_text(encoding="utf-8"))
        connection.pragma("user_version", 1)
    ended = here("db", "restore", "first.sqlite3", "--yes")
    assert ended.code == 0, ended.err
