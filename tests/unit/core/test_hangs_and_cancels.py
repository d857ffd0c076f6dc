"""Workers that do not come further, and jobs that are cancelled: obeyed, or not."""

import pytest

from kernel.core.actions import GiveJob, KillWorker, TerminateWorker
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState, Stage
from tests.unit.core.story import Story, only, orders_to


def cancels(found, worker_id):
    return [order.job_id for order in orders_to(found, worker_id) if isinstance(order, wire.CancelJob)]


def stepping_job(story):
    """A job on an engine that has made steps of one second."""
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    for step in range(1, 4):
        story.wait(1.0)
        story.progress(job_id, step)
    return engine_id, worker_id, job_id


def test_ping_is_not_progress():
    story = Story(limits=Limits(step_timeout_s=60.0))
    _, worker_id, job_id = stepping_job(story)
    assert not cancels(story.wait(59.0), worker_id)
    assert cancels(story.wait(2.0), worker_id) == [job_id]


def test_every_step_begins_the_deadline_anew():
    story = Story(limits=Limits(step_timeout_s=60.0))
    _, worker_id, job_id = stepping_job(story)
    for step in range(4, 10):
        assert not cancels(story.wait(59.0), worker_id)
        story.progress(job_id, step)


def test_slow_engine_gets_ten_times_its_median_step():
    story = Story(limits=Limits(step_timeout_s=60.0))
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    for step in range(1, 4):
        story.wait(20.0)
        story.progress(job_id, step)
    assert not cancels(story.wait(199.0), worker_id)
    assert cancels(story.wait(2.0), worker_id) == [job_id]


def test_median_step_is_neither_the_fastest_nor_the_slowest():
    story = Story(limits=Limits(step_timeout_s=1.0))
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    for step, seconds in enumerate((1.0, 1.0, 10.0, 10.0, 30.0)):
        story.wait(seconds)
        story.progress(job_id, step)
    assert not cancels(story.wait(99.0), worker_id)
    assert cancels(story.wait(2.0), worker_id)


def test_several_steps_in_one_report_count_as_that_many():
    story = Story(limits=Limits(step_timeout_s=60.0))
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    for step in (2, 4, 6):
        story.wait(20.0)
        story.progress(job_id, step)
    assert not cancels(story.wait(99.0), worker_id)
    assert cancels(story.wait(2.0), worker_id)


def prepares(story, job_id, stage=Stage.PREPARING):
    give = story.gives[job_id]
    report = wire.Progress(job_id=job_id, lease=give.lease, step=0, steps=4, stage=stage)
    return story.say(give.worker_id, report)


@pytest.mark.parametrize("stage", [Stage.PREPARING, Stage.FINISHING, Stage.REMOVING_BACKGROUND])
def test_job_that_makes_no_steps_may_take_as_long_as_loading(stage):
    story = Story(limits=Limits(step_timeout_s=60.0, load_timeout_s=600.0))
    engine_id, worker_id, stepping = stepping_job(story)
    story.failed(stepping)
    job_id = story.submit(engine_id)
    prepares(story, job_id, stage)
    assert not cancels(story.wait(599.0), worker_id)
    assert cancels(story.wait(2.0), worker_id) == [job_id]


def test_job_that_is_being_prepared_gives_a_hanging_step_beside_it_no_more_time():
    story = Story(limits=Limits(step_timeout_s=60.0, load_timeout_s=600.0))
    engine_id, worker_id, stepping = stepping_job(story)
    job_id = story.submit(engine_id)
    prepares(story, job_id)
    assert not cancels(story.wait(59.0), worker_id)
    assert cancels(story.wait(2.0), worker_id) == [stepping, job_id]


def test_first_step_after_preparing_begins_the_ordinary_deadline():
    story = Story(limits=Limits(step_timeout_s=60.0, load_timeout_s=600.0))
    engine_id, worker_id, stepping = stepping_job(story)
    story.failed(stepping)
    job_id = story.submit(engine_id)
    prepares(story, job_id)
    story.progress(job_id, 1)
    assert cancels(story.wait(61.0), worker_id) == [job_id]


def test_first_step_of_an_engine_may_take_as_long_as_loading():
    story = Story(limits=Limits(step_timeout_s=60.0, load_timeout_s=600.0))
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    assert not cancels(story.wait(599.0), worker_id)
    assert cancels(story.wait(2.0), worker_id) == [job_id]


def test_hanging_job_that_is_dropped_when_asked_is_tried_again_three_times():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    for crashes in (1, 2):
        assert cancels(story.wait(601.0), worker_id)
        story.dropped(job_id)
        assert story.job(job_id).crashes == crashes
        assert story.job_state(job_id) is JobState.PROCESSING
    story.wait(601.0)
    story.dropped(job_id)
    assert story.job_state(job_id) is JobState.FAILED
    assert story.engine_state(engine_id) is EngineState.READY


