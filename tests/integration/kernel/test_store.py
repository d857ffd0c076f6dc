"""The database as a file: how it opens, what it refuses, and when others see what was saved."""

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from kernel.core.actions import AddJob, RecordChange, SaveEngine, SaveReply
from kernel.protocol.client import Done
from kernel.protocol.enums import ChangeKind
from kernel.protocol.errors import DatabaseUnusable
from kernel.protocol.ids import EventSeq
from kernel.protocol.rows import ChangeRow
from kernel.shell.rowmap import to_json
from kernel.shell.store import Store, check_sqlite_version, migrations
from kernel.views.images import PLACES, ImageFilter, list_images
from kernel.views.jobs import JobFilter, list_jobs
from kernel.views.reader import Reader
from tests.architecture.source_files import ROOT
from tests.integration.kernel.rows import BARE_ENGINE, SPEC, WAITING_JOB
from tests.integration.kernel.saving import saved, seen_by_others

BEFORE_SEARCH = 9
SCHEMA = Path(__file__).with_name("schema.txt")


def test_the_migrations_lead_to_the_schema(store: Store) -> None:
    """schema.txt is what a reader of a change looks at; this test prints the whole text when it differs."""
    assert described(store.connection) == SCHEMA.read_text().rstrip("\n")


def described(connection: apsw.Connection) -> str:
    """Every table with its columns, and every index, trigger and view."""
    lines: list[str] = []
    tables = connection.execute(
        "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%' "
        "ORDER BY name"
    )
    for table, is_strict in tables:
        lines.append(f"{table}{' (strict)' if is_strict else ''}")
        for name, kind, is_needed, is_key in connection.execute(
            'SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (table,)
        ):
            traits = " ".join([kind, *["NOT NULL"] * is_needed, *["PRIMARY KEY"] * is_key])
            lines.append(f"    {name}: {traits}")
    indexes = connection.execute(
        "SELECT sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL ORDER BY type, name"
    )
    return "\n".join([*lines, *(sql for (sql,) in indexes)])


def test_every_step_is_numbered_without_a_gap() -> None:
    assert list(migrations()) == list(range(1, len(migrations()) + 1))
    files = list((ROOT / "kernel/shell/migrations").glob("*.sql"))
    assert len(files) == len(migrations()), "two have the same number"


def test_a_database_of_every_older_schema_becomes_the_present_one(database: Path, tmp_path: Path) -> None:
    fresh = Store(tmp_path / "fresh.sqlite3")
    for number in migrations():
        file = tmp_path / f"from-{number}.sqlite3"
        old = apsw.Connection(str(file))
        for step in range(1, number + 1):
            old.execute(migrations()[step])
        old.pragma("user_version", number)
        old.close()

        upgraded = Store(file)
        assert described(upgraded.connection) == described(fresh.connection)
        upgraded.close()
    fresh.close()


def test_what_was_there_before_the_index_is_found(database: Path) -> None:
    old = apsw.Connection(str(database))
    for step in range(1, BEFORE_SEARCH + 1):
        old.execute(migrations()[step])
    old.execute(
        "INSERT INTO job (seq, job_id, engine_id, status, priority, spec, image_ids, attempts, crashes,"
        " warnings, created_at_ms) VALUES (7, 'j', 'e', 'waiting', 0, ?, '[]', 0, 0, '[]', 5)",
        (to_json(SPEC),),
    )
    old.execute(
        "INSERT INTO image (image_id, job_id, engine_id, position, file_name, mime, width_px, height_px,"
        " size_bytes, sha256, seed, downloads, created_at_ms)"
        " VALUES ('i', 'j', 'e', 3, 'i.png', 'image/png', 8, 8, 1, '', 42, 0, 6)"
    )
    old.pragma("user_version", BEFORE_SEARCH)
    old.close()

    Store(database).close()

    reader = Reader(database)
    assert [row.seq for row in list_jobs(reader, JobFilter(seed=SPEC.seed), 9).items] == [7]
    found = list_images(reader, ImageFilter(seed=42, created_before_ms=7, prompt=SPEC.prompt), 0, 9).items
    assert [(row.image_id, row.place) for row in found] == [("i", 7 * PLACES + 3)]
    reader.close()


def test_opening_again_changes_nothing_and_counts_the_start(open_store: Callable[[], Store]) -> None:
    first = open_store()
    epoch, schema = first.next_epoch(), described(first.connection)
    first.close()

    again = open_store()

    assert again.next_epoch() == epoch + 1
    assert described(again.connection) == schema


