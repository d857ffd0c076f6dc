"""When an engine starts and when it closes."""

from kernel.core.actions import GiveJob, LaunchWorker
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import Compilation, EngineState, JobState
from tests.unit.core.samples import CHECKPOINT, submit
from tests.unit.core.story import Story, only, orders_to


def test_job_for_a_closed_engine_starts_it():
    story = Story()
    engine_id = story.engine()
    assert story.engine_state(engine_id) is EngineState.CLOSED
    found = story.ask_actions(submit(engine_id))
    assert len(only(found, LaunchWorker)) == 1
    assert story.engine_state(engine_id) is EngineState.STARTING


def test_more_jobs_for_a_starting_engine_launch_nothing_more():
    story = Story()
    engine_id = story.engine()
    story.submit(engine_id)
    assert not only(story.ask_actions(submit(engine_id)), LaunchWorker)


def test_engine_that_must_not_start_by_itself_lets_its_jobs_wait_for_a_person():
    story = Story()
    engine_id = story.engine(autostart=False)
    job_id = story.submit(engine_id)
    assert not story.newcomers
    story.ask(client.StartEngine(engine_id=engine_id))
    worker_id = story.up()
    assert story.gives[job_id].worker_id == worker_id


def test_worker_that_says_hello_is_welcomed_with_the_engine_to_load():
    story = Story()
    engine_id = story.engine(start=True, device="cuda:1", max_batch=3)
    welcome, order = orders_to(story.hello(worker_id := story.newcomers[0]), worker_id)
    assert isinstance(welcome, wire.Welcome)
    assert welcome.epoch == 1
    assert isinstance(order, wire.LoadEngine)
    assert (order.load.engine_id, order.load.device, order.load.max_batch) == (engine_id, "cuda:1", 3)
    assert order.load.checkpoint.model_id == CHECKPOINT


def test_worker_is_told_what_to_prepare_and_for_pictures_of_which_size():
    story = Story(limits=Limits(compilation=Compilation.GRAPHS))
    story.engine(start=True, width_px=768, guidance_scale=1.0)
    _, order = orders_to(story.hello(worker_id := story.newcomers[0]), worker_id)
    assert isinstance(order, wire.LoadEngine)
    assert order.load.compilation is Compilation.GRAPHS
    assert (order.load.width_px, order.load.height_px, order.load.guidance_scale) == (768, 512, 1.0)


def test_worker_that_says_hello_twice_is_answered_twice():
    story = Story()
    story.engine(start=True)
    worker_id = story.newcomers[0]
    first = orders_to(story.hello(worker_id), worker_id)
    assert orders_to(story.hello(worker_id), worker_id) == first
    story.ready(worker_id)
    assert [type(order) for order in orders_to(story.hello(worker_id), worker_id)] == [wire.Welcome]


def test_engine_shows_where_it_runs_and_since_when():
    story = Story()
    engine_id = story.engine(start=True)
    story.wait(3.0)
    story.hello(worker_id := story.newcomers[0])
    story.ready(worker_id, device="cuda:0")
    row = story.engine_row(engine_id)
    assert (row.status, row.device, row.memory_bytes) == (EngineState.READY, "cuda:0", 1)
    assert row.started_at_ms == 1_003_000


def test_engine_is_working_while_a_worker_holds_a_job():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    assert story.engine_state(engine_id) is EngineState.WORKING
    story.make(job_id)
    assert story.engine_state(engine_id) is EngineState.READY


def test_engine_started_on_demand_closes_after_its_idle_time():
    story = Story(limits=Limits(keep_alive_s=30.0))
    engine_id = story.engine()
    job_id = story.submit(engine_id)
    worker_id = story.up()
    story.make(job_id)
    story.wait(29.9)
    assert story.engine_state(engine_id) is EngineState.READY
    assert wire.Drain() in orders_to(story.wait(0.2), worker_id)
    assert story.engine_state(engine_id) is EngineState.STOPPING
    story.say(worker_id, wire.Goodbye(reason="drained"))
    story.exits(worker_id, "exit code 0")
    row = story.engine_row(engine_id)
    assert (row.status, row.device, row.memory_bytes) == (EngineState.CLOSED, None, None)


