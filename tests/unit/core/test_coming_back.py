"""Workers of pools that have lost the Manager come back with what they hold: it counts, if it is still
theirs."""

import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState
from kernel.protocol.ids import EngineId, JobId, Lease, WorkerId
from kernel.protocol.specs import EngineLoad
from kernel.protocol.worker import HeldJob
from tests.unit.core.story import Story, only, orders_to


class Away:
    """A pool of one engine and one worker that makes a job."""

    def __init__(self, **fields: object) -> None:
        self.story = Story()
        self.token = self.story.token()
        self.engine_id = self.story.engine(pool="lab", **fields)
        (order,) = (
            one.message
            for one in only(self._begin(), actions.Order)
            if isinstance(one.message, wire.LoadEngine)
        )
        self.load: EngineLoad = order.load
        self.story.ready(self.worker_id)
        self.give = self.story.gives[self.job_id]

    def _begin(self) -> list[actions.Action]:
        self.job_id: JobId = self.story.submit(self.engine_id, count=2)
        found = self.story.enrolls(self.token)
        self.worker_id: WorkerId = self.story.keys["?key"]
        return found

    def comes_back(self, key: str = "?key", lease: Lease | None = None, **values: object) -> WorkerId:
        """It enrolls with its engine and its job. Returns: its name now."""
        self.found = self.story.enrolls(self.token, key, **self.holding(lease), **values)
        return self.story.keys[key]

    def holding(self, lease: Lease | None = None) -> dict[str, object]:
        ready = wire.EngineReady(engine_id=self.engine_id, device="cpu", memory_bytes=1, capacity=1)
        held = HeldJob(job_id=self.job_id, lease=lease or self.give.lease)
        return {"round": 1, "load": self.load, "ready": ready, "jobs": (held,)}

    def is_dropped(self, worker_id: WorkerId, lease: Lease | None = None) -> bool:
        order = wire.CancelJob(job_id=self.job_id, lease=lease or self.give.lease)
        return order in orders_to(self.found, worker_id)

    def finishes(self, worker_id: WorkerId) -> None:
        """The worker sends what it has made under its old lease."""
        give = actions.GiveJob(
            worker_id=worker_id,
            job_id=self.job_id,
            attempt=1,
            lease=self.give.lease,
            image_ids=self.give.image_ids,
            positions=self.give.positions,
        )
        self.story.gives[self.job_id] = give
        self.story.make(self.job_id)


def test_job_of_a_worker_that_comes_back_after_a_restart_goes_on_under_its_lease():
    away = Away()
    away.story.begin()
    assert away.story.job_state(away.job_id) is JobState.WAITING
    assert away.story.engine_state(away.engine_id) is EngineState.CLOSED
    worker_id = away.comes_back()
    row = away.story.job(away.job_id)
    assert (row.status, row.attempts, row.crashes, row.lease) == (
        JobState.PROCESSING,
        1,
        0,
        away.give.lease,
    )
    assert away.story.engine_state(away.engine_id) is EngineState.WORKING
    assert not only(away.found, actions.GiveJob)
    assert not [o for o in orders_to(away.found, worker_id) if isinstance(o, wire.LoadEngine | wire.Leave)]
    away.finishes(worker_id)
    assert away.story.job_state(away.job_id) is JobState.FINISHED
    assert len(away.story.database.images) == 2


def test_image_that_was_stored_before_the_restart_is_acknowledged_and_not_stored_again():
    away = Away()
    away.story.picture(away.job_id, 0)
    away.story.stored(away.job_id, 0)
    away.story.begin()
    worker_id = away.comes_back()
    away.story.gives[away.job_id] = actions.GiveJob(
        worker_id, away.job_id, 1, away.give.lease, away.give.image_ids, away.give.positions
    )
    found = away.story.picture(away.job_id, 0)
    assert not only(found, actions.StoreOutput)
    assert wire.ImageStored(job_id=away.job_id, lease=away.give.lease, index=0) in orders_to(found, worker_id)


def test_other_workers_wait_a_moment_after_a_restart_for_the_one_that_has_the_job():
    away = Away()
    away.story.begin()
    other = away.story.member(away.token, "?other")
    assert other not in away.story.engine_of
    worker_id = away.comes_back()
    away.finishes(worker_id)
    assert away.story.job_state(away.job_id) is JobState.FINISHED


