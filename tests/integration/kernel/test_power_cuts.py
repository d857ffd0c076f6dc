"""Power cuts at any write: every commit that was reported is there, whole, when the power is back."""

from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import apsw
from msgspec.structs import replace

from kernel.core.actions import AddJob, RecordChange, Save, SaveJob
from kernel.protocol.enums import ChangeKind, JobState
from kernel.protocol.ids import EventSeq, JobId
from kernel.protocol.rows import ChangeRow
from kernel.shell.store import Store, migrate
from tests.integration.kernel.power import unsafe_power
from tests.integration.kernel.rows import NOW_MS, SPEC, WAITING_JOB
from tests.integration.kernel.saving import saved
from tests.sampling import count

CUTS = count(250, at_most=1_000)
MOST_JOBS = 6
"""In one batch, that is one commit."""
OPERATIONS = 300
"""The power goes within so many writes and syncs: after about a dozen batches at most."""
PAGES_BEFORE_CHECKPOINT = 40
"""Some commits: checkpoints are among what is cut off, and commits without one, which alone can be lost."""
COUNT_BY_BATCH = (
    "SELECT priority, count(*), sum(status = 'finished') FROM job GROUP BY priority ORDER BY priority"
)


@dataclass(frozen=True)
class Outcome:
    """What was reported, and what was found."""

    reported: list[int]
    """How many jobs the first, second ... batch has whose commit was reported."""
    found: list[tuple[int, int, int]]
    """By batch: its number, its jobs that are there, and how many of them are finished."""

    @property
    def is_lost(self) -> bool:
        """Is a batch that was reported not there?"""
        return len(self.found) < len(self.reported)


def batch(number: int, jobs: int) -> list[Save]:
    """A batch that adds jobs and finishes them. Its jobs bear its number as their priority."""
    saves: list[Save] = []
    for index in range(jobs):
        seq = number * 100 + index
        row = replace(WAITING_JOB, job_id=JobId(f"job-{seq}"), seq=seq, priority=number)
        saves += [AddJob(row, SPEC), SaveJob(replace(row, status=JobState.FINISHED, finished_at_ms=NOW_MS))]
        saves.append(RecordChange(ChangeRow(EventSeq(seq), ChangeKind.JOB, row.job_id, "finished", NOW_MS)))
    return saves


def cut_once(folder: Path, chance: Random, synchronous: str = "full") -> Outcome:
    """Work until the power goes, then look."""
    folder.mkdir()
    (folder / "spoon.sqlite3").write_bytes(_empty())
    reported: list[int] = []
    with unsafe_power() as power:
        store = Store(folder / "spoon.sqlite3")
        store.connection.pragma("synchronous", synchronous)
        store.connection.pragma("wal_autocheckpoint", PAGES_BEFORE_CHECKPOINT)
        power.cut_at = power.done + chance.randint(1, OPERATIONS)
        with suppress(apsw.Error):
            while True:
                jobs = chance.randint(1, MOST_JOBS)
                saved(store, *batch(len(reported), jobs))
                reported.append(jobs)
        with suppress(apsw.Error):
            store.close()
        power.restore(folder / "after", chance)
    return Outcome(reported, look(folder / "after" / "spoon.sqlite3"))


@cache
def _empty() -> bytes:
    """A database without rows: a thousand are needed, and migrating takes longer than the work on each."""
    with closing(apsw.Connection(":memory:")) as connection:
        migrate(connection)
        return connection.serialize("main")


def look(database: Path) -> list[tuple[int, int, int]]:
    """Open the database as the next start of the Manager does, and count."""
    store = Store(database)
    try:
        assert store.connection.pragma("integrity_check") == "ok"
        return list(store.connection.execute(COUNT_BY_BATCH))
    finally:
        store.close()


def test_no_reported_commit_is_lost_or_halved_by_a_power_cut(tmp_path: Path) -> None:
    for seed in range(CUTS):
        outcome = cut_once(tmp_path / str(seed), Random(seed))

        assert not outcome.is_lost, f"seed {seed}: {outcome}"
        for (number, jobs, finished), promised in zip(outcome.found, outcome.reported, strict=False):
            assert (jobs, finished) == (promised, promised), f"seed {seed}, batch {number}: {outcome}"
        assert len(outcome.found) <= len(outcome.reported) + 1, f"seed {seed}: {outcome}"
        assert all(jobs == finished for _, jobs, finished in outcome.found), f"seed {seed}: {outcome}"


def test_the_same_cuts_lose_commits_that_are_not_synced_each(tmp_path: Path) -> None:
    """Without this, the test above could pass because its power cuts cut nothing."""
    assert any(cut_once(tmp_path / str(seed), Random(seed), "normal").is_lost for seed in range(30))
