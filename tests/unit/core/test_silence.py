"""Workers that are not heard of, or do not come up, or do not go."""

from kernel.core.actions import KillWorker, LaunchWorker, TerminateWorker
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState
from tests.unit.core.story import Story, only, orders_to


def test_worker_that_never_says_hello_is_ended_and_counts_as_dead():
    story = Story()
    engine_id = story.engine()
    story.submit(engine_id)
    for n in range(3):
        worker_id = story.newcomers[0]
        assert TerminateWorker(worker_id) in story.wait(61.0)
        story.exits(worker_id, "signal SIGTERM")
        story.wait(0.0 if n == 2 else 10.0)
    row = story.engine_row(engine_id)
    assert row.status is EngineState.ERROR
    assert "did not register in time" in (row.error or "")


def test_silent_worker_is_killed_and_its_job_requeued():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.pinging.discard(worker_id)
    assert not only(story.wait(4.9), KillWorker)
    assert KillWorker(worker_id) in story.wait(0.2)
    assert story.job_state(job_id) is JobState.PROCESSING
    story.exits(worker_id, "signal SIGKILL")
    row = story.job(job_id)
    assert (row.status, row.crashes) == (JobState.WAITING, 1)
    assert "stopped responding" in (row.error or "")


def test_worker_that_falls_silent_after_a_long_life_is_killed_too():
    story = Story()
    _, worker_id = story.running_engine()
    story.wait(100.0)
    story.say(worker_id, wire.Ping())
    story.pinging.discard(worker_id)
    assert not only(story.wait(4.9), KillWorker)
    assert KillWorker(worker_id) in story.wait(0.2)


def test_worker_that_pings_through_a_long_load_is_left_alone():
    story = Story(limits=Limits(load_timeout_s=600.0))
    engine_id = story.engine(start=True)
    story.hello(worker_id := story.newcomers[0])
    found = story.wait(599.0)
    assert not only(found, KillWorker)
    assert not only(found, TerminateWorker)
    story.ready(worker_id)
    assert story.engine_state(engine_id) is EngineState.READY


def test_ping_is_answered():
    story = Story()
    _, worker_id = story.running_engine()
    assert orders_to(story.say(worker_id, wire.Ping()), worker_id) == [wire.Pong()]


def test_load_that_takes_too_long_is_ended_though_the_worker_pings():
    story = Story(limits=Limits(load_timeout_s=30.0))
    engine_id = story.engine(start=True)
    story.hello(worker_id := story.newcomers[0])
    assert TerminateWorker(worker_id) in story.wait(30.1)
    story.exits(worker_id, "signal SIGTERM")
    assert only(story.wait(1.1), LaunchWorker)
    for _ in range(2):
        story.hello(worker_id := story.newcomers[0])
        story.wait(30.1)
        story.exits(worker_id, "signal SIGTERM")
        story.wait(10.0)
    assert "loading timed out" in (story.engine_row(engine_id).error or "")


def test_worker_that_does_not_heed_sigterm_is_killed():
    story = Story(limits=Limits(load_timeout_s=30.0))
    story.engine(start=True)
    story.hello(worker_id := story.newcomers[0])
    story.wait(30.1)
    assert not only(story.wait(9.8), KillWorker)
    assert KillWorker(worker_id) in story.wait(0.2)
    assert KillWorker(worker_id) in story.wait(10.1)


def test_new_worker_is_launched_only_when_the_old_one_is_gone():
    story = Story()
    engine_id, worker_id = story.running_engine()
    story.submit(engine_id)
    story.pinging.discard(worker_id)
    assert not only(story.wait(9.0), LaunchWorker)
    assert only(story.exits(worker_id), LaunchWorker)


def test_worker_that_dies_while_its_engine_stops_does_not_start_it_again_at_once():
    story = Story()
    engine_id, worker_id = story.running_engine()
    story.ask(client.StopEngine(engine_id=engine_id))
    story.submit(engine_id)
    story.pinging.discard(worker_id)
    assert KillWorker(worker_id) in story.wait(6.0)
    story.exits(worker_id, "signal SIGKILL")
    states = [c.state for c in story.database.changes if c.id == engine_id]
    assert states[-3:] == ["stopping", "closed", "starting"]
