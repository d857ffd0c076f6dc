"""How an engine stops, and what becomes of its jobs."""

from kernel.core.actions import LaunchWorker, TerminateWorker
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState
from kernel.protocol.errors import ShuttingDown
from tests.unit.core.samples import CHECKPOINT, submit
from tests.unit.core.story import Story, only, orders_to


def test_stopped_engine_finishes_what_its_worker_holds_and_keeps_what_waits():
    story = Story()
    engine_id, worker_id = story.running_engine()
    held = [story.submit(engine_id), story.submit(engine_id)]
    waiting = story.submit(engine_id)
    assert wire.Drain() in orders_to(story.ask_actions(client.StopEngine(engine_id=engine_id)), worker_id)
    for job_id in held:
        story.make(job_id)
    story.say(worker_id, wire.Goodbye(reason="drained"))
    found = story.exits(worker_id, "exit code 0")
    assert [story.job_state(job_id) for job_id in held] == [JobState.FINISHED] * 2
    assert story.job_state(waiting) is JobState.WAITING
    assert story.engine_state(engine_id) is EngineState.CLOSED
    assert not only(found, LaunchWorker)


def test_stopped_engine_takes_all_the_time_that_its_jobs_need():
    story = Story()
    engine_id, _worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.ask(client.StopEngine(engine_id=engine_id))
    for step in range(1, 20):
        assert not only(story.wait(30.0), TerminateWorker)
        story.progress(job_id, step)
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED


def test_stopped_engine_stays_closed_though_jobs_wait_until_a_new_one_comes():
    story = Story()
    engine_id = story.engine()
    waiting = story.submit(engine_id)
    worker_id = story.up()
    story.ask(client.StopEngine(engine_id=engine_id, now=True))
    story.exits(worker_id, "exit code 0")
    story.wait(10_000.0)
    assert story.engine_state(engine_id) is EngineState.CLOSED
    assert story.job_state(waiting) is JobState.WAITING
    assert only(story.ask_actions(submit(engine_id)), LaunchWorker)
    worker_id = story.up()
    assert story.gives[waiting].worker_id == worker_id


def test_engine_stopped_now_gives_its_jobs_back_without_blame():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    told = orders_to(story.ask_actions(client.StopEngine(engine_id=engine_id, now=True)), worker_id)
    assert wire.Leave() in told
    row = story.job(job_id)
    assert (row.status, row.crashes, row.attempts) == (JobState.WAITING, 0, 1)
    story.exits(worker_id, "signal SIGTERM")
    assert story.job(job_id).crashes == 0
    assert story.engine_state(engine_id) is EngineState.CLOSED


def test_engine_stopped_while_it_loads_has_its_worker_terminated():
    story = Story()
    engine_id = story.engine(start=True)
    story.hello(worker_id := story.newcomers[0])
    found = story.ask_actions(client.StopEngine(engine_id=engine_id))
    assert only(found, TerminateWorker)
    assert story.engine_state(engine_id) is EngineState.STOPPING
    story.exits(worker_id, "signal SIGTERM")
    assert story.engine_state(engine_id) is EngineState.CLOSED


def test_draining_worker_that_does_not_leave_is_terminated_even_when_its_last_picture_was_stored_late():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.ask(client.StopEngine(engine_id=engine_id))
    story.picture(job_id)
    story.done(job_id)
    story.stored(job_id)
    assert story.job_state(job_id) is JobState.FINISHED
    assert TerminateWorker(worker_id) in story.wait(11.0)


def test_engine_that_is_started_while_it_stops_starts_again_once_it_is_closed():
    story = Story()
    engine_id, worker_id = story.running_engine()
    story.ask(client.StopEngine(engine_id=engine_id))
    reply = story.ask(client.StartEngine(engine_id=engine_id))
    assert reply == client.EngineAccepted(engine_id=engine_id, status=EngineState.STOPPING)
    found = story.exits(worker_id, "exit code 0")
    assert only(found, LaunchWorker)
    assert story.engine_state(engine_id) is EngineState.STARTING
    states = [c.state for c in story.database.changes if c.id == engine_id]
    assert states[-3:] == ["stopping", "closed", "starting"]


def test_job_that_comes_while_an_engine_stops_starts_it_again_once_it_is_closed():
    story = Story()
    engine_id, worker_id = story.running_engine()
    story.ask(client.StopEngine(engine_id=engine_id))
    job_id = story.submit(engine_id)
    assert job_id not in story.gives
    story.exits(worker_id, "exit code 0")
    assert story.gives == {}
    assert story.up()
    assert story.job_state(job_id) is JobState.PROCESSING


