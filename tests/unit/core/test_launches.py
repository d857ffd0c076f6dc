"""Workers of pools that a launcher starts: when one is asked for, what its engine shows, and how it ends."""

from dataclasses import replace as with_limits

import pytest

from kernel.core.actions import Action, KillWorker, LaunchInPool, RefuseStranger, TerminateWorker
from kernel.core.admission import scaling
from kernel.core.events import LaunchRan, LaunchWaited
from kernel.core.lifecycle import launches, workers
from kernel.core.ports import Limits, PoolLimits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState, WaitsFor
from kernel.protocol.ids import EngineId, WorkerId
from kernel.protocol.values import ReplicaRange
from tests.unit.core.samples import submit
from tests.unit.core.story import Story, only

TIMEOUT_S = 100.0


@pytest.fixture
def story() -> Story:
    pools = {"lab": PoolLimits(max_workers=2, launch_timeout_s=TIMEOUT_S)}
    story = Story(limits=with_limits(Limits(), pools=pools, keep_alive_s=50.0))
    story.texts = story.token()
    return story


def launched(found: list[Action]) -> list[WorkerId]:
    return [action.worker_id for action in only(found, LaunchInPool)]


def asked_for(story: Story, **fields: object) -> tuple[EngineId, WorkerId]:
    """An engine of the pool with a job, and the launch for it."""
    engine_id = story.engine(pool="lab", **fields)
    story.submit(engine_id)
    (name,) = story.broker.world.launches
    return engine_id, name


def joined(story: Story, name: WorkerId) -> WorkerId:
    """The launched worker has enrolled, under the id of its launch."""
    worker_id = story.member(story.texts, key=f"?{name}", launch=name)
    assert worker_id == name
    return worker_id


def reason(story: Story, engine_id: EngineId) -> str | None:
    return story.engine_row(engine_id).waits_reason


def test_a_job_has_one_worker_launched_and_the_engine_says_so(story):
    engine_id = story.engine(pool="lab")
    assert story.broker.world.launches == {}
    job_id = story.submit(engine_id)
    (name,) = story.broker.world.launches
    assert reason(story, engine_id) == "a worker of pool lab is starting"
    story.submit(engine_id)
    assert list(story.broker.world.launches) == [name]
    joined(story, name)
    assert reason(story, engine_id) is None
    story.ready(name)
    assert story.job_state(job_id) is JobState.PROCESSING


def test_a_pool_without_a_launcher_starts_nothing_and_its_engine_says_what_it_waits_for():
    story = Story()
    engine_id = story.engine(pool="lab")
    story.submit(engine_id)
    assert story.broker.world.launches == {}
    assert reason(story, engine_id) == "no worker of pool lab is free"


def test_an_idle_worker_of_the_pool_is_taken_before_one_is_launched(story):
    story.member(story.texts)
    engine_id = story.engine(pool="lab")
    story.submit(engine_id)
    assert story.broker.world.launches == {}


def test_replicas_are_launched_as_far_as_the_pool_allows(story):
    engine_id = story.engine(pool="lab", replicas=3)
    story.submit(engine_id)
    first, second = story.broker.world.launches
    joined(story, first)
    story.ready(first)
    assert list(story.broker.world.launches) == [first, second]


def test_an_engine_beyond_the_most_workers_waits_and_says_so(story):
    for number in range(2):
        story.submit(story.engine(pool="lab", name=f"e{number}"))
    late = story.engine(pool="lab", name="late")
    story.submit(late)
    assert len(story.broker.world.launches) == 2
    assert reason(story, late) == "all 2 workers of pool lab are taken (pools.lab.max_workers)"
    first = next(iter(story.broker.world.launches))
    found = story.exits(first, "exit code 0")
    assert launched(found) != []


def test_while_it_waits_for_capacity_no_time_runs_and_the_reason_is_shown(story):
    engine_id, name = asked_for(story)
    story.tell(LaunchWaited(name, "no node has GPU"))
    assert reason(story, engine_id) == "no node has GPU"
    row = story.engine_row(engine_id)
    assert row.waits_since_ms is not None
    story.tell(LaunchWaited(name, "Ray starts a node"))
    assert reason(story, engine_id) == "Ray starts a node"
    assert only(story.wait(100 * TIMEOUT_S), TerminateWorker) == []
    story.tell(LaunchRan(name))
    assert reason(story, engine_id) == "a worker of pool lab is starting"
    assert only(story.wait(TIMEOUT_S - 1), TerminateWorker) == []
    assert TerminateWorker(name) in story.wait(2)


def test_a_job_that_is_accepted_says_that_it_waits_for_capacity(story):
    engine_id, _ = asked_for(story)
    reply = story.ask(submit(engine_id))
    assert reply.waits_for is WaitsFor.WORKER


def test_a_worker_that_does_not_join_in_time_is_ended_and_another_one_is_launched(story):
    engine_id, name = asked_for(story)
    found = story.wait(TIMEOUT_S)
    assert TerminateWorker(name) in found
    found = story.wait(launches.TERM_S)
    assert KillWorker(name) in found
    found = story.wait(launches.TERM_S)
    assert KillWorker(name) in found
    found = story.exits(name, "signal SIGKILL", "ssh: no route to host")
    again = launched(found) or launched(story.wait(60))
    assert len(again) == 1
    assert story.engine_state(engine_id) is not EngineState.ERROR