def test_hanging_worker_gets_cancel_then_sigterm_then_sigkill():
    story = Story()
    _, worker_id, job_id = stepping_job(story)
    assert cancels(story.wait(60.0), worker_id)
    assert not only(story.wait(29.0), TerminateWorker)
    assert TerminateWorker(worker_id) in story.wait(2.0)
    assert not only(story.wait(8.0), KillWorker)
    assert KillWorker(worker_id) in story.wait(2.0)
    story.exits(worker_id, "signal SIGKILL")
    row = story.job(job_id)
    assert (row.status, row.crashes) == (JobState.WAITING, 1)


def test_hanging_worker_that_comes_back_keeps_its_finished_job():
    story = Story()
    engine_id, worker_id, job_id = stepping_job(story)
    assert cancels(story.wait(60.0), worker_id)
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED
    assert not only(story.wait(100.0), TerminateWorker)
    assert story.engine_state(engine_id) is EngineState.READY


def test_job_of_which_a_picture_never_came_is_taken_away_though_it_is_said_to_be_done():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id, count=2)
    story.picture(job_id, 0)
    story.stored(job_id, 0)
    story.done(job_id)
    assert story.job_state(job_id) is JobState.PROCESSING
    assert cancels(story.wait(601.0), worker_id) == [job_id]
    story.dropped(job_id)
    assert story.gives[job_id].positions == (1,)


def test_cancelled_waiting_job_is_never_given_out():
    story = Story()
    engine_id = story.engine(autostart=False)
    job_id, other = story.submit(engine_id), story.submit(engine_id)
    assert story.ask(client.CancelJob(job_id=job_id)) == client.Done()
    story.ask(client.StartEngine(engine_id=engine_id))
    story.up(capacity=4)
    assert list(story.gives) == [other]
    assert story.job(job_id).finished_at_ms == 1_000_000


def test_cancelled_running_job_is_over_at_once_and_its_place_is_free_when_the_worker_obeys():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.submit(engine_id)
    third = story.submit(engine_id)
    found = story.ask_actions(client.CancelJob(job_id=job_id))
    assert story.job_state(job_id) is JobState.CANCELLED
    assert cancels(found, worker_id) == [job_id]
    assert third not in story.gives
    assert [give.job_id for give in only(story.dropped(job_id), GiveJob)] == [third]
    assert not only(story.wait(100.0), TerminateWorker)


def test_cancel_is_idempotent():
    story = Story()
    job_id = story.submit(story.engine())
    for _ in range(3):
        assert story.ask(client.CancelJob(job_id=job_id)) == client.Done()
    changes = [c.state for c in story.database.changes if c.id == job_id]
    assert changes == ["waiting", "cancelled"]


def test_finished_job_cannot_be_cancelled():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    story.make(job_id)
    assert story.refusal(client.CancelJob(job_id=job_id)).code == "illegal_move"


def test_unknown_job_cannot_be_cancelled():
    refused = Story().ask(client.CancelJob(job_id="nothing"))
    assert isinstance(refused, client.Refused)
    assert refused.code == "job_not_found"


def test_worker_that_ignores_a_cancel_is_ended_and_its_other_jobs_are_not_blamed():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id, other = story.submit(engine_id), story.submit(engine_id)
    story.ask(client.CancelJob(job_id=job_id))
    found = []
    for step in range(35):
        found += story.progress(other, step) + story.wait(1.0)
    assert TerminateWorker(worker_id) in found
    story.exits(worker_id, "signal SIGTERM")
    row = story.job(other)
    assert (row.status, row.crashes) == (JobState.WAITING, 0)
    assert story.job_state(job_id) is JobState.CANCELLED
    story.up()
    assert story.gives[other].attempt == 2


def test_job_that_was_cancelled_while_it_hung_is_not_tried_again():
    story = Story()
    engine_id, _worker_id, job_id = stepping_job(story)
    story.wait(60.0)
    story.ask(client.CancelJob(job_id=job_id))
    story.dropped(job_id)
    assert story.job_state(job_id) is JobState.CANCELLED
    assert story.engine_state(engine_id) is EngineState.READY
    assert not only(story.wait(1000.0), TerminateWorker)


@pytest.mark.parametrize("end", ["done", "failed", "dropped"])
def test_cancelled_job_stays_cancelled_however_the_worker_ends_it(end):
    story = Story()
    engine_id, _worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.ask(client.CancelJob(job_id=job_id))
    assert not story.picture(job_id)
    getattr(story, end)(job_id)
    assert story.job_state(job_id) is JobState.CANCELLED
    assert not story.database.images
    assert story.engine_state(engine_id) is EngineState.READY
    assert not only(story.wait(1000.0), TerminateWorker)


def test_job_that_the_engine_cannot_make_fails_with_its_reason_and_the_engine_goes_on():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id, other = story.submit(engine_id), story.submit(engine_id)
    story.failed(job_id, "out_of_memory")
    row = story.job(job_id)
    assert (row.status, row.error_code, row.error) == (
        JobState.FAILED,
        "out_of_memory",
        "it cannot be made",
    )
    story.make(other)
    assert story.job_state(other) is JobState.FINISHED
