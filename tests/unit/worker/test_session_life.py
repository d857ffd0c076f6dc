"""A worker's life as a story: joining, being alive, draining, leaving."""

import pytest

from engine_worker.port import Completed
from engine_worker.session.actions import Exit, ExitCode, Inspect, Load, Scan, Send
from engine_worker.session.events import (
    DeadlinePassed,
    KeyRefused,
    LoopBroke,
    Opened,
    ScanStopped,
    StopAsked,
)
from engine_worker.session.states import MOVES, PARTINGS, Cause, Phase
from kernel.protocol.enums import WorkerRole
from kernel.protocol.ids import NO_EPOCH, Epoch, JobId, Lease
from kernel.protocol.worker import (
    Drain,
    FileScanned,
    Goodbye,
    Hello,
    ImageStored,
    InspectModel,
    JobDone,
    Leave,
    ModelFailed,
    ModelProgress,
    Ping,
    Pong,
    Refuse,
    ScanBegun,
    ScanEnded,
    ScanFolders,
    ScanProgress,
    Welcome,
)
from tests.unit.worker.orders import EPOCH, WELCOME, hello, load, run, source
from tests.unit.worker.story import READY, Story, done, exit_code, picture, said


def test_a_worker_opens_with_hello_and_no_epoch() -> None:
    story = Story()
    assert story.tell(Opened()) == [Send(hello())]
    assert story.session.epoch == NO_EPOCH


def test_hello_is_said_again_each_second_until_it_is_answered() -> None:
    story = Story()
    story.tell(Opened())
    assert [type(report) for report in said(story.wait(3.5))] == [Hello] * 3
    story.order(WELCOME)
    assert not [report for report in said(story.wait(3.0)) if isinstance(report, Hello)]


def test_a_manager_that_never_answers_is_given_up() -> None:
    story = Story()
    story.tell(Opened())
    assert exit_code(story.wait(29.9)) is None
    assert exit_code(story.wait(0.2)) is ExitCode.MANAGER_GONE


def test_a_refused_worker_leaves_with_the_reason() -> None:
    story = Story()
    story.tell(Opened())
    [end] = story.order(Refuse(code="not_permitted", text="no such token"), NO_EPOCH)
    assert isinstance(end, Exit)
    assert end.exit_code is ExitCode.REFUSED
    assert "no such token" in end.reason


def test_a_worker_whose_key_is_refused_leaves_at_once() -> None:
    story = Story()
    story.tell(Opened())
    assert exit_code(story.tell(KeyRefused())) is ExitCode.REFUSED


def test_orders_before_the_welcome_are_not_obeyed() -> None:
    story = Story()
    story.tell(Opened())
    assert story.order(load()) == []
    assert story.order(Drain()) == []
    assert story.session.phase is Phase.JOINING


def test_a_worker_that_is_told_to_leave_instead_of_welcomed_leaves() -> None:
    story = Story()
    story.tell(Opened())
    actions = story.order(Leave())
    assert exit_code(actions) is ExitCode.LEFT
    assert said(actions) == []


def test_the_welcome_brings_the_epoch_that_everything_bears_from_then_on() -> None:
    assert Story().join().session.epoch == EPOCH


@pytest.mark.parametrize("order", [load(), Drain(), Leave(), Refuse(code="x", text="x"), WELCOME])
def test_orders_of_another_epoch_are_ignored(order: Welcome | Drain | Leave | Refuse) -> None:
    story = Story().join()
    assert story.order(order, Epoch(EPOCH + 1)) == []
    assert story.session.phase is Phase.JOINED


def test_another_epoch_is_no_sign_of_life_of_this_manager() -> None:
    story = Story().join()
    for _ in range(4):
        story.wait(1.2)
        story.order(Pong(), Epoch(EPOCH + 1))
    assert exit_code(story.wait(0.3)) is ExitCode.MANAGER_GONE


def test_a_quiet_worker_pings_each_heartbeat() -> None:
    story = Story().join()
    assert said(story.wait(2.5)) == [Ping(), Ping()]


def test_a_worker_that_sends_anyway_does_not_ping() -> None:
    story = Story(WorkerRole.FETCH).join()
    story.order(InspectModel(source=source()))
    for count in range(6):
        assert Ping() not in said(story.wait(0.5))
        story.order(Pong())
        sent = said(story.tell(ModelProgress(model_id=source().model_id, bytes=count, total_bytes=9)))
        assert [type(report) for report in sent] == [ModelProgress]


def test_a_worker_that_sends_without_being_answered_asks_whether_the_manager_lives() -> None:
    story = Story(WorkerRole.FETCH).join()
    story.order(InspectModel(source=source()))
    pings = 0
    for count in range(8):
        pings += said(story.wait(0.5)).count(Ping())
        story.tell(ModelProgress(model_id=source().model_id, bytes=count, total_bytes=9))
    assert pings == 4


def test_a_manager_that_answers_pings_is_never_held_for_gone() -> None:
    story = Story().join()
    for _ in range(60):
        assert exit_code(story.wait(1.1)) is None
        story.order(Pong())


def test_a_silent_manager_is_left_without_a_word() -> None:
    story = Story().join()
    actions = story.wait(5.0)
    assert exit_code(actions) is ExitCode.MANAGER_GONE
    assert not [report for report in said(actions) if isinstance(report, Goodbye)]
    assert story.session.next_deadline() is None


def test_a_loading_engine_does_not_stop_the_heartbeat() -> None:
    story = Story().join()
    assert done(story.order(load())) == [Load(load().load)]
    for _ in range(60):
        assert any(isinstance(report, Ping) for report in said(story.wait(1.1)))
        story.order(Pong())
    assert said(story.tell(READY)) == [READY]