def test_engine_that_waits_for_its_next_try_is_closed_at_once_when_it_is_stopped():
    story = Story()
    engine_id = story.engine(start=True)
    story.exits(story.newcomers[0])
    assert story.engine_state(engine_id) is EngineState.STARTING
    assert story.refusal(client.DeleteEngine(engine_id=engine_id)).code == "engine_running"
    story.ask(client.StopEngine(engine_id=engine_id))
    assert story.engine_state(engine_id) is EngineState.CLOSED
    assert not only(story.wait(100.0), LaunchWorker)


def test_stopping_a_closed_engine_changes_nothing():
    story = Story()
    engine_id = story.engine()
    reply = story.ask(client.StopEngine(engine_id=engine_id))
    assert reply == client.EngineAccepted(engine_id=engine_id, status=EngineState.CLOSED)


def test_running_engine_cannot_be_deleted():
    story = Story()
    engine_id, worker_id = story.running_engine()
    assert story.refusal(client.DeleteEngine(engine_id=engine_id)).code == "engine_running"
    story.ask(client.StopEngine(engine_id=engine_id))
    story.exits(worker_id, "exit code 0")
    assert story.ask(client.DeleteEngine(engine_id=engine_id)) == client.Done()
    assert engine_id not in story.database.engines


def test_deleted_engine_takes_its_jobs_and_images_with_it():
    story = Story()
    engine_id, worker_id = story.running_engine()
    made = story.submit(engine_id)
    story.make(made)
    story.ask(client.StopEngine(engine_id=engine_id))
    story.exits(worker_id, "exit code 0")
    sleeping = story.engine(autostart=False)
    other = story.submit(sleeping)
    story.ask(client.DeleteEngine(engine_id=engine_id))
    story.ask(client.DeleteEngine(engine_id=sleeping))
    assert not story.database.jobs
    assert not story.database.images
    assert story.database.trash == [f"{story.gives[made].image_ids[0]}.png"]
    assert story.refusal(client.CancelJob(job_id=other)).code == "job_not_found"


def test_deleted_engine_can_leave_its_images_with_the_jobs_that_they_belong_to():
    story = Story()
    engine_id, worker_id = story.running_engine(name="portraits")
    made, half = story.submit(engine_id), story.submit(engine_id, count=2)
    story.make(made)
    story.picture(half)
    story.stored(half)
    waiting = story.submit(engine_id)
    story.ask(client.StopEngine(engine_id=engine_id, now=True))
    story.exits(worker_id, "exit code 0")
    assert story.ask(client.DeleteEngine(engine_id=engine_id, keep_images=True)) == client.Done()
    assert {job_id: row.status for job_id, row in story.database.jobs.items()} == {
        made: JobState.FINISHED,
        half: JobState.CANCELLED,
    }
    assert [row.job_id for row in story.database.images.values()] == [made, half]
    assert not story.database.trash
    assert story.refusal(client.CancelJob(job_id=waiting)).code == "job_not_found"
    story.begin()
    assert story.engine(name="portraits") != engine_id
    image_id = story.image_id(made)
    assert isinstance(story.ask(client.ClaimDownload(image_id=image_id)), client.DownloadGranted)


def test_a_job_and_its_images_say_which_checkpoint_made_them():
    story = Story()
    engine_id, _ = story.running_engine()
    made, waiting = story.submit(engine_id), story.submit(engine_id)
    never = story.submit(engine_id)
    assert story.job(never).checkpoint is None
    story.make(made)
    story.ask(client.CancelJob(job_id=never))
    assert [story.job(job_id).checkpoint for job_id in (made, waiting, never)] == [CHECKPOINT] * 3
    assert story.database.images[story.image_id(made)].checkpoint == CHECKPOINT


def test_name_of_a_deleted_engine_is_free_again():
    story = Story()
    engine_id = story.engine(name="portraits")
    assert (
        story.refusal(client.CreateEngine(spec=story.engine_row(engine_id).spec, start=False)).code
        == "name_taken"
    )
    story.ask(client.DeleteEngine(engine_id=engine_id))
    assert story.engine(name="portraits") != engine_id


def test_engine_is_not_started_during_a_shutdown_even_if_it_runs():
    story = Story()
    engine_id, _ = story.running_engine()
    story.submit(engine_id)
    story.stop()
    assert story.refusal(client.StartEngine(engine_id=engine_id)).code == ShuttingDown.code
