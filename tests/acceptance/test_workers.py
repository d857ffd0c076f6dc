"""Workers that die, hang, freeze, load for long or come by hand: their jobs are not lost, others not hurt."""

import signal
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from kernel.protocol.client import CancelJob, Done, JobAccepted, ModelAccepted, RegisterModel
from kernel.protocol.enums import EngineState, JobState, ModelType, WaitsFor
from kernel.protocol.ids import EngineId, JobId, ModelId
from kernel.protocol.values import ReplicaRange
from tests.acceptance.checks import assert_whole
from tests.acceptance.orders import LOADS_FOR_7_S, a_job, create_engine, submit
from tests.acceptance.patience import wait_for
from tests.acceptance.processes import WORKER, Found
from tests.acceptance.server import Server

SEEN_DEAD_S = 0.1
SEEN_FROZEN_S = 6.0
MAX_CRASHES = 3
IMPATIENT = 'step_timeout = "1s"'


def only_worker(server: Server) -> Found:
    """The one worker process that runs."""
    (worker,) = wait_for("one worker", lambda: server.processes(WORKER))
    return worker


def seconds_until(server: Server, job_id: JobId, *states: JobState) -> float:
    """How long it takes until watchers are told that a job is in one of these states."""
    start_s = time.monotonic()
    for told_at_s, change in server.line.changes():
        if change.id == job_id and change.state in states:
            return told_at_s - start_s
    raise AssertionError(f"nobody was told that job {job_id} is {states}")


def test_a_killed_worker_is_seen_within_a_tenth_of_a_second_and_its_job_goes_back(
    server: Server, engine: EngineId, go: Path
) -> None:
    """The quickest of three counts: the other two may have met a busy machine."""
    accepted = submit(server.line, engine, f"[until {go}]")
    server.line.watch()
    seen_s: list[float] = []
    for _ in range(MAX_CRASHES):
        server.records.wait_for_job(accepted.job_id, JobState.PROCESSING)
        only_worker(server).send(signal.SIGKILL)
        seen_s.append(seconds_until(server, accepted.job_id, JobState.WAITING, JobState.FAILED))

    assert min(seen_s) <= SEEN_DEAD_S
    job = server.records.job(accepted.job_id)
    assert (job.status, job.error_code, job.attempts) == (JobState.FAILED, "worker_crashed", MAX_CRASHES)
    assert job.error is not None
    assert "signal SIGKILL" in job.error


def test_a_job_whose_worker_died_once_finishes_in_the_next_one(
    server: Server, engine: EngineId, folder: Path
) -> None:
    accepted = submit(server.line, engine, f"[crash-once {folder}/crashed]", count=3)

    job = server.records.wait_for_job(accepted.job_id)

    assert (job.status, job.attempts, job.error) == (JobState.FINISHED, 2, None)
    assert_whole(server)


def test_a_long_queue_gets_a_further_worker_and_both_work_it_off(
    server: Server, plain: ModelId, go: Path
) -> None:
    server.start()
    engine_id = create_engine(server.line, plain, max_batch=1, replicas=ReplicaRange(min=1, max=2))
    jobs = [submit(server.line, engine_id, f"[until {go}]").job_id for _ in range(8)]
    wait_for("a second worker", lambda: len(server.processes(WORKER)) == 2)
    wait_for("its first jobs", lambda: [one.batch for one in server.line.status().engines] == [2])
    go.touch()
    assert {server.records.wait_for_job(job_id).status for job_id in jobs} == {JobState.FINISHED}
    assert [one.workers for one in server.line.status().engines] == [2]


def test_of_ten_jobs_one_that_is_poison_fails_and_nine_finish(server: Server, engine: EngineId) -> None:
    accepted = [submit(server.line, engine, "[crash]" if n == 4 else "well", count=2) for n in range(10)]

    jobs = [server.records.wait_for_job(one.job_id) for one in accepted]

    assert [job.status is JobState.FINISHED for job in jobs] == [n != 4 for n in range(10)]
    poison = jobs[4]
    assert (poison.status, poison.error_code) == (JobState.FAILED, "worker_crashed")
    assert poison.error is not None
    assert "exit code 86" in poison.error
    assert "(attempt 3 of 3)" in poison.error
    assert_whole(server)


