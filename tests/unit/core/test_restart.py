"""What a new start of the Manager makes of what the old one left open."""

from msgspec.structs import replace

from kernel.core.actions import LaunchWorker, SaveEngine, SaveJob
from kernel.protocol import client
from kernel.protocol.enums import EngineState, JobState
from tests.unit.core.samples import spec
from tests.unit.core.story import Story, only


def test_running_engine_is_closed_and_its_jobs_wait_at_their_old_places():
    story = Story()
    engine_id, _ = story.running_engine()
    jobs = [story.submit(engine_id) for _ in range(4)]
    found = story.begin()
    saved = only(found, SaveEngine)[0].row
    assert (saved.status, saved.device, saved.memory_bytes) == (EngineState.CLOSED, None, None)
    assert [save.row.job_id for save in only(found, SaveJob)] == jobs[:2]
    assert [story.job_state(job_id) for job_id in jobs] == [JobState.WAITING] * 4
    assert len(only(found, LaunchWorker)) == 1
    story.up(capacity=8)
    assert list(story.gives) == jobs
    assert [story.job(job_id).attempts for job_id in jobs] == [2, 2, 1, 1]
    assert story.job(jobs[0]).crashes == 0


def test_engine_without_jobs_stays_closed_after_a_restart():
    story = Story()
    engine_id, _ = story.running_engine()
    assert not only(story.begin(), LaunchWorker)
    assert story.engine_state(engine_id) is EngineState.CLOSED


def test_pictures_that_were_stored_before_a_restart_are_not_made_again():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id, count=2)
    story.picture(job_id, 0)
    story.stored(job_id, 0)
    story.picture(job_id, 1)
    story.begin()
    story.up()
    assert story.gives[job_id].positions == (1,)


def test_job_whose_pictures_were_all_stored_is_finished_by_a_restart():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    story.picture(job_id)
    story.stored(job_id)
    assert story.job_state(job_id) is JobState.PROCESSING
    assert not only(story.begin(), LaunchWorker)
    assert story.job_state(job_id) is JobState.FINISHED


def test_jobs_that_waited_for_an_engine_in_error_wait_on_after_a_restart():
    story = Story()
    engine_id = story.engine()
    jobs = [story.submit(engine_id) for _ in range(3)]
    row = replace(story.engine_row(engine_id), status=EngineState.ERROR, error_code="bad", error="broken")
    story.database.engines[engine_id] = row
    assert not only(story.begin(), LaunchWorker)
    assert [story.job_state(job_id) for job_id in jobs] == [JobState.WAITING] * 3
    assert story.engine_state(engine_id) is EngineState.ERROR


def test_suspects_are_still_suspects_after_a_restart():
    story = Story()
    engine_id, worker_id = story.running_engine()
    jobs = [story.submit(engine_id), story.submit(engine_id)]
    story.exits(worker_id)
    story.begin()
    story.up(capacity=8)
    assert list(story.gives) == jobs[:1]


def test_changes_and_jobs_are_numbered_on_across_a_restart():
    story = Story()
    engine_id = story.engine()
    first = story.submit(engine_id)
    before = story.database.changes[-1].seq
    story.begin()
    second = story.submit(engine_id)
    assert story.job(second).seq == story.job(first).seq + 1
    assert story.database.changes[-1].seq > before


def test_names_of_engines_are_known_after_a_restart():
    story = Story()
    engine_id = story.engine(name="portraits")
    story.begin()
    assert story.refusal(client.CreateEngine(spec=spec(name="portraits"), start=False)).code == "name_taken"
    reply = story.ask(client.DeleteEngine(engine_id=engine_id))
    assert reply == client.Done()


def test_restart_of_a_tidy_manager_saves_nothing():
    story = Story()
    engine_id = story.engine(autostart=False)
    story.submit(engine_id)
    before = story.database.copy()
    story.begin()
    before.epoch += 1
    assert story.database == before


def test_waiting_jobs_start_their_engines_in_their_order_and_only_as_many_as_there_is_room_for():
    story = Story()
    engines = [story.engine() for _ in range(3)]
    for engine_id in reversed(engines):
        story.submit(engine_id)
    assert len(only(story.begin(), LaunchWorker)) == 2
    states = [story.engine_state(engine_id) for engine_id in engines]
    assert sorted(states) == [EngineState.CLOSED, EngineState.STARTING, EngineState.STARTING]
