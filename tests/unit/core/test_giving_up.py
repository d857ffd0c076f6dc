"""Jobs that would rather fail than wait for an engine in error for longer than they say."""

from math import inf, nan

import pytest

from kernel.core.actions import SaveJob
from kernel.core.events import DeadlinePassed, DiskSwept
from kernel.core.lifecycle.engines import FAILED_AT_ONCE, PAUSE_S
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol.enums import EngineState, JobState
from tests.unit.core.samples import device, spec, submit
from tests.unit.core.story import Story, only
from tests.unit.core.test_engine_failure import fail_to_load
from tests.unit.core.test_retries import GB, crash, crash_into_error, failing_engine


def damaged(story, engine_id, *patience_s):
    """Jobs with so much patience each, and their engine, which cannot be loaded."""
    jobs = [story.submit(engine_id, give_up_after_s=patience) for patience in patience_s]
    worker_id, _ = fail_to_load(story)
    story.exits(worker_id)
    return jobs


def test_job_fails_with_the_reason_of_its_engine_once_it_has_waited_as_long_as_it_said():
    story = Story()
    engine_id = story.engine()
    short, longer, endless = damaged(story, engine_id, 60.0, 90.0, None)
    story.wait(59.99)
    assert story.job_state(short) is JobState.WAITING
    story.wait(0.02)
    row = story.job(short)
    assert (row.status, row.error_code, row.error) == (
        JobState.FAILED,
        "model_unreadable",
        "the header is damaged",
    )
    assert story.job_state(longer) is JobState.WAITING
    story.wait(30.0)
    assert story.job_state(longer) is JobState.FAILED
    story.wait(2_000.0)
    assert story.job_state(endless) is JobState.WAITING


def test_time_before_the_error_does_not_count():
    story = Story()
    engine_id = story.engine()
    job_id = story.submit(engine_id, give_up_after_s=30.0)
    story.wait(50.0)
    worker_id, _ = fail_to_load(story)
    story.exits(worker_id)
    story.wait(29.99)
    assert story.job_state(job_id) is JobState.WAITING
    story.wait(0.02)
    assert story.job_state(job_id) is JobState.FAILED


def test_job_that_comes_later_has_its_own_time():
    story = Story()
    engine_id = story.engine()
    damaged(story, engine_id, None)
    story.wait(100.0)
    job_id = story.submit(engine_id, give_up_after_s=30.0)
    sooner = story.submit(engine_id, give_up_after_s=10.0)
    story.wait(10.01)
    assert (story.job_state(sooner), story.job_state(job_id)) == (JobState.FAILED, JobState.WAITING)
    story.wait(20.0)
    assert story.job_state(job_id) is JobState.FAILED


def test_no_patience_at_all_fails_with_the_engine():
    story = Story()
    engine_id = story.engine()
    (job_id,) = damaged(story, engine_id, 0.0)
    story.wait(0.0)
    assert story.job_state(job_id) is JobState.FAILED
    reply = story.ask(submit(engine_id, give_up_after_s=0.0))
    assert isinstance(reply, client.JobAccepted)
    story.wait(0.0)
    assert story.job_state(reply.job_id) is JobState.FAILED


def test_patience_of_an_engine_is_that_of_its_jobs_unless_they_say_otherwise():
    story = Story()
    engine_id = story.engine(give_up_after_s=20.0)
    default, own = damaged(story, engine_id, None, 40.0)
    story.wait(20.01)
    assert (story.job_state(default), story.job_state(own)) == (JobState.FAILED, JobState.WAITING)
    story.wait(20.0)
    assert story.job_state(own) is JobState.FAILED


def test_patience_runs_on_through_the_tries_and_a_try_under_way_is_awaited():
    story, engine_id, (job_id,) = failing_engine(give_up_after_s=2.0)
    story.wait(1.0)
    assert story.engine_state(engine_id) is EngineState.STARTING
    story.wait(5.0)
    assert story.job_state(job_id) is JobState.WAITING, "the try may help yet"
    crash(story)
    story.wait(0.0)
    row = story.job(job_id)
    assert (row.status, row.error_code) == (JobState.FAILED, "worker_crashed")
    assert story.engine_row(engine_id).retry_at_ms is None, "nobody waits any more"


