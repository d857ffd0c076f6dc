"""Engines that failed of what may pass: they are tried again after growing pauses, while jobs wait."""

from kernel.core import due
from kernel.core.actions import LaunchWorker
from kernel.core.events import DiskSwept
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol.enums import EngineState, JobState, WaitsFor
from tests.unit.core.samples import device, submit
from tests.unit.core.story import Story, only
from tests.unit.core.test_engine_failure import fail_to_load

LONG_S = 2_000.0
GB = 1_000_000_000


def crash(story):
    """The newest worker dies before it has loaded its engine."""
    story.exits(story.newcomers[0], "exit code 1", last_words="ImportError: no torch\n")


def crash_into_error(story):
    """Three workers in a row die; the engine is in error from now on."""
    crash(story)
    story.wait(1.0)
    crash(story)
    story.wait(2.0)
    crash(story)


def failing_engine(jobs=1, limits=None, **fields):
    story = Story(limits=limits)
    engine_id = story.engine(**fields)
    waiting = [story.submit(engine_id) for _ in range(jobs)]
    crash_into_error(story)
    return story, engine_id, waiting


def test_jobs_wait_with_the_reason_while_the_engine_rests():
    story, engine_id, jobs = failing_engine(jobs=2)
    row = story.engine_row(engine_id)
    assert (row.status, row.error_code) == (EngineState.ERROR, "worker_crashed")
    assert "3 workers crashed in a row" in (row.error or "")
    assert "ImportError: no torch" in (row.error or "")
    assert row.failing_since_ms == story.now.unix_ms
    assert [story.job_state(job_id) for job_id in jobs] == [JobState.WAITING] * 2
    reply = story.ask(submit(engine_id))
    assert isinstance(reply, client.JobAccepted)
    assert (reply.waits_for, reply.error_code, reply.error) == (WaitsFor.RETRY, row.error_code, row.error)


def test_pauses_double_up_to_the_longest_and_one_worker_is_launched_for_each_try():
    story, engine_id, _ = failing_engine(limits=Limits(longest_pause_s=10.0))
    for pause_s in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
        retry_at_ms = story.now.unix_ms + int(pause_s * 1000)
        assert story.engine_row(engine_id).retry_at_ms == retry_at_ms
        assert not only(story.wait(pause_s - 0.01), LaunchWorker)
        assert len(only(story.wait(0.01), LaunchWorker)) == 1
        row = story.engine_row(engine_id)
        assert (row.status, row.retry_at_ms) == (EngineState.STARTING, None)
        crash(story)
        assert story.engine_state(engine_id) is EngineState.ERROR


def test_a_thousand_failures_are_counted_without_a_fault():
    story, engine_id, _ = failing_engine()
    story.broker.world.engines[engine_id].failures = 5_000
    story.wait(1.0)
    crash(story)
    assert story.engine_row(engine_id).retry_at_ms == story.now.unix_ms + 300_000


def test_reason_stays_readable_through_the_tries_and_goes_when_one_succeeds():
    story, engine_id, (job_id,) = failing_engine()
    since_ms = story.engine_row(engine_id).failing_since_ms
    story.wait(1.0)
    row = story.engine_row(engine_id)
    assert (row.status, row.error_code) == (EngineState.STARTING, "worker_crashed")
    crash(story)
    assert story.engine_row(engine_id).failing_since_ms == since_ms
    story.wait(2.0)
    story.up()
    row = story.engine_row(engine_id)
    assert (row.status, row.error_code, row.error) == (EngineState.WORKING, None, None)
    assert (row.failing_since_ms, row.retry_at_ms) == (None, None)
    story.make(job_id)
    assert (story.job_state(job_id), story.job(job_id).error) == (JobState.FINISHED, None)


def test_lack_of_memory_while_loading_is_tried_again():
    story = Story()
    engine_id = story.engine()
    job_id = story.submit(engine_id)
    worker_id, _ = fail_to_load(story, "out_of_memory")
    story.exits(worker_id)
    assert story.engine_state(engine_id) is EngineState.ERROR
    assert only(story.wait(1.0), LaunchWorker)
    story.up()
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED


def test_worker_that_is_slow_to_end_delays_the_try_until_it_is_gone():
    story = Story()
    engine_id = story.engine()
    story.submit(engine_id)
    worker_id, _ = fail_to_load(story, "out_of_memory")
    assert not only(story.wait(5.0), LaunchWorker)
    assert story.engine_row(engine_id).retry_at_ms is None
    assert only(story.exits(worker_id), LaunchWorker)


def test_hang_while_loading_is_tried_again():
    story = Story(limits=Limits(load_timeout_s=30.0))
    engine_id = story.engine()
    story.submit(engine_id)
    launches = 1
    for _ in range(5):
        worker_id = story.newcomers[0]
        story.hello(worker_id)
        story.wait(31.0)
        story.exits(worker_id)
        launches += len(only(story.wait(9.0), LaunchWorker))
    assert launches == 6
    assert story.engine_row(engine_id).error_code == "worker_crashed"
    assert "loading timed out" in (story.engine_row(engine_id).error or "")


def test_device_that_comes_back_makes_the_jobs_that_wait_for_it():
    story = Story()
    story.devices = (device("cpu", 6 * GB),)
    story.tell(DiskSwept(free_bytes=1 << 40, devices=story.devices))
    engine_id = story.engine(device="cuda:0")
    story.submit(engine_id)
    row = story.engine_row(engine_id)
    assert (row.status, row.error_code) == (EngineState.ERROR, "device_unavailable")
    assert not only(story.wait(100.0), LaunchWorker)
    story.devices = (*story.devices, device("cuda:0", 6 * GB))
    story.tell(DiskSwept(free_bytes=1 << 40, devices=story.devices))
    assert only(story.wait(300.0), LaunchWorker)
    assert story.engine_state(engine_id) is EngineState.STARTING


def test_without_jobs_nothing_is_tried_until_one_comes():
    story = Story()
    engine_id = story.engine(start=True)
    crash_into_error(story)
    assert story.engine_row(engine_id).retry_at_ms is None
    assert not only(story.wait(LONG_S), LaunchWorker)
    story.submit(engine_id)
    assert story.engine_row(engine_id).error_code == "worker_crashed"
    assert story.newcomers or only(story.wait(0.0), LaunchWorker), "the pause is over long since"


def test_new_jobs_neither_shorten_nor_forget_the_pause():
    story, engine_id, _ = failing_engine()
    for pause_s in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0):
        story.wait(pause_s)
        crash(story)
    retry_at_ms = story.engine_row(engine_id).retry_at_ms
    assert retry_at_ms == story.now.unix_ms + 300_000
    story.submit(engine_id)
    assert not story.newcomers
    assert story.engine_row(engine_id).retry_at_ms == retry_at_ms


def test_last_job_that_is_cancelled_ends_the_tries():
    story, engine_id, (job_id,) = failing_engine()
    story.ask(client.CancelJob(job_id=job_id))
    assert story.engine_row(engine_id).retry_at_ms is None
    assert not only(story.wait(LONG_S), LaunchWorker)


def test_person_who_starts_it_need_not_wait_and_the_pauses_begin_anew():
    story, engine_id, _ = failing_engine()
    for pause_s in (1.0, 2.0, 4.0):
        story.wait(pause_s)
        crash(story)
    assert only(story.ask_actions(client.StartEngine(engine_id=engine_id)), LaunchWorker)
    row = story.engine_row(engine_id)
    assert (row.status, row.retry_at_ms) == (EngineState.STARTING, None)
    crash_into_error(story)
    assert story.engine_row(engine_id).retry_at_ms == story.now.unix_ms + 1_000