@pytest.mark.parametrize("change", ["UPDATE meta SET value = value + 1", "DELETE FROM meta"])
def test_the_first_start_of_another_version_forgets_which_request_each_key_had(
    open_store: Callable[[], Store], change: str
) -> None:
    first = open_store()
    saved(first, SaveReply("key", b"digest", Done(), 1))
    first.close()
    again = open_store()
    digest = "SELECT digest FROM idempotency"
    assert again.connection.execute(digest).get == b"digest"

    again.connection.execute(f"{change} WHERE name = 'version'")
    again.close()

    assert open_store().connection.execute(digest).get == b""


def test_a_start_counts_anew_what_was_miscounted(open_store: Callable[[], Store]) -> None:
    first = open_store()
    saved(first, AddJob(WAITING_JOB, SPEC))
    first.connection.execute("UPDATE job_count SET count = 9; INSERT INTO image_count VALUES ('e', 1, 1, 1)")
    first.close()

    again = open_store()

    assert again.connection.execute("SELECT sum(count) FROM job_count").get == 1
    assert again.connection.execute("SELECT count(*) FROM image_count").get == 0


def test_a_database_of_a_newer_version_is_refused_untouched(
    database: Path, open_store: Callable[[], Store]
) -> None:
    open_store().close()
    newer = apsw.Connection(str(database))
    newer.pragma("user_version", len(migrations()) + 1)
    newer.close()

    with pytest.raises(DatabaseUnusable, match=": upgrade"):
        open_store()
    assert seen_by_others(database, "PRAGMA user_version") == [(len(migrations()) + 1,)]


def test_a_file_that_is_no_database_is_refused(database: Path, open_store: Callable[[], Store]) -> None:
    database.write_bytes(b"no database, but 4 KiB long\n" * 200)

    with pytest.raises(DatabaseUnusable, match=str(database)) as refused:
        open_store()
    assert "restore a backup" in refused.value.detail
    assert database.read_bytes().startswith(b"no database"), "it may be somebody's"


def test_a_damaged_database_is_refused(database: Path, open_store: Callable[[], Store]) -> None:
    store = open_store()
    saved(store, *(_change(number) for number in range(1, 400)))
    store.connection.pragma("wal_checkpoint")
    store.close()
    pages = bytearray(database.read_bytes())
    for start in range(4096 * 2, len(pages), 4096):
        pages[start : start + 64] = b"\xff" * 64
    database.write_bytes(pages)

    with pytest.raises(DatabaseUnusable):
        open_store()


@pytest.mark.parametrize("old", ["3.51.2", "3.50.4", "3.9.99"])
def test_an_sqlite_that_can_corrupt_a_wal_is_refused(old: str) -> None:
    with pytest.raises(DatabaseUnusable, match=f"SQLite {old} is too old"):
        check_sqlite_version(old)


@pytest.mark.parametrize("new", ["3.51.3", "3.52.0", "4.0.0"])
def test_a_newer_sqlite_is_taken(new: str) -> None:
    check_sqlite_version(new)


def test_a_commit_survives_a_power_cut_because_wal_and_full_are_on(store: Store) -> None:
    full = 2
    assert store.connection.pragma("journal_mode") == "wal"
    assert store.connection.pragma("synchronous") == full


def test_others_see_a_batch_only_when_it_is_committed_and_then_all_of_it(
    store: Store, database: Path
) -> None:
    count_all = "SELECT (SELECT count(*) FROM job), (SELECT count(*) FROM engine)"
    store.save(SaveEngine(BARE_ENGINE))
    store.save(AddJob(WAITING_JOB, SPEC))
    assert seen_by_others(database, count_all) == [(0, 0)]

    store.commit()
    assert seen_by_others(database, count_all) == [(1, 1)]


def test_a_batch_that_was_never_committed_is_gone_after_a_crash(
    database: Path, open_store: Callable[[], Store]
) -> None:
    store = open_store()
    saved(store, SaveEngine(BARE_ENGINE))
    store.save(AddJob(WAITING_JOB, SPEC))
    store.connection.close(force=True)

    assert seen_by_others(database, "SELECT count(*) FROM engine") == [(1,)]
    assert seen_by_others(database, "SELECT count(*) FROM job") == [(0,)]


def test_a_commit_without_a_batch_is_nothing(store: Store) -> None:
    store.commit()
    store.commit()


def _change(number: int) -> RecordChange:
    return RecordChange(ChangeRow(EventSeq(number), ChangeKind.JOB, "x" * 200, "waiting", 0))