def test_launches_that_end_before_they_join_put_the_engine_into_error_with_their_last_words(story):
    engine_id, name = asked_for(story)
    for _ in range(3):
        found = story.exits(name, "exit code 255", "ssh: connect to host gpu1: Connection refused")
        name, *_ = launched(found) or launched(story.wait(10)) or [None]
        if name is None:
            break
    row = story.engine_row(engine_id)
    assert (row.status, row.error_code) == (EngineState.ERROR, "worker_crashed")
    assert row.error.endswith(
        "the worker ended before it joined; exit code 255; ssh: connect to host gpu1: Connection refused"
    )


def test_an_engine_without_jobs_takes_its_launch_back(story):
    _, name = asked_for(story)
    job_id = next(iter(story.broker.world.jobs))
    found = story.ask_actions(client.CancelJob(job_id=job_id))
    assert TerminateWorker(name) in found
    story.exits(name, "stopped")
    assert story.broker.world.launches == {}
    assert launched(story.wait(60)) == []


def test_a_launched_worker_that_comes_too_late_is_refused(story):
    _, name = asked_for(story)
    story.exits(name, "exit code 1")
    found = story.enrolls(story.texts, key="?late", launch=name)
    (refused,) = only(found, RefuseStranger)
    assert (refused.message.code, refused.message.retry_after_s) == ("not_permitted", None)
    assert "?late" not in story.keys


def test_a_launch_is_one_workers(story):
    _, name = asked_for(story)
    joined(story, name)
    found = story.enrolls(story.texts, key="?other", launch=name)
    assert len(only(found, RefuseStranger)) == 1


def test_a_name_means_nothing_in_a_pool_without_a_launcher(story):
    token = story.token(pool="others")
    worker_id = story.member(token, launch="mine")
    assert worker_id not in story.broker.world.launches


def test_the_end_of_its_process_is_the_end_of_the_worker_with_its_last_words(story):
    engine_id, name = asked_for(story)
    joined(story, name)
    story.ready(name)
    (job_id,) = story.broker.world.jobs
    found = story.exits(name, "Ray: its node has died")
    assert name not in story.broker.world.workers
    assert story.job_state(job_id) is JobState.WAITING
    assert story.job(job_id).crashes == 1
    assert len(launched(found)) == 1
    assert reason(story, engine_id) == "a worker of pool lab is starting"


def test_the_process_of_a_silent_worker_is_ended_and_keeps_its_place_until_then(story):
    _, name = asked_for(story)
    joined(story, name)
    story.ready(name)
    story.pinging.discard(name)
    found = story.wait(workers.SILENCE_S + 1)
    assert name not in story.broker.world.workers
    assert name in story.broker.world.launches
    found += story.wait(launches.LEAVE_S + launches.TERM_S)
    assert TerminateWorker(name) in found
    assert KillWorker(name) in found
    story.exits(name, "given up")
    assert name not in story.broker.world.launches


def test_a_pool_scales_to_zero_when_its_engine_has_been_idle(story):
    engine_id, name = asked_for(story)
    joined(story, name)
    story.ready(name)
    (job_id,) = story.broker.world.jobs
    story.make(job_id)
    story.wait(51)
    assert story.broker.world.workers[name].is_asked_to_leave
    story.exits(name, "exit code 0")
    assert story.engine_state(engine_id) is EngineState.CLOSED
    assert story.broker.world.launches == {}
    assert launched(story.wait(600)) == []


def test_a_launch_is_taken_back_when_another_worker_of_the_pool_has_come(story):
    engine_id, name = asked_for(story)
    token = story.texts
    own = "?own"
    found = story.enrolls(token, key=own)
    assert story.broker.world.workers[story.keys[own]].engine_id == engine_id
    assert TerminateWorker(name) in found


def test_a_worker_that_joins_first_serves_the_engine_that_waits_longest_and_none_is_launched_twice(story):
    first, one = asked_for(story)
    second = story.engine(pool="lab", name="second")
    story.submit(second)
    two = list(story.broker.world.launches)[1]
    joined(story, two)
    assert story.broker.world.workers[two].engine_id == first
    assert list(story.broker.world.launches) == [one, two]
    joined(story, one)
    assert story.broker.world.workers[one].engine_id == second


def test_an_engine_that_does_not_fit_on_its_launched_worker_has_no_other_one_launched(story):
    engine_id, name = asked_for(story)
    small = wire.WorkerDevice(device="cuda:0", name="small", total_bytes=1, free_bytes=1)
    story.member(story.texts, key="?small", launch=name, devices=(small,))
    assert story.broker.world.workers[name].engine_id is None
    story.wait(workers.IDLE_S + 1)
    assert story.broker.world.workers[name].is_asked_to_leave
    row = story.engine_row(engine_id)
    assert (row.status, row.error_code) == (EngineState.ERROR, "not_enough_memory")
    assert "has no device on which it fits" in row.error


def test_a_long_queue_has_one_more_worker_launched_and_one_that_fails_hurts_nobody(story):
    engine_id = story.engine(pool="lab", replicas=ReplicaRange(min=1, max=2))
    for _ in range(12):
        story.submit(engine_id)
    (name,) = story.broker.world.launches
    joined(story, name)
    story.ready(name)
    (second,) = launched(story.wait(scaling.GROW_AFTER_S + 1))
    story.exits(second, "exit code 1")
    assert list(story.broker.world.launches) == [name]
    assert story.engine_state(engine_id) is EngineState.WORKING
    assert launched(story.wait(30.0)) == []
