"""How the Manager leaves: after the running jobs, or at once."""

import pytest

from kernel.core.actions import (
    Exit,
    KillApi,
    KillWorker,
    LaunchApi,
    LaunchWorker,
    TerminateApi,
    TerminateWorker,
)
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState
from kernel.protocol.status import ApiLife
from tests.unit.core.samples import spec, submit
from tests.unit.core.story import Story, only, orders_to


def test_manager_with_nothing_to_do_exits_at_once():
    assert Story().stop() == [Exit(0)]


def test_running_jobs_are_finished_and_waiting_ones_are_kept():
    story = Story()
    engine_id, worker_id = story.running_engine()
    held = [story.submit(engine_id), story.submit(engine_id)]
    waiting = story.submit(engine_id)
    assert wire.Drain() in orders_to(story.stop(), worker_id)
    for job_id in held:
        assert not only(story.make(job_id), Exit)
    story.say(worker_id, wire.Goodbye(reason="drained"))
    assert only(story.exits(worker_id, "exit code 0"), Exit) == [Exit(0)]
    assert [story.job_state(j) for j in (*held, waiting)] == [JobState.FINISHED] * 2 + [JobState.WAITING]
    assert story.engine_state(engine_id) is EngineState.CLOSED


def test_no_new_job_is_taken_or_given_out_during_a_shutdown():
    story = Story()
    engine_id, _worker_id = story.running_engine()
    jobs = [story.submit(engine_id) for _ in range(3)]
    story.stop()
    assert story.refusal(submit(engine_id)).code == "shutting_down"
    assert story.refusal(client.CreateEngine(spec=spec())).code == "shutting_down"
    story.make(jobs[0])
    assert jobs[2] not in story.gives


def test_manager_waits_for_pictures_on_their_way_to_the_disk():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.picture(job_id)
    story.stop()
    assert not only(story.exits(worker_id), Exit)
    assert only(story.stored(job_id), Exit)
    assert story.job_state(job_id) is JobState.FINISHED


def test_job_that_takes_longer_than_the_grace_goes_back_without_blame():
    story = Story(limits=Limits(grace_s=20.0))
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.stop()
    assert not only(story.wait(19.9), KillWorker)
    assert KillWorker(worker_id) in story.wait(0.2)
    row = story.job(job_id)
    assert (row.status, row.crashes) == (JobState.WAITING, 0)
    assert only(story.exits(worker_id, "signal SIGKILL"), Exit)


@pytest.mark.parametrize("is_now", [True, False])
def test_second_signal_gives_running_jobs_back_and_leaves(is_now):
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    if not is_now:
        story.stop()
        assert story.job_state(job_id) is JobState.PROCESSING
    assert KillWorker(worker_id) in story.stop(is_now=is_now)
    assert story.job_state(job_id) is JobState.WAITING
    assert only(story.exits(worker_id, "signal SIGKILL"), Exit) == [Exit(0)]


def test_asking_politely_twice_is_as_polite_as_once():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    for _ in range(2):
        assert KillWorker(worker_id) not in story.ask_actions(client.Shutdown())
    assert story.job_state(job_id) is JobState.PROCESSING


def test_worker_that_is_still_loading_is_ended_and_not_waited_for():
    story = Story()
    story.engine(start=True)
    story.hello(worker_id := story.newcomers[0])
    assert TerminateWorker(worker_id) in story.stop()
    assert only(story.exits(worker_id), Exit)


def test_worker_that_crashes_during_a_shutdown_does_not_hold_it_up():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.stop()
    found = story.exits(worker_id)
    assert only(found, Exit)
    assert not only(found, LaunchWorker)
    row = story.job(job_id)
    assert (row.status, row.crashes) == (JobState.WAITING, 0)


def test_silent_draining_worker_does_not_hold_a_shutdown_up_though_jobs_wait():
    story = Story()
    engine_id, worker_id = story.running_engine()
    jobs = [story.submit(engine_id) for _ in range(3)]
    story.stop()
    story.make(jobs[0])
    story.make(jobs[1])
    story.pinging.clear()
    assert KillWorker(worker_id) in story.wait(6.0)
    assert only(story.exits(worker_id), Exit)
    assert story.engine_state(engine_id) is EngineState.CLOSED
    assert story.job_state(jobs[2]) is JobState.WAITING


def test_engine_in_backoff_is_closed_by_a_shutdown():
    story = Story()
    engine_id = story.engine(start=True)
    story.exits(story.newcomers[0])
    assert story.engine_state(engine_id) is EngineState.STARTING
    assert only(story.stop(), Exit)
    assert story.engine_state(engine_id) is EngineState.CLOSED


def test_cancel_is_heard_during_a_shutdown():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.stop()
    assert story.ask(client.CancelJob(job_id=job_id)) == client.Done()
    story.dropped(job_id)
    assert TerminateWorker(worker_id) in story.wait(10.1)
    assert only(story.exits(worker_id), Exit)


