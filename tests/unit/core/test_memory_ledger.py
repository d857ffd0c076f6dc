"""Only so many engines run at once: which one waits, and which one makes room."""

import pytest

from kernel.core.actions import LaunchWorker
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState
from kernel.protocol.ids import EngineId, WorkerId
from tests.unit.core.samples import spec, submit
from tests.unit.core.story import Story, only, orders_to


@pytest.fixture
def story() -> Story:
    return Story(limits=Limits(max_running=1, keep_alive_s=1000.0))


def idle_engine(story: Story) -> tuple[EngineId, WorkerId]:
    """An engine that was started on demand and has nothing to do."""
    engine_id = story.engine()
    job_id = story.submit(engine_id)
    worker_id = story.up()
    story.make(job_id)
    return engine_id, worker_id


def test_idle_engine_closes_for_another_one_that_then_starts(story):
    old, worker_id = idle_engine(story)
    new = story.engine()
    found = story.ask_actions(submit(new))
    assert wire.Drain() in orders_to(found, worker_id)
    assert not only(found, LaunchWorker)
    assert story.engine_state(new) is EngineState.CLOSED
    assert only(story.exits(worker_id, "exit code 0"), LaunchWorker)
    assert story.engine_state(old) is EngineState.CLOSED
    assert story.engine_state(new) is EngineState.STARTING


def test_busy_engine_is_not_closed_for_another_one_until_it_is_idle(story):
    busy = story.engine()
    job_id = story.submit(busy)
    worker_id = story.up()
    story.submit(story.engine())
    assert story.engine_state(busy) is EngineState.WORKING
    assert wire.Drain() in orders_to(story.make(job_id), worker_id)
    assert story.engine_state(busy) is EngineState.STOPPING


def test_engine_of_a_person_is_never_closed_for_another_one(story):
    pinned, _ = story.running_engine()
    other = story.engine()
    job_id = story.submit(other)
    story.wait(5000.0)
    assert story.engine_state(pinned) is EngineState.READY
    assert (story.engine_state(other), story.job_state(job_id)) == (EngineState.CLOSED, JobState.WAITING)


def test_longest_idle_engine_is_the_one_that_closes():
    story = Story(limits=Limits(max_running=2, keep_alive_s=1000.0))
    first, _ = idle_engine(story)
    story.wait(1.0)
    second, _ = idle_engine(story)
    story.wait(1.0)
    story.make(story.submit(first))
    story.submit(story.engine())
    assert story.engine_state(second) is EngineState.STOPPING
    assert story.engine_state(first) is EngineState.READY


def test_two_engines_that_need_room_close_two_idle_ones():
    story = Story(limits=Limits(max_running=2, keep_alive_s=1000.0))
    idle = [idle_engine(story)[0] for _ in range(2)]
    for _ in range(2):
        story.submit(story.engine())
    assert [story.engine_state(engine_id) for engine_id in idle] == [EngineState.STOPPING] * 2


def test_one_engine_that_needs_room_closes_one_idle_one_only():
    story = Story(limits=Limits(max_running=2, keep_alive_s=1000.0))
    idle = [idle_engine(story)[0] for _ in range(2)]
    waiting = story.engine()
    story.submit(waiting)
    story.submit(waiting)
    assert [story.engine_state(engine_id) for engine_id in idle] == [EngineState.STOPPING, EngineState.READY]


def test_engines_without_room_start_in_the_order_in_which_they_were_wanted(story):
    _, worker_id = idle_engine(story)
    first, second = story.engine(), story.engine()
    story.submit(first)
    story.submit(second)
    story.exits(worker_id, "exit code 0")
    assert [story.engine_state(e) for e in (first, second)] == [EngineState.STARTING, EngineState.CLOSED]
    worker_id = story.up()
    story.make(next(iter(j for j in story.gives if story.job(j).engine_id == first)))
    story.exits(worker_id, "exit code 0")
    assert story.engine_state(second) is EngineState.STARTING


def test_engine_that_closes_for_another_one_queues_up_behind_it_when_it_is_wanted_again(story):
    old, worker_id = idle_engine(story)
    new = story.engine()
    story.submit(new)
    story.submit(old)
    story.exits(worker_id, "exit code 0")
    assert [story.engine_state(e) for e in (old, new)] == [EngineState.CLOSED, EngineState.STARTING]


def test_engine_whose_only_job_was_cancelled_does_not_wait_for_room_any_more(story):
    pinned, worker_id = story.running_engine()
    other = story.engine()
    story.ask(client.CancelJob(job_id=story.submit(other)))
    story.ask(client.StopEngine(engine_id=pinned))
    assert not only(story.exits(worker_id, "exit code 0"), LaunchWorker)


def test_engine_whose_only_job_was_cancelled_drives_no_other_one_out(story):
    busy = story.engine()
    job_id = story.submit(busy)
    story.up()
    story.ask(client.CancelJob(job_id=story.submit(story.engine())))
    story.make(job_id)
    assert story.engine_state(busy) is EngineState.READY


def test_engine_that_was_stopped_while_it_waited_for_room_does_not_get_it(story):
    pinned, worker_id = story.running_engine()
    other = story.engine()
    story.submit(other)
    story.ask(client.StopEngine(engine_id=other))
    story.ask(client.StopEngine(engine_id=pinned))
    assert not only(story.exits(worker_id, "exit code 0"), LaunchWorker)


def test_engine_that_was_deleted_while_it_waited_for_room_does_not_get_it(story):
    pinned, worker_id = story.running_engine()
    other = story.engine()
    story.submit(other)
    story.ask(client.DeleteEngine(engine_id=other))
    story.ask(client.StopEngine(engine_id=pinned))
    assert not only(story.exits(worker_id, "exit code 0"), LaunchWorker)


def test_person_is_refused_when_nothing_can_make_room_and_told_what_runs(story):
    story.running_engine(name="portraits")
    before = len(story.database.engines)
    refused = story.refusal(client.CreateEngine(spec=spec()))
    assert refused.code == "not_enough_memory"
    assert "portraits" in refused.detail
    assert len(story.database.engines) == before
    closed = story.engine()
    assert story.refusal(client.StartEngine(engine_id=closed)).code == "not_enough_memory"


def test_person_who_starts_an_engine_gets_the_room_of_an_idle_one(story):
    idle, worker_id = idle_engine(story)
    wanted = story.engine(start=True)
    assert story.engine_state(idle) is EngineState.STOPPING
    story.exits(worker_id, "exit code 0")
    assert story.engine_state(wanted) is EngineState.STARTING


def test_crashed_engine_keeps_its_room_only_while_it_runs(story):
    crashed = story.engine()
    story.submit(crashed)
    other = story.engine()
    story.submit(other)
    story.exits(story.newcomers[0])
    assert [story.engine_state(e) for e in (crashed, other)] == [EngineState.STARTING, EngineState.STARTING]
    story.wait(1.1)
    assert story.engine_state(crashed) is EngineState.CLOSED


def test_cancelled_last_job_lets_an_engine_in_backoff_close(story):
    engine_id = story.engine()
    job_id = story.submit(engine_id)
    story.exits(story.newcomers[0])
    story.ask(client.CancelJob(job_id=job_id))
    assert not only(story.wait(100.0), LaunchWorker)
    assert story.engine_state(engine_id) is EngineState.CLOSED
