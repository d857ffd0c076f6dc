"""Disks that fail under a running server: what is not safe is not acknowledged, and nothing half is left."""

import os
import resource
from pathlib import Path

from kernel.protocol.client import DeleteImage, Done, JobAccepted
from kernel.protocol.enums import JobState
from kernel.protocol.ids import EngineId
from tests.acceptance.checks import assert_whole
from tests.acceptance.line import command
from tests.acceptance.orders import a_job, submit
from tests.acceptance.patience import wait_for
from tests.acceptance.server import Server

EXIT_DISK = 74


def test_a_manager_that_cannot_commit_says_nothing_and_dies_and_its_next_life_knows_nothing_of_it(
    server: Server, engine: EngineId
) -> None:
    """A limit on the size of files stands for a disk that is full: the write-ahead log cannot grow."""
    first = submit(server.line, engine)
    server.records.wait_for_job(first.job_id, JobState.FINISHED)
    wal_bytes = server.database_file.with_name(f"{server.database_file.name}-wal").stat().st_size
    assert server.manager is not None
    resource.prlimit(server.manager.pid, resource.RLIMIT_FSIZE, (wal_bytes, resource.RLIM_INFINITY))

    server.line.say(command(a_job(engine, "never acknowledged"), "the key"))

    assert server.exit_code() == EXIT_DISK
    assert server.line.hear(0.5) is None
    assert [job.job_id for job in server.records.jobs()] == [first.job_id]

    server.start()
    again = server.line.ask(a_job(engine, "never acknowledged"), JobAccepted, key="the key")
    server.records.wait_for_job(again.job_id, JobState.FINISHED)
    assert len(server.records.jobs()) == 2
    assert_whole(server)


def test_a_queue_waits_for_a_disk_that_takes_no_pictures_and_goes_on_by_itself(
    server: Server, engine: EngineId, go: Path
) -> None:
    accepted = [submit(server.line, engine, f"[until {go}]", count=2) for _ in range(6)]
    server.records.wait_for_job(accepted[0].job_id, JobState.PROCESSING)
    away = server.images.with_name("away")
    server.images.rename(away)
    go.touch()

    def is_set_aside() -> bool:
        job = server.records.job(accepted[0].job_id)
        return (job.status, job.error_code) == (JobState.WAITING, "disk_full")

    wait_for("the first job to be set aside", is_set_aside)
    assert os.strerror(2) in (server.records.job(accepted[0].job_id).error or "")
    away.rename(server.images)

    jobs = [server.records.wait_for_job(one.job_id) for one in accepted]
    assert [(job.status, job.error_code) for job in jobs] == [(JobState.FINISHED, None)] * len(jobs)
    assert jobs[-1].attempts == 1, "no job ran into the disk that others had found full"
    assert_whole(server)


def test_a_picture_is_written_after_all_when_the_disk_comes_back(
    server: Server, engine: EngineId, go: Path
) -> None:
    accepted = submit(server.line, engine, f"[until {go}]")
    server.records.wait_for_job(accepted.job_id, JobState.PROCESSING)
    away = server.images.with_name("away")
    server.images.rename(away)
    go.touch()
    job_done = wait_for("the worker to be done", lambda: "action=job_done" in server.log_tail())
    assert job_done
    assert server.records.job(accepted.job_id).status is JobState.PROCESSING

    away.rename(server.images)

    assert server.records.wait_for_job(accepted.job_id).status is JobState.FINISHED
    assert_whole(server)


def test_a_file_that_could_not_be_removed_is_removed_at_the_next_start(
    server: Server, engine: EngineId
) -> None:
    accepted = submit(server.line, engine)
    server.records.wait_for_job(accepted.job_id, JobState.FINISHED)
    file = server.images / server.records.image(accepted.image_ids[0]).file_name
    data = file.read_bytes()
    file.unlink()
    file.mkdir()  # a folder is what even root cannot unlink

    server.line.ask(DeleteImage(image_id=accepted.image_ids[0]), Done)
    server.kill()
    file.rmdir()
    file.write_bytes(data)
    server.start()

    wait_for("the file to be removed", lambda: not file.exists())
    assert_whole(server)
