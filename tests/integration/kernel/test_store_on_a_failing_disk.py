"""A disk that is full or broken at any write: the batch is there wholly or not at all, and never half.

When the very last sync fails, nobody can know which of the two it will be (the system may have written
the bytes all the same). That is why the Manager dies then and says nothing: its next start looks.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from kernel.core.actions import AddImage, AddJob, Save, SaveEngine, SaveReply
from kernel.protocol import client
from kernel.shell.store import Store
from tests.integration.kernel.failing_disk import Disk, failing_disk
from tests.integration.kernel.rows import BARE_ENGINE, LIMITED_IMAGE, NOW_MS, SPEC, WAITING_JOB
from tests.integration.kernel.saving import saved, seen_by_others

BATCH: list[Save] = [
    AddJob(WAITING_JOB, SPEC),
    AddImage(LIMITED_IMAGE),
    SaveReply("key", b"digest", client.Done(), NOW_MS),
]
COUNT_BATCH = """SELECT (SELECT count(*) FROM job) + (SELECT count(*) FROM image)
                      + (SELECT count(*) FROM idempotency)"""
ENOUGH = 60
"""More writes than the batch has."""


@pytest.fixture
def disk() -> Iterator[Disk]:
    with failing_disk() as found:
        yield found


@pytest.mark.sampled(1)
@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError], ids=["ENOSPC", "EIO"])
def test_a_batch_on_a_failing_disk_is_there_wholly_or_not_at_all(
    disk: Disk, tmp_path: Path, error: type[apsw.Error]
) -> None:
    failures = [_fails_at(disk, tmp_path / f"{n}.sqlite3", n, error) for n in range(ENOUGH)]

    assert failures[0], "the very first write should have failed"
    assert not failures[-1], "more writes should be tried: not even the last one came through"


def _fails_at(disk: Disk, database: Path, passing_writes: int, error: type[apsw.Error]) -> bool:
    """Save a batch of which so many writes pass. Returns: did it fail? Either way it must be whole."""
    store = Store(database)
    saved(store, SaveEngine(BARE_ENGINE))
    disk.fail_after(passing_writes, error)
    try:
        saved(store, *BATCH)
    except error:
        has_failed = True
    else:
        has_failed = False
    _die(disk, store)

    outcomes = [[(0,)], [(len(BATCH),)]] if has_failed else [[(len(BATCH),)]]
    assert seen_by_others(database, COUNT_BATCH) in outcomes
    assert seen_by_others(database, "SELECT count(*) FROM engine") == [(1,)]
    assert seen_by_others(database, "PRAGMA integrity_check") == [("ok",)]
    return has_failed


def test_after_the_disk_has_room_again_a_new_start_takes_the_same_batch(disk: Disk, tmp_path: Path) -> None:
    database = tmp_path / "spoon.sqlite3"
    store = Store(database)
    disk.fail_after(0, apsw.FullError)
    with pytest.raises(apsw.FullError):
        saved(store, *BATCH)
    _die(disk, store)

    again = Store(database)
    saved(again, *BATCH)
    again.close()

    assert seen_by_others(database, COUNT_BATCH) == [(len(BATCH),)]


def _die(disk: Disk, store: Store) -> None:
    """End the process that holds the database, as far as its files can tell; the disk is well afterwards."""
    with suppress(apsw.Error):  # the disk refuses the last checkpoint, too
        store.close()
    disk.heal()