def test_patience_begins_anew_after_the_engine_was_ready():
    story, engine_id, (job_id,) = failing_engine(give_up_after_s=10.0)
    story.wait(1.0)
    worker_id = story.up()
    later = story.submit(engine_id)
    story.make(job_id)
    story.wait(100.0)
    story.exits(worker_id)
    assert story.job(later).crashes == 1
    crash_into_error(story)
    story.wait(1.0)
    assert story.job_state(later) is JobState.WAITING


def test_patience_outlives_a_restart():
    story = Story()
    engine_id = story.engine()
    (job_id,) = damaged(story, engine_id, 60.0)
    story.wait(40.0)
    story.begin()
    story.wait(19.0)
    assert story.job_state(job_id) is JobState.WAITING
    story.wait(1.1)
    assert story.job_state(job_id) is JobState.FAILED


def test_job_that_was_given_away_or_cancelled_is_not_failed_by_its_patience():
    story = Story()
    engine_id = story.engine()
    cancelled, _ = damaged(story, engine_id, 60.0, None)
    story.ask(client.CancelJob(job_id=cancelled))
    story.ask(client.StartEngine(engine_id=engine_id))
    story.up()
    made = story.submit(engine_id, give_up_after_s=0.0)
    story.wait(200.0)
    assert story.job_state(cancelled) is JobState.CANCELLED
    assert story.job_state(made) in (JobState.WAITING, JobState.PROCESSING)


def test_patience_is_watched_also_when_the_engine_fails_while_it_waits_for_room():
    story = Story(limits=Limits(max_running=1), devices=(device("cpu", 6 * GB), device("cuda:0", 6 * GB)))
    story.running_engine(device="cpu")
    engine_id = story.engine(device="cuda:0")
    job_id = story.submit(engine_id, give_up_after_s=0.5)
    assert story.engine_row(engine_id).waits_since_ms is not None
    story.devices = (device("cpu", 6 * GB),)
    story.tell(DiskSwept(free_bytes=1 << 40, devices=story.devices))
    assert story.engine_row(engine_id).error_code == "device_unavailable"
    story.wait(0.51)
    assert (story.job_state(job_id), story.job(job_id).error_code) == (JobState.FAILED, "device_unavailable")


def test_many_tired_jobs_are_failed_in_slices():
    story = Story()
    engine_id = story.engine()
    jobs = damaged(story, engine_id, *[5.0] * (FAILED_AT_ONCE * 2 + 50))
    story.now_s += 5.0
    slices = [len(only(story.tell(DeadlinePassed()), SaveJob))]
    for _ in range(2):
        story.now_s += PAUSE_S
        slices.append(len(only(story.tell(DeadlinePassed()), SaveJob)))
    assert slices == [FAILED_AT_ONCE, FAILED_AT_ONCE, 50]
    assert {story.job_state(job_id) for job_id in jobs} == {JobState.FAILED}


def test_jobs_that_waited_long_before_the_error_are_looked_at_in_slices_and_fail_in_time():
    story = Story()
    engine_id = story.engine()
    jobs = [story.submit(engine_id, give_up_after_s=5.0) for _ in range(FAILED_AT_ONCE + 20)]
    story.wait(50.0)
    fail_to_load(story)
    story.wait(4.99)
    assert {story.job_state(job_id) for job_id in jobs} == {JobState.WAITING}
    story.wait(0.1)
    assert {story.job_state(job_id) for job_id in jobs} == {JobState.FAILED}


@pytest.mark.parametrize("patience_s", [-1.0, nan, inf, 3_155_760_001.0])
def test_patience_that_is_none_is_refused_by_its_field(patience_s):
    story = Story()
    engine_id = story.engine()
    of_job = story.refusal(submit(engine_id, give_up_after_s=patience_s))
    of_engine = story.refusal(client.CreateEngine(spec=spec(give_up_after_s=patience_s)))
    for refused in (of_job, of_engine):
        assert (refused.code, refused.fields[0].field) == ("invalid_field", "give_up_after_s")