def test_idle_time_of_an_engine_counts_before_that_of_the_settings_even_when_it_is_zero():
    story = Story(limits=Limits(keep_alive_s=30.0))
    engine_id = story.engine(keep_alive_s=0.0)
    job_id = story.submit(engine_id)
    story.up()
    story.make(job_id)
    story.wait(0.0)
    assert story.engine_state(engine_id) is EngineState.STOPPING


def test_new_job_begins_the_idle_time_anew():
    story = Story(limits=Limits(keep_alive_s=30.0))
    engine_id = story.engine()
    first = story.submit(engine_id)
    story.up()
    story.make(first)
    story.wait(20.0)
    story.make(story.submit(engine_id))
    story.wait(29.0)
    assert story.engine_state(engine_id) is EngineState.READY
    story.wait(2.0)
    assert story.engine_state(engine_id) is EngineState.STOPPING


def test_engine_started_by_a_person_never_closes_by_itself():
    story = Story(limits=Limits(keep_alive_s=1.0))
    engine_id, _ = story.running_engine()
    story.make(story.submit(engine_id))
    story.wait(100.0)
    assert story.engine_state(engine_id) is EngineState.READY


def test_starting_an_engine_that_runs_on_demand_keeps_it():
    story = Story(limits=Limits(keep_alive_s=10.0))
    engine_id = story.engine()
    job_id = story.submit(engine_id)
    story.up()
    story.make(job_id)
    story.ask(client.StartEngine(engine_id=engine_id))
    story.wait(100.0)
    assert story.engine_state(engine_id) is EngineState.READY


def test_engine_with_replicas_has_as_many_workers_and_they_share_the_jobs():
    story = Story()
    engine_id = story.engine(start=True, replicas=2)
    workers = {story.up(), story.up()}
    jobs = [story.submit(engine_id), story.submit(engine_id)]
    assert {story.gives[job_id].worker_id for job_id in jobs} == workers


def test_second_replica_changes_nothing_that_the_first_one_told_of_the_engine():
    story = Story()
    engine_id = story.engine(start=True, replicas=2)
    story.up()
    story.hello(second := story.newcomers[0])
    story.wait(2.0)
    story.ready(second, device="cuda:1")
    assert story.engine_row(engine_id).device == "cpu"
    assert story.broker.world.engines[engine_id].row == story.engine_row(engine_id)


def test_replica_that_died_is_replaced_while_the_other_one_works_on():
    story = Story()
    engine_id = story.engine(start=True, replicas=2)
    story.up()
    second = story.up()
    story.exits(second)
    assert story.engine_state(engine_id) is EngineState.READY
    assert len(only(story.wait(2.0), LaunchWorker)) == 1


def test_jobs_that_wait_are_given_to_a_worker_as_soon_as_it_is_ready():
    story = Story()
    engine_id = story.engine()
    jobs = [story.submit(engine_id) for _ in range(3)]
    story.hello(worker_id := story.newcomers[0])
    found = story.ready(worker_id, capacity=2)
    assert [give.job_id for give in only(found, GiveJob)] == jobs


def test_engine_that_is_started_with_its_creation_is_loaded_and_then_closes_like_one_on_demand():
    story = Story(limits=Limits(keep_alive_s=30.0))
    engine_id = story.created(autostart=True)
    story.up()
    assert story.engine_state(engine_id) is EngineState.READY
    story.wait(29.0)
    assert story.engine_state(engine_id) is EngineState.READY
    story.wait(2.0)
    assert story.engine_state(engine_id) is EngineState.STOPPING


def test_engine_without_autostart_that_is_started_with_its_creation_stays():
    story = Story(limits=Limits(keep_alive_s=30.0))
    engine_id = story.created(autostart=False)
    story.up()
    story.wait(10_000.0)
    assert story.engine_state(engine_id) is EngineState.READY


def test_engine_that_was_started_with_its_creation_makes_room_when_it_is_idle():
    story = Story(limits=Limits(max_running=1))
    first = story.created(autostart=True)
    worker_id = story.up()
    second = story.engine()
    job_id = story.submit(second)
    assert story.engine_state(first) is EngineState.STOPPING
    story.exits(worker_id)
    story.up()
    assert story.job_state(job_id) is JobState.PROCESSING