def test_job_goes_to_another_worker_when_its_own_does_not_come_back_and_then_it_is_too_late():
    away = Away()
    away.story.begin()
    other = away.story.member(away.token, "?other")
    away.story.wait(10.0)
    assert away.story.engine_of[other] == away.engine_id
    away.story.ready(other)
    assert away.story.gives[away.job_id].worker_id == other
    worker_id = away.comes_back()
    assert wire.Leave() in orders_to(away.found, worker_id)
    away.story.make(away.job_id)
    assert away.story.job_state(away.job_id) is JobState.FINISHED
    assert len(away.story.database.images) == 2


def test_job_under_an_older_lease_is_dropped():
    away = Away()
    away.story.begin()
    older = Lease(away.give.lease - 1)
    worker_id = away.comes_back(lease=older)
    assert away.is_dropped(worker_id, older)
    away.story.wait(10.0)
    assert away.story.gives[away.job_id].lease > away.give.lease, "it was given out anew"


@pytest.mark.parametrize("end", ["cancelled", "deleted", "unknown"])
def test_job_that_is_not_wanted_any_more_is_dropped(end: str):
    away = Away()
    away.story.begin()
    if end != "unknown":
        away.story.ask(client.CancelJob(job_id=away.job_id))
    if end == "deleted":
        away.story.ask(client.DeleteJob(job_id=away.job_id))
    if end == "unknown":
        away.job_id = JobId("unknown")
    worker_id = away.comes_back()
    assert away.is_dropped(worker_id)


def test_engine_that_was_deleted_sends_its_worker_away():
    away = Away()
    away.story.begin()
    away.story.ask(client.DeleteEngine(engine_id=away.engine_id))
    worker_id = away.comes_back()
    assert wire.Leave() in orders_to(away.found, worker_id)
    away.story.say(worker_id, wire.Goodbye(reason="told to exit"))
    away.story.wait(1.0)
    assert not away.story.broker.world.workers


def test_engine_with_another_checkpoint_sends_its_worker_away():
    away = Away()
    away.story.begin()
    away.load = replace(away.load, checkpoint=replace(away.load.checkpoint, uri="file:///other"))
    worker_id = away.comes_back()
    assert wire.Leave() in orders_to(away.found, worker_id)


def test_engine_in_another_pool_is_not_taken_over():
    away = Away()
    away.story.begin()
    away.token = away.story.token("other")
    worker_id = away.comes_back()
    assert wire.Leave() in orders_to(away.found, worker_id)


def test_idle_worker_keeps_its_engine_over_a_restart_and_the_next_job_needs_no_load():
    away = Away()
    away.story.make(away.job_id)
    away.story.begin()
    held = away.holding() | {"jobs": ()}
    away.story.enrolls(away.token, **held)
    assert away.story.engine_state(away.engine_id) is EngineState.READY
    job_id = away.story.submit(away.engine_id)
    assert away.story.gives[job_id].worker_id == away.story.keys["?key"]


def test_worker_that_was_still_loading_is_not_told_to_load_again():
    story = Story()
    token = story.token()
    engine_id = story.engine(pool="lab", start=True)
    story.enrolls(token)
    load = story.broker.world.workers[story.keys["?key"]].enrolled.load
    story.begin()
    found = story.enrolls(token, round=1, load=load)
    assert not [o for o in orders_to(found, story.keys["?key"]) if isinstance(o, wire.LoadEngine)]
    assert story.engine_state(engine_id) is EngineState.STARTING
    story.engine_of[story.keys["?key"]] = engine_id
    story.ready(story.keys["?key"])
    assert story.engine_state(engine_id) is EngineState.READY


def test_worker_that_was_silent_for_too_long_gets_its_job_back_and_it_was_no_crash():
    away = Away()
    away.story.pinging.clear()
    away.story.wait(5.1)
    assert away.story.job(away.job_id).crashes == 1
    worker_id = away.comes_back()
    row = away.story.job(away.job_id)
    assert (row.status, row.crashes) == (JobState.PROCESSING, 0)
    away.finishes(worker_id)
    assert away.story.job_state(away.job_id) is JobState.FINISHED


def test_worker_that_lost_the_manager_and_was_not_missed_keeps_everything():
    away = Away()
    worker_id = away.comes_back()
    assert worker_id == away.worker_id
    assert not away.is_dropped(worker_id)
    away.story.make(away.job_id)
    assert away.story.job_state(away.job_id) is JobState.FINISHED


def test_job_whose_order_was_lost_on_the_way_is_given_out_again():
    away = Away()
    held = away.holding() | {"jobs": ()}
    away.story.enrolls(away.token, **held)
    assert away.story.gives[away.job_id].lease > away.give.lease


