"""Pausing and resuming queues, and moving jobs within them."""

import pytest

from kernel.core import actions
from kernel.protocol import client
from kernel.protocol.enums import EngineState, JobState, WaitsFor
from kernel.protocol.ids import EngineId, JobId
from tests.unit.core.story import Story, only


def given(found: list[actions.Action]) -> list[JobId]:
    return [one.job_id for one in only(found, actions.GiveJob)]


@pytest.mark.parametrize("is_for_all", [False, True])
def test_a_paused_queue_gives_nothing_out_and_goes_on_when_resumed(is_for_all: bool) -> None:
    story = Story()
    engine_id, _ = story.running_engine()
    running = story.submit(engine_id)
    story.accepted(running)
    which = None if is_for_all else engine_id
    assert story.ask(client.PauseQueue(engine_id=which)) == client.Done()
    waiting = story.submit(engine_id)
    story.make(running)
    assert story.job_state(running) is JobState.FINISHED, "what runs is finished"
    assert story.job_state(waiting) is JobState.WAITING
    assert given(story.ask_actions(client.ResumeQueue(engine_id=which))) == [waiting]


def test_a_pause_is_told_once_and_keeps_its_time() -> None:
    story = Story()
    engine_id = story.engine()
    story.ask(client.PauseQueue(engine_id=engine_id))
    since_ms = story.engine_row(engine_id).paused_since_ms
    story.wait(5)
    before = len(story.database.changes)
    story.ask(client.PauseQueue(engine_id=engine_id))
    assert story.engine_row(engine_id).paused_since_ms == since_ms is not None
    assert len(story.database.changes) == before
    story.ask(client.PauseQueue())
    story.ask(client.ResumeQueue())
    assert [(row.kind, row.id, row.state) for row in story.database.changes[before:]] == [
        ("queue", "all", "paused"),
        ("queue", "all", "running"),
    ]


def test_pauses_survive_the_manager_and_new_engines_fall_under_the_one_of_all() -> None:
    story = Story()
    paused = story.engine()
    story.ask(client.PauseQueue(engine_id=paused))
    story.ask(client.PauseQueue())
    other = story.engine()
    jobs = [story.submit(paused), story.submit(other)]
    assert not only(story.begin(), actions.LaunchWorker), "no engine is loaded for jobs that may not run"
    launched = only(story.ask_actions(client.ResumeQueue()), actions.LaunchWorker)
    assert len(launched) == 1
    story.up()
    assert [story.job_state(job_id) for job_id in jobs] == [JobState.WAITING, JobState.PROCESSING]


def test_a_paused_engine_closes_when_it_is_idle_and_may_make_room() -> None:
    story = Story()
    engine_id = story.engine()
    running = story.submit(engine_id)
    story.up()
    story.ask(client.PauseQueue(engine_id=engine_id))
    story.submit(engine_id)
    story.make(running)
    story.wait(story.broker.world.limits.keep_alive_s + 1)
    assert story.engine_state(engine_id) in (EngineState.STOPPING, EngineState.CLOSED)


def test_a_job_for_a_paused_queue_says_what_it_waits_for() -> None:
    story = Story()
    engine_id, _ = story.running_engine()
    story.ask(client.PauseQueue())
    reply = story.ask(client.SubmitJob(engine_id=engine_id, request=client.JobRequest()))
    assert isinstance(reply, client.JobAccepted)
    assert reply.waits_for is WaitsFor.PAUSED


def test_an_unknown_engine_is_not_paused() -> None:
    assert Story().refusal(client.PauseQueue(engine_id=EngineId("none"))).code == "engine_not_found"


def test_a_job_with_a_higher_priority_goes_first_though_it_got_it_late() -> None:
    story = Story()
    engine_id, _ = story.running_engine()
    story.ask(client.PauseQueue())
    first, second, third = (story.submit(engine_id) for _ in range(3))
    story.ask(client.EditJob(job_id=third, priority=5))
    story.ask(client.EditJob(job_id=first, priority=-1))
    story.ask(client.EditJob(job_id=third, priority=5))
    assert story.job(third).priority == 5
    found = given(story.ask_actions(client.ResumeQueue()))
    assert found == [third, second], "the worker's slot, and the one that it holds in advance"


def test_only_a_waiting_job_is_moved() -> None:
    story = Story()
    engine_id, _ = story.running_engine()
    running = story.submit(engine_id)
    assert story.refusal(client.EditJob(job_id=running, priority=1)).code == "illegal_move"
    story.make(running)
    assert story.refusal(client.EditJob(job_id=running, priority=1)).code == "illegal_move"
    assert story.refusal(client.EditJob(job_id=JobId("none"), priority=1)).code == "job_not_found"