def test_api_is_started_with_the_manager_and_ended_after_the_workers():
    story = Story(limits=Limits(with_api=True))
    assert LaunchApi() in story.begin()
    _engine_id, worker_id = story.running_engine()
    story.stop()
    found = story.exits(worker_id, "exit code 0")
    assert TerminateApi() in found
    assert not only(found, Exit)
    assert story.api_exits() == [Exit(0)]


def test_api_that_does_not_end_is_killed():
    story = Story(limits=Limits(with_api=True))
    assert TerminateApi() in story.stop()
    assert not only(story.wait(7.9), KillApi)
    assert only(story.wait(0.2), KillApi)
    assert story.api_exits() == [Exit(0)]


def test_second_signal_while_the_api_ends_changes_nothing():
    story = Story(limits=Limits(with_api=True))
    story.stop()
    assert story.stop() == []
    assert story.api_exits() == [Exit(0)]


def test_api_that_dies_is_started_again_later_each_time():
    story = Story(limits=Limits(with_api=True))
    for pause_s in (0.4, 0.8, 1.6):
        assert not only(story.api_exits(), LaunchApi)
        assert not only(story.wait(pause_s - 0.01), LaunchApi)
        assert only(story.wait(0.02), LaunchApi)


def test_api_that_dies_all_the_time_is_tried_for_ever_and_work_goes_on():
    story = Story(limits=Limits(with_api=True))
    engine_id, _worker_id = story.running_engine()
    for _ in range(2_000):
        assert not only(story.api_exits(), Exit)
        assert only(story.wait(60.1), LaunchApi)
        story.api_exits()
        assert only(story.wait(60.1), LaunchApi)
        story.wait(0.1)
    job_id = story.submit(engine_id)
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED


def test_pause_before_the_api_is_started_again_grows_to_a_minute_and_no_further():
    story = Story(limits=Limits(with_api=True))
    for _ in range(12):
        story.api_exits()
        found = story.wait(60.1)
        assert only(found, LaunchApi)
    story.api_exits()
    assert not only(story.wait(59.9), LaunchApi)
    assert only(story.wait(0.2), LaunchApi) == [LaunchApi(restarts=13)]


def test_status_says_how_often_the_api_died_and_when_it_is_tried_again():
    story = Story(limits=Limits(with_api=True))
    assert story.status().api == ApiLife(is_running=True, restarts=0)
    story.api_exits()
    story.wait(0.5)
    story.api_exits(exit_code=3)
    expected = ApiLife(is_running=False, restarts=2, last_failure="exit code 3", next_start_s=0.8)
    assert story.status().api == expected
    story.wait(1.0)
    assert story.status().api == ApiLife(is_running=True, restarts=2, last_failure="exit code 3")


def test_status_says_nothing_of_an_api_that_the_manager_does_not_run():
    assert Story().status().api is None


def test_api_whose_configuration_cannot_be_used_ends_the_manager_at_once_with_the_same_code():
    story = Story(limits=Limits(with_api=True))
    assert only(story.api_exits(exit_code=78), Exit) == [Exit(78)]


def test_api_that_has_served_is_tried_again_though_its_port_is_taken_for_a_moment():
    story = Story(limits=Limits(with_api=True))
    story.wait(61.0)
    for _ in range(4):
        assert not only(story.api_exits(exit_code=78), Exit)
        assert only(story.wait(5.0), LaunchApi)


def test_api_that_ran_for_long_is_not_counted_with_its_former_deaths():
    story = Story(limits=Limits(with_api=True))
    for _ in range(20):
        story.wait(61.0)
        story.api_exits()
        assert only(story.wait(0.5), LaunchApi)


def test_api_that_dies_during_a_shutdown_is_not_started_again():
    story = Story(limits=Limits(with_api=True))
    engine_id, worker_id = story.running_engine()
    story.submit(engine_id)
    story.stop()
    story.api_exits()
    assert not only(story.wait(60.0), LaunchApi)
    story.stop()
    assert only(story.exits(worker_id), Exit) == [Exit(0)]


def test_api_in_backoff_is_not_started_by_a_shutdown():
    story = Story(limits=Limits(with_api=True))
    engine_id, _worker_id = story.running_engine()
    story.submit(engine_id)
    story.api_exits()
    story.stop()
    found = story.wait(60.0)
    assert not only(found, LaunchApi)
    assert not only(found, KillApi)


def test_a_start_in_the_middle_of_a_shutdown_begins_nothing_and_leaves():
    story = Story(limits=Limits(with_api=True))
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    found = story.begin(is_stopping=True)
    assert only(found, LaunchWorker) == only(found, LaunchApi) == []
    assert [leave.code for leave in only(found, Exit)] == [0]
    assert story.job_state(job_id) is JobState.WAITING


def test_a_start_in_the_middle_of_a_shutdown_ends_the_api_first():
    story = Story(limits=Limits(with_api=True))
    found = story.begin(is_stopping=True, has_api_process=True)
    assert only(found, TerminateApi)
    assert only(found, Exit) == []
    assert story.api_exits(0) == [Exit(0)]