def test_person_who_stops_it_ends_the_tries_and_a_new_job_begins_them_again():
    story, engine_id, (job_id,) = failing_engine()
    story.ask(client.StopEngine(engine_id=engine_id))
    assert story.engine_row(engine_id).retry_at_ms is None
    assert not only(story.wait(LONG_S), LaunchWorker)
    assert (story.engine_state(engine_id), story.job_state(job_id)) == (EngineState.ERROR, JobState.WAITING)
    story.submit(engine_id)
    story.wait(0.0)
    assert story.newcomers


def test_try_that_a_person_stops_leaves_the_engine_closed_with_its_reason_and_its_jobs():
    story, engine_id, (job_id,) = failing_engine()
    story.wait(1.0)
    story.ask(client.StopEngine(engine_id=engine_id))
    story.exits(story.newcomers[0])
    row = story.engine_row(engine_id)
    assert (row.status, row.error_code) == (EngineState.CLOSED, "worker_crashed")
    assert story.job_state(job_id) is JobState.WAITING
    assert not only(story.wait(LONG_S), LaunchWorker)


def test_engine_that_jobs_may_not_start_is_not_tried_for_them_after_a_restart():
    story = Story()
    engine_id = story.engine(start=True, autostart=False)
    story.submit(engine_id)
    crash_into_error(story)
    assert story.engine_row(engine_id).retry_at_ms is not None, "a person wanted it to run"
    story.begin()
    assert not only(story.wait(LONG_S), LaunchWorker)
    reply = story.ask(submit(engine_id))
    assert isinstance(reply, client.JobAccepted)
    assert reply.waits_for is WaitsFor.START


def test_finished_job_forgets_the_failures():
    story, engine_id, (job_id,) = failing_engine()
    story.wait(1.0)
    crash(story)
    story.wait(2.0)
    worker_id = story.up()
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED
    story.exits(worker_id)
    story.submit(engine_id)
    story.wait(1.0)
    crash(story)
    story.wait(2.0)
    crash(story)
    assert story.engine_row(engine_id).retry_at_ms == story.now.unix_ms + 1_000


def test_delete_forgets_the_try_and_the_jobs():
    story, engine_id, _ = failing_engine(give_up_after_s=60.0)
    assert story.ask(client.DeleteEngine(engine_id=engine_id)) == client.Done()
    timers = story.broker.world.timers
    assert due.Retry(engine_id) not in timers
    assert due.GiveUp(engine_id) not in timers
    assert not story.database.jobs
    story.wait(100.0)


def test_restart_tries_at_once_and_does_not_lose_the_reason():
    story, engine_id, (job_id,) = failing_engine()
    reason = story.engine_row(engine_id).error
    assert len(only(story.begin(), LaunchWorker)) == 1
    row = story.engine_row(engine_id)
    assert (row.status, row.error, row.retry_at_ms) == (EngineState.STARTING, reason, None)
    story.begin()
    row = story.engine_row(engine_id)
    assert (row.status, row.error) == (EngineState.STARTING, reason)
    story.up()
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED


def test_draining_manager_tries_nothing():
    story, engine_id, (job_id,) = failing_engine(give_up_after_s=60.0)
    story.stop()
    assert not story.newcomers
    timers = story.broker.world.timers
    assert due.Retry(engine_id) not in timers
    assert due.GiveUp(engine_id) not in timers
    assert (story.engine_state(engine_id), story.job_state(job_id)) == (EngineState.ERROR, JobState.WAITING)


def test_only_the_job_that_was_there_at_three_deaths_of_its_own_fails():
    story = Story()
    engine_id, worker_id = story.running_engine(capacity=1)
    poison = story.submit(engine_id)
    other = story.submit(engine_id)
    for _ in range(3):
        assert story.gives[poison].worker_id == worker_id
        story.exits(worker_id)
        story.wait(1.0)
        if story.newcomers:
            worker_id = story.up()
    assert (story.job_state(poison), story.job(poison).error_code) == (JobState.FAILED, "worker_crashed")
    story.make(other)
    assert story.job_state(other) is JobState.FINISHED