def test_order_to_load_that_was_lost_on_the_way_is_sent_again():
    story = Story()
    token = story.token()
    story.engine(pool="lab", start=True)
    worker_id = story.member(token)
    found = story.enrolls(token, round=1)
    assert [o for o in orders_to(found, worker_id) if isinstance(o, wire.LoadEngine)]


def test_worker_outlives_an_orderly_shutdown_with_its_engine_and_is_told_nothing():
    away = Away()
    away.story.make(away.job_id)
    idle = away.story.member(away.token, "?idle")
    found = away.story.stop() + away.story.wait(1.0)
    told = [*orders_to(found, away.worker_id), *orders_to(found, idle)]
    assert not [order for order in told if isinstance(order, wire.Drain | wire.Leave | wire.Refuse)]
    assert only(found, actions.Exit)
    assert away.story.engine_state(away.engine_id) is EngineState.CLOSED


def test_shutdown_waits_for_the_running_job_of_a_pool_but_not_for_its_worker():
    away = Away()
    assert not only(away.story.stop() + away.story.wait(5.0), actions.Exit)
    found = away.story.make(away.job_id) + away.story.wait(0.0)
    assert away.story.job_state(away.job_id) is JobState.FINISHED
    assert only(found, actions.Exit)


def test_job_of_a_shutdown_that_did_not_wait_goes_on_after_the_start():
    away = Away()
    found = away.story.stop(is_now=True) + away.story.wait(0.0)
    assert only(found, actions.Exit)
    assert away.story.job_state(away.job_id) is JobState.WAITING
    away.story.begin()
    away.finishes(away.comes_back())
    assert away.story.job_state(away.job_id) is JobState.FINISHED


def test_nobody_is_admitted_during_a_shutdown():
    away = Away()
    away.story.stop()
    assert not away.story.enrolls(away.token, "?late")


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_two_workers_come_back_in_any_order_each_with_its_own(order: str):
    story = Story()
    token = story.token()
    engine_id: EngineId = story.engine(pool="lab", replicas=2, start=True)
    for key in ("?a", "?b"):
        story.ready(story.member(token, key))
    jobs = [story.submit(engine_id) for _ in range(2)]
    gives = {story.gives[job_id].worker_id: story.gives[job_id] for job_id in jobs}
    names = {key: story.keys[key] for key in ("?a", "?b")}
    world = story.broker.world
    loads = {key: world.workers[names[key]].enrolled.load for key in names}
    story.begin()
    ready = wire.EngineReady(engine_id=engine_id, device="cpu", memory_bytes=1, capacity=1)
    for letter in order:
        give = gives[names[f"?{letter}"]]
        held = (HeldJob(job_id=give.job_id, lease=give.lease),)
        story.enrolls(token, f"?{letter}", round=1, load=loads[f"?{letter}"], ready=ready, jobs=held)
    assert [story.job_state(job_id) for job_id in jobs] == [JobState.PROCESSING] * 2
    assert not story.gives


def test_message_that_was_sent_twice_takes_no_job_back_that_was_given_meanwhile():
    away = Away()
    worker_id = away.worker_id
    found = away.story.enrolls(away.token)
    assert [type(order) for order in orders_to(found, worker_id)] == [wire.Welcome]
    assert away.story.gives[away.job_id] == away.give
    assert away.story.job_state(away.job_id) is JobState.PROCESSING


def test_worker_that_loads_when_the_manager_stops_is_told_nothing_and_goes_on_loading():
    story = Story()
    token = story.token()
    story.engine(pool="lab", start=True)
    worker_id = story.member(token)
    found = story.stop() + story.wait(1.0)
    assert not orders_to(found, worker_id)
    assert only(found, actions.Exit)


def test_job_that_another_worker_makes_is_not_taken_by_one_that_names_its_lease():
    away = Away(replicas=2)
    other = away.comes_back("?other")
    assert other != away.worker_id
    assert away.is_dropped(other)
    away.story.make(away.job_id)
    assert away.story.job_state(away.job_id) is JobState.FINISHED


def test_job_whose_images_were_stored_for_a_database_that_is_gone_is_made_again():
    """The database is that of a backup: the worker was told then that its images are stored."""
    away = Away()
    away.story.begin()
    worker_id = away.comes_back()
    done = wire.JobDone(job_id=away.job_id, lease=away.give.lease)
    away.story.say(worker_id, done)
    (again,) = only(away.story.wait(10), actions.GiveJob)
    assert again.lease > away.give.lease
    away.story.make(away.job_id)
    assert away.story.job_state(away.job_id) is JobState.FINISHED
    assert len(away.story.database.images) == 2
