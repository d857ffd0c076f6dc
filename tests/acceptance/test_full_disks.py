"""Disks that are really full, one or both: what was acknowledged waits for room, and is then made once."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from kernel.protocol.enums import JobState
from tests.acceptance.checks import assert_whole
from tests.acceptance.orders import PLAIN, create_engine, submit
from tests.acceptance.patience import wait_for
from tests.acceptance.server import Server

DISK_BYTES: Final = 24 << 20
JOBS: Final = 8
EXIT_DISK: Final = 74
LIVES: Final = 3
"""So often the Manager is started on a full disk, as a supervisor would."""


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """The folder on a small disk of its own, with what it held."""
    held = folder.with_name(f"{folder.name}-before")
    folder.rename(held)
    folder.mkdir(0o700)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "none", str(folder)], check=False
    )
    try:
        if made.returncode != 0:
            pytest.skip("disks can only be mounted by root")
        subprocess.run(["cp", "-a", f"{held}/.", str(folder)], check=True)
        yield
    finally:
        if made.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def disks(server: Server) -> Iterator[tuple[Path, Path]]:
    """The folders of the images and of the database, each on a disk of its own."""
    folders = server.images, server.database_file.parent
    server.start()
    assert server.stop() == 0
    with disk(folders[0]), disk(folders[1]):
        yield folders
        server.close()


def fill(folder: Path) -> Path:
    """Leave no byte free. Returns: what takes all the room."""
    filler = folder / ".filler"
    with filler.open("ab", buffering=0) as stream:
        for size_bytes in (1 << 20, 4096, 1):
            with suppress(OSError):
                while True:
                    stream.write(bytes(size_bytes))
    assert shutil.disk_usage(folder).free == 0
    return filler


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("full", ["images", "database", "images and database"])
def test_a_queue_outlives_full_disks(server: Server, disks: tuple[Path, Path], go: Path, full: str) -> None:
    server.start()
    engine = create_engine(server.line, server.records.model_named(PLAIN))
    accepted = [submit(server.line, engine, f"[until {go}]", count=2) for _ in range(JOBS)]
    server.records.wait_for_job(accepted[0].job_id, JobState.PROCESSING)

    fillers = [fill(folder) for folder in disks if folder.name in full]
    go.touch()
    lives = live_on_full_disks(server, is_database_full="database" in full)
    states = Counter(job.status for job in server.records.jobs())
    for filler in fillers:
        filler.unlink()
    if "database" in full:
        server.start()
    jobs = [server.records.wait_for_job(one.job_id) for one in accepted]

    print(f"{full} full, {lives} lives: {dict(states)}, then {dict(Counter(job.status for job in jobs))}")
    assert states[JobState.FAILED] == 0
    assert [(job.status, job.error_code) for job in jobs] == [(JobState.FINISHED, None)] * JOBS
    assert {job.job_id: job.image_ids for job in server.records.jobs()} == {
        one.job_id: one.image_ids for one in accepted
    }
    assert server.records.wait_for_job(submit(server.line, engine).job_id).status is JobState.FINISHED
    assert_whole(server)


def live_on_full_disks(server: Server, *, is_database_full: bool) -> int:
    """What happens while nobody makes room. Returns: how many Managers there were."""
    if not is_database_full:

        def is_held() -> bool:
            return any(job.error_code == "disk_full" for job in server.records.jobs())

        wait_for("a job that waits for the disk", is_held)
        assert server.line.status().is_disk_low
        return 1
    assert server.exit_code() == EXIT_DISK
    for _ in range(LIVES - 1):
        server.launch()
        assert server.exit_code() == EXIT_DISK
    return LIVES
