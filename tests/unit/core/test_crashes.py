"""Workers that die: how often an engine tries again, and which job is to blame."""

from kernel.core.actions import ForgetWorker, LaunchWorker
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState
from tests.unit.core.story import Story, only


def crash_until_ended(story, poison, engine_id, jobs, capacity):
    """Every worker makes what it is given, but dies of the poison."""
    for _ in range(100):
        while story.newcomers:
            story.up(capacity)
        held = [j for j in story.gives if story.job_state(j) is JobState.PROCESSING]
        if poison in held:
            story.exits(story.gives[poison].worker_id)
        elif held:
            story.make(held[0])
        elif all(story.job_state(j) not in (JobState.WAITING, JobState.PROCESSING) for j in jobs):
            return
        story.wait(1.0)


def test_engine_waits_longer_before_each_new_try():
    story = Story()
    story.submit(story.engine())
    story.exits(story.newcomers[0])
    assert not only(story.wait(0.99), LaunchWorker)
    assert only(story.wait(0.02), LaunchWorker)
    story.exits(story.newcomers[0])
    assert not only(story.wait(1.99), LaunchWorker)
    assert only(story.wait(0.02), LaunchWorker)


def test_worker_that_says_goodbye_unasked_loses_its_jobs_at_once_and_without_blame():
    story = Story()
    engine_id = story.engine(start=True, replicas=2)
    first, second = story.up(), story.up()
    job_id = story.submit(engine_id)
    assert story.gives[job_id].worker_id == first
    story.say(first, wire.Goodbye(reason="asked by a signal"))
    assert story.gives[job_id].worker_id == second
    assert story.job(job_id).crashes == 0
    story.exits(first, "exit code 0")
    assert len(only(story.wait(1.1), LaunchWorker)) == 1


def test_person_who_starts_an_engine_need_not_wait_for_its_next_try():
    story = Story()
    engine_id = story.engine(start=True)
    story.exits(story.newcomers[0])
    assert only(story.ask_actions(client.StartEngine(engine_id=engine_id)), LaunchWorker)


def test_finished_job_clears_the_count_of_deaths():
    story = Story()
    engine_id = story.engine(start=True)
    for _ in range(5):
        story.exits(story.newcomers[0])
        story.wait(10.0)
        worker_id = story.up()
        story.make(story.submit(engine_id))
        story.exits(worker_id)
        story.wait(10.0)
    assert story.engine_state(engine_id) is EngineState.STARTING


def test_worker_that_was_well_for_long_does_not_count_with_those_before():
    story = Story()
    engine_id = story.engine(start=True)
    for _ in range(6):
        worker_id = story.up()
        story.wait(601.0)
        story.exits(worker_id)
        story.wait(1.1)
    assert story.engine_state(engine_id) is EngineState.STARTING
    for _ in range(2):
        story.exits(story.up())
        story.wait(10.0)
    assert story.engine_state(engine_id) is EngineState.ERROR


def test_job_whose_worker_died_waits_again_with_the_reason():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    found = story.exits(worker_id, "signal SIGSEGV", last_words="a\nfree(): invalid pointer\n")
    row = story.job(job_id)
    assert (row.status, row.crashes) == (JobState.WAITING, 1)
    assert row.error == "the worker process crashed; signal SIGSEGV; free(): invalid pointer"
    assert ForgetWorker(worker_id) in found
    assert only(found, LaunchWorker)
    story.up()
    story.make(job_id)
    row = story.job(job_id)
    assert (row.status, row.attempts, row.error, row.error_code) == (JobState.FINISHED, 2, None, None)


def test_jobs_that_were_there_when_a_worker_died_are_run_alone():
    story = Story()
    engine_id, worker_id = story.running_engine(capacity=2)
    suspects = [story.submit(engine_id) for _ in range(3)]
    innocent = story.submit(engine_id)
    story.exits(worker_id)
    story.gives.clear()
    story.up(capacity=2)
    for number, job_id in enumerate(suspects):
        assert list(story.gives) == suspects[: number + 1]
        story.make(job_id)
    assert innocent in story.gives


def test_suspect_waits_until_a_worker_holds_nothing_and_others_go_to_other_workers():
    story = Story()
    engine_id = story.engine(start=True, replicas=2)
    first, second = story.up(), story.up()
    suspect = story.submit(engine_id)
    story.submit(engine_id)
    assert story.gives[suspect].worker_id == first
    story.exits(first)
    assert suspect in story.gives
    assert story.job_state(suspect) is JobState.WAITING
    third = story.up()
    assert story.gives[suspect].worker_id == third
    more = [story.submit(engine_id), story.submit(engine_id)]
    assert story.gives[more[0]].worker_id == second
    assert more[1] not in story.gives


def test_one_poisonous_job_in_ten_fails_and_the_other_nine_finish():
    story = Story(limits=Limits(max_running=1))
    engine_id = story.engine()
    jobs = [story.submit(engine_id) for _ in range(10)]
    poison = jobs[4]
    crash_until_ended(story, poison, engine_id, jobs, capacity=2)
    row = story.job(poison)
    assert (row.status, row.error_code, row.crashes) == (JobState.FAILED, "worker_crashed", 3)
    assert "attempt 3 of 3" in (row.error or "")
    states = [story.job_state(job_id) for job_id in jobs if job_id != poison]
    assert states == [JobState.FINISHED] * 9
    assert story.engine_row(engine_id).error is None


def test_crash_after_the_last_picture_was_stored_finishes_the_job():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.picture(job_id)
    story.stored(job_id)
    assert story.job_state(job_id) is JobState.PROCESSING
    story.exits(worker_id)
    row = story.job(job_id)
    assert (row.status, row.error, row.error_code) == (JobState.FINISHED, None, None)


def test_third_crash_after_the_last_picture_was_stored_finishes_the_job_too():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id, count=2)
    for _ in range(2):
        story.exits(worker_id)
        worker_id = story.up()
    for index in range(2):
        story.picture(job_id, index)
        story.stored(job_id, index)
    story.exits(worker_id)
    assert story.job(job_id).crashes == 3
    assert story.job_state(job_id) is JobState.FINISHED


def test_only_the_missing_pictures_are_made_again():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id, count=3)
    story.picture(job_id, 1)
    story.stored(job_id, 1)
    story.exits(worker_id)
    story.up()
    assert story.gives[job_id].positions == (0, 2)
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED
    assert len(story.database.images) == 3


def test_worker_ids_and_leases_never_repeat_across_restarts():
    story = Story()
    engine_id = story.engine(start=True)
    job_id = story.submit(engine_id)
    seen: list[str] = []
    leases: list[int] = []
    for _ in range(3):
        seen.append(story.up())
        leases.append(story.gives[job_id].lease)
        story.begin()
    assert len(set(seen)) == 3
    assert leases == sorted(set(leases))