def test_jobs_wait_for_an_engine_that_dies_of_its_start_until_a_later_try_succeeds(
    server: Server, folder: Path
) -> None:
    server.configure(engines='longest_pause = "2s"')
    server.start()
    cure = folder / "cured"
    uri = (folder / "checkpoint.safetensors").as_uri()
    model = RegisterModel(name=f"crash-load [unless {cure}]", uri=uri, model_type=ModelType.CHECKPOINT)
    model_id = server.line.ask(model, ModelAccepted).model_id
    server.records.wait_for_model(model_id)
    engine = create_engine(server.line, model_id)
    accepted = submit(server.line, engine)

    row = server.records.wait_for_engine(engine, EngineState.ERROR)
    assert (row.error_code, row.retry_at_ms is None) == ("worker_crashed", False)
    assert row.error is not None
    assert "3 workers crashed in a row" in row.error
    assert "exit code 86" in row.error

    impatient = a_job(engine)
    impatient = replace(impatient, request=replace(impatient.request, give_up_after_s=0.5))
    told = server.line.ask(impatient, JobAccepted)
    assert told.waits_for in (WaitsFor.RETRY, WaitsFor.ENGINE)
    given_up = server.records.wait_for_job(told.job_id)
    assert (given_up.status, given_up.error_code) == (JobState.FAILED, "worker_crashed")
    assert server.records.job(accepted.job_id).status is JobState.WAITING

    cure.touch()
    job = server.records.wait_for_job(accepted.job_id)
    assert (job.status, job.error) == (JobState.FINISHED, None)
    row = server.records.engine(engine)
    assert (row.error, row.failing_since_ms, row.retry_at_ms) == (None, None, None)


def test_a_hung_step_is_cancelled_then_killed_and_the_job_is_tried_again(
    server: Server, plain: ModelId, folder: Path
) -> None:
    server.configure(engines=IMPATIENT)
    server.start()
    engine = create_engine(server.line, plain)
    server.records.wait_for_job(submit(server.line, engine, "a first step").job_id, JobState.FINISHED)

    accepted = submit(server.line, engine, f"[hang-once {folder}/hung]")

    job = server.records.wait_for_job(accepted.job_id)
    assert (job.status, job.attempts) == (JobState.FINISHED, 2)
    assert len(server.worker_logs) == 2


def test_a_worker_that_ignores_a_cancel_is_killed_and_the_others_jobs_finish(
    server: Server, plain: ModelId, folder: Path
) -> None:
    server.configure(engines=IMPATIENT)
    server.start()
    engine = create_engine(server.line, plain)
    server.records.wait_for_job(submit(server.line, engine, "a first step").job_id, JobState.FINISHED)
    deaf = submit(server.line, engine, f"[ignore cancel] [until {folder}/never]")
    server.records.wait_for_job(deaf.job_id, JobState.PROCESSING)
    worker = only_worker(server)

    server.line.ask(CancelJob(job_id=deaf.job_id), Done)
    assert server.records.job(deaf.job_id).status is JobState.CANCELLED
    other = submit(server.line, engine)

    assert server.records.wait_for_job(other.job_id).status is JobState.FINISHED
    wait_for("the deaf worker's end", lambda: worker not in server.processes(WORKER))
    assert server.records.job(deaf.job_id).status is JobState.CANCELLED


def test_a_frozen_worker_is_seen_within_six_seconds_and_its_job_goes_back(
    server: Server, engine: EngineId, go: Path
) -> None:
    accepted = submit(server.line, engine, f"[until {go}]")
    server.records.wait_for_job(accepted.job_id, JobState.PROCESSING)
    server.line.watch()

    only_worker(server).send(signal.SIGSTOP)

    assert seconds_until(server, accepted.job_id, JobState.WAITING) <= SEEN_FROZEN_S
    go.touch()
    assert server.records.wait_for_job(accepted.job_id).status is JobState.FINISHED


def test_a_load_that_takes_longer_than_the_silence_allowed_kills_nobody(server: Server) -> None:
    server.start()
    engine = create_engine(server.line, server.records.model_named(LOADS_FOR_7_S))

    job = server.records.wait_for_job(submit(server.line, engine).job_id)

    assert (job.status, job.attempts) == (JobState.FINISHED, 1)
    assert len(server.worker_logs) == 1


@pytest.mark.parametrize("prompt", ["[until {folder}/never]", "[hang]"], ids=["working", "hung"])
def test_a_worker_leaves_when_its_manager_is_killed(
    server: Server, engine: EngineId, folder: Path, prompt: str
) -> None:
    accepted = submit(server.line, engine, prompt.format(folder=folder))
    server.records.wait_for_job(accepted.job_id, JobState.PROCESSING)

    server.signal(signal.SIGKILL)

    wait_for("the worker's end", lambda: not server.processes(WORKER))
