"""An engine with a range of replicas: when a worker is added for its queue, and when one is given back."""

import pytest

from kernel.core.actions import LaunchWorker
from kernel.core.admission.scaling import GROW_AFTER_S, PAUSE_S, SHRINK_AFTER_S
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState
from kernel.protocol.values import ReplicaRange
from tests.unit.core.samples import device, heavy, spec
from tests.unit.core.story import Story, only, orders_to

GB = 1_000_000_000
LIMITS = Limits(max_running=9, keep_alive_s=10_000.0)
MODELS = (heavy("one", GB), heavy("four", 4 * GB))


class Growing:
    """An engine with 1 to 3 workers, on a device that has memory for so many of them."""

    def __init__(self, free=20 * GB, most=3, least=1, limits=LIMITS):
        self.story = Story(*MODELS, limits=limits, devices=(device("cpu", free),))
        replicas = ReplicaRange(min=least, max=most)
        self.engine_id = self.story.engine(start=True, checkpoint="four", replicas=replicas)
        self.workers = [self.story.up() for _ in range(least)]

    @property
    def engine(self):
        return self.story.broker.world.engines[self.engine_id]

    def submit(self, number):
        return [self.story.submit(self.engine_id) for _ in range(number)]

    def grown(self, number=9):
        """A second worker was added for a queue of so many jobs. Returns: the jobs."""
        jobs = self.submit(number)
        self.story.wait(GROW_AFTER_S)
        self.workers.append(self.story.up())
        return jobs

    def finish(self):
        """Every job is made."""
        while open_jobs := [j for j in self.story.gives if j in self.story.broker.world.jobs]:
            self.story.make(open_jobs[0])

    def drained(self, found):
        return [w for w in self.workers if wire.Drain() in orders_to(found, w)]


def test_engine_starts_with_the_least_of_its_range():
    growing = Growing()
    assert growing.story.newcomers == []
    growing.story.wait(100.0)
    assert growing.story.newcomers == []


def test_worker_is_added_once_the_queue_has_been_long_for_a_while():
    growing = Growing()
    growing.submit(5)  # two are held by the worker, which steps one of them
    assert growing.story.wait(GROW_AFTER_S - 0.1) is not None
    assert growing.story.newcomers == []
    assert len(only(growing.story.wait(0.2), LaunchWorker)) == 1


def test_queue_of_two_jobs_for_each_place_is_not_long():
    growing = Growing()
    growing.submit(4)
    growing.story.wait(60.0)
    assert growing.story.newcomers == []


def test_queue_that_was_short_in_between_counts_anew():
    growing = Growing()
    jobs = growing.submit(5)
    growing.story.wait(GROW_AFTER_S - 1)
    growing.story.make(jobs[0])
    growing.submit(1)
    growing.story.wait(GROW_AFTER_S - 1)
    assert growing.story.newcomers == []
    growing.story.wait(1.1)
    assert len(growing.story.newcomers) == 1


def test_next_worker_is_added_only_after_the_last_one_has_loaded_and_no_more_than_the_most():
    growing = Growing(most=3)
    growing.submit(20)
    growing.story.wait(30.0)
    assert len(growing.story.newcomers) == 1
    growing.story.up()
    growing.story.wait(GROW_AFTER_S - 0.1)
    assert growing.story.newcomers == []
    growing.story.wait(0.2)
    growing.story.up()
    growing.story.wait(30.0)
    assert growing.story.newcomers == []
    assert len(list(growing.engine.live_workers)) == 3


def test_no_worker_is_added_where_its_memory_is_not_free():
    growing = Growing(free=6 * GB)
    growing.submit(9)
    growing.story.wait(30.0)
    assert growing.story.newcomers == []


def test_no_worker_is_added_and_no_engine_closed_for_it_while_one_waits_for_memory():
    growing = Growing(free=11 * GB)
    story = growing.story
    story.engine(start=True, checkpoint="four", name="other")
    growing.submit(9)
    story.wait(30.0)
    assert len(story.newcomers) == 1, "that of the other engine"
    assert len(list(growing.engine.live_workers)) == 1


@pytest.mark.parametrize("is_for_all", [False, True])
def test_paused_queue_is_not_long(is_for_all):
    growing = Growing()
    growing.story.ask(client.PauseQueue(engine_id=None if is_for_all else growing.engine_id))
    growing.submit(9)
    growing.story.wait(30.0)
    assert growing.story.newcomers == []