def test_a_load_that_is_asked_for_again_is_answered_again_and_not_done_again() -> None:
    story = Story().join()
    story.order(load())
    assert story.order(load()) == []
    story.tell(READY)
    assert story.order(load()) == [Send(READY)]


def test_an_engine_worker_inspects_no_models_and_a_fetch_worker_loads_no_engine() -> None:
    assert Story().join().order(InspectModel(source=source())) == []
    assert Story(WorkerRole.FETCH).join().order(load()) == []


SCAN = ScanFolders(folders=("/models",))


def test_a_scan_is_made_once_at_a_time_by_fetch_workers_only() -> None:
    assert Story().join().order(SCAN) == []
    story = Story(WorkerRole.FETCH).join()
    assert story.order(SCAN) == [Scan(SCAN)]
    assert story.order(SCAN) == []
    assert story.tell(ScanEnded()) == [Send(ScanEnded())]
    assert story.order(SCAN) == [Scan(SCAN)]


def test_all_reports_of_a_scan_are_sent_at_once() -> None:
    story = Story(WorkerRole.FETCH).join()
    story.order(SCAN)
    reports = [
        ScanBegun(files=9, unknown=9),
        *(ScanProgress(path="/models/a", stamp=stamp) for stamp in range(9)),
        *(FileScanned(path="/models/a", stamp=stamp) for stamp in range(9)),
    ]
    assert [story.tell(report) for report in reports] == [[Send(report)] for report in reports]


def test_a_scan_that_made_way_is_not_reported_as_ended_and_may_be_ordered_again() -> None:
    story = Story(WorkerRole.FETCH).join()
    story.order(SCAN)
    assert story.order(InspectModel(source=source())) == [Inspect(source())]
    assert story.tell(ScanStopped()) == []
    assert story.order(SCAN) == [Scan(SCAN)]


def test_a_drain_does_not_wait_for_a_scan() -> None:
    story = Story(WorkerRole.FETCH).join()
    story.order(SCAN)
    assert exit_code(story.order(Drain())) is ExitCode.LEFT
    assert story.order(SCAN) == []


def test_a_draining_worker_begins_no_scan() -> None:
    story = Story(WorkerRole.FETCH).join()
    story.order(InspectModel(source=source()))
    story.order(Drain())
    assert story.order(SCAN) == []


def test_a_drained_worker_that_holds_nothing_says_goodbye_and_leaves() -> None:
    story = Story().load()
    goodbye, end = story.order(Drain())
    assert isinstance(goodbye, Send)
    assert isinstance(goodbye.report, Goodbye)
    assert isinstance(end, Exit)
    assert end.exit_code is ExitCode.LEFT


def test_a_drained_worker_finishes_its_jobs_and_waits_until_its_pictures_are_stored() -> None:
    story = Story().load()
    story.order(run())
    assert story.order(Drain()) == []
    story.tell(picture())
    ended = story.tell(Completed(JobId("job-1")))
    assert said(ended) == [JobDone(job_id=JobId("job-1"), lease=Lease(1))]
    assert exit_code(ended) is None
    assert (
        exit_code(story.order(ImageStored(job_id=JobId("job-1"), lease=Lease(1), index=0))) is ExitCode.LEFT
    )


def test_a_drained_fetch_worker_finishes_its_inspection() -> None:
    story = Story(WorkerRole.FETCH).join()
    story.order(InspectModel(source=source()))
    assert story.order(Drain()) == []
    failed = ModelFailed(model_id=source().model_id, code="model_unreadable", text="no")
    actions = story.tell(failed)
    assert said(actions)[0] == failed
    assert exit_code(actions) is ExitCode.LEFT


def test_a_draining_worker_takes_nothing_new() -> None:
    story = Story().load()
    story.order(run("job-1"))
    story.order(Drain())
    assert story.order(run("job-2", lease=2)) == []


def test_told_to_leave_a_worker_drops_everything() -> None:
    story = Story().load()
    story.order(run())
    assert exit_code(story.order(Leave())) is ExitCode.LEFT
    assert story.session.phase is Phase.LEFT


def test_the_first_signal_drains_and_the_second_leaves() -> None:
    story = Story().load()
    story.order(run())
    assert story.tell(StopAsked()) == []
    assert story.session.phase is Phase.STOPPING
    assert exit_code(story.tell(StopAsked())) is ExitCode.LEFT


def test_a_signal_after_the_managers_drain_loses_no_job() -> None:
    story = Story().load()
    story.order(run())
    story.order(Drain())
    assert story.tell(StopAsked()) == []


def test_a_signal_before_the_welcome_ends_the_worker_at_once() -> None:
    story = Story()
    story.tell(Opened())
    assert story.tell(StopAsked())[0] == Exit(ExitCode.LEFT, PARTINGS[Cause.STOP_ASKED].reason, 1.0, 1.0)


def test_a_broken_main_thread_ends_the_worker_as_a_defect() -> None:
    actions = Story().load().tell(LoopBroke())
    assert exit_code(actions) is ExitCode.BUG
    assert said(actions) == []


def test_a_session_that_has_left_does_nothing_more() -> None:
    story = Story().load()
    story.order(Leave())
    assert story.order(run()) == []
    assert story.tell(DeadlinePassed()) == []


def test_every_cause_that_ends_a_session_says_how() -> None:
    causes = {cause for moves in MOVES.values() for cause, phase in moves.items() if phase is Phase.LEFT}
    assert causes == set(PARTINGS)


def test_every_phase_has_its_moves() -> None:
    assert set(MOVES) == set(Phase)