def test_idle_worker_is_given_back_after_a_while_without_waiting_jobs():
    growing = Growing()
    growing.grown()
    growing.finish()
    assert growing.drained(growing.story.wait(SHRINK_AFTER_S - 0.1)) == []
    found = growing.story.wait(0.2)
    assert len(growing.drained(found)) == 1
    for worker_id in growing.drained(found):
        growing.story.exits(worker_id, "exit code 0")
    assert growing.drained(growing.story.wait(1000.0)) == [], "the least of them stays"
    assert growing.engine.row.status is EngineState.READY


def test_worker_that_one_client_at_a_time_does_not_need_is_given_back_though_jobs_come():
    growing = Growing()
    growing.grown()
    growing.finish()
    found = []
    for _ in range(70):
        (job_id,) = growing.submit(1)
        found += growing.story.wait(1.0)
        growing.story.make(job_id)
    assert len(growing.drained(found)) == 1


def test_worker_that_is_needed_again_in_time_stays():
    growing = Growing()
    growing.grown()
    growing.finish()
    growing.story.wait(SHRINK_AFTER_S - 1)
    growing.submit(5)
    growing.finish()
    assert growing.drained(growing.story.wait(SHRINK_AFTER_S - 1)) == []


def test_added_worker_leaves_after_its_jobs_for_an_engine_that_waits_for_memory():
    growing = Growing(free=11 * GB)
    story, jobs = growing.story, growing.grown()
    other = story.engine(checkpoint="four", name="other")
    found = story.ask_actions(client.SubmitJob(engine_id=other, request=_request()))
    (leaving,) = growing.drained(found)
    while held := [j for j in jobs if j in story.gives and _holds(growing, leaving, j)]:
        story.make(held[0])
    assert len(only(story.exits(leaving, "exit code 0"), LaunchWorker)) == 1
    assert story.engine_state(other) is EngineState.STARTING
    assert story.engine_state(growing.engine_id) is EngineState.WORKING
    story.wait(30.0)
    assert len(list(growing.engine.live_workers)) == 1


def _request():
    return client.JobRequest(prompt="a cat")


def _holds(growing, worker_id, job_id):
    worker = growing.story.broker.world.workers.get(worker_id)
    return worker is not None and job_id in worker.slots


@pytest.mark.parametrize("end", ["says so", "dies"])
def test_added_worker_that_cannot_load_is_given_up_and_the_others_work_on(end):
    growing = Growing()
    story, jobs = growing.story, growing.submit(9)
    story.wait(GROW_AFTER_S)
    (added,) = story.newcomers
    story.hello(added)
    if end == "says so":
        report = wire.EngineFailed(engine_id=growing.engine_id, code="out_of_memory", text="too little")
        story.say(added, report)
    story.exits(added)
    assert growing.engine.row.status is EngineState.WORKING
    assert story.job_state(jobs[0]) is JobState.PROCESSING
    story.wait(PAUSE_S - GROW_AFTER_S - 1)
    assert story.newcomers == []
    story.submit(growing.engine_id)
    story.wait(10.0)
    story.submit(growing.engine_id)
    story.wait(GROW_AFTER_S + 1)
    assert len(story.newcomers) == 1


def test_range_can_be_changed_while_the_engine_runs():
    growing = Growing()
    story = growing.story
    growing.grown()

    def edit(replicas):
        ask = client.EditEngine(
            engine_id=growing.engine_id, fields=("replicas",), spec=spec(replicas=replicas)
        )
        return story.ask_actions(ask)

    assert growing.drained(edit(ReplicaRange(min=1, max=2))) == []
    assert growing.drained(edit(2)) == []
    assert growing.drained(edit(ReplicaRange(min=1, max=4))) == [], "it stays until it is not needed"
    assert growing.engine.extra_replicas == 1
    assert len(growing.drained(edit(1))) == 1


def test_closed_engine_begins_again_with_the_least():
    growing = Growing(least=1)
    growing.grown()
    growing.story.ask(client.StopEngine(engine_id=growing.engine_id, now=True))
    for worker_id in growing.workers:
        growing.story.exits(worker_id, "exit code 0")
    growing.story.ask(client.StartEngine(engine_id=growing.engine_id))
    assert len(growing.story.newcomers) == 1
