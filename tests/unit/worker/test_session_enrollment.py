"""The session of a pool's worker: it enrolls, loses the Manager, and comes back with what it holds."""

import pytest
from msgspec.structs import replace

from engine_worker.port import Completed, Stepped
from engine_worker.session.actions import ExitCode
from engine_worker.session.events import KeyRefused, StopAsked
from engine_worker.session.states import Phase
from kernel.protocol.enrollment import NotEnrolled
from kernel.protocol.ids import Epoch, JobId, Lease
from kernel.protocol.worker import (
    Drain,
    Enroll,
    HeldJob,
    ImageReady,
    ImageStored,
    JobDone,
    JobDropped,
    Leave,
    Ping,
    Pong,
    Progress,
    Refuse,
)
from tests.unit.worker.orders import EPOCH, WELCOME, cancel, load, run
from tests.unit.worker.story import READY, Story, exit_code, picture, said

JOB = JobId("job-1")
LEASE = Lease(1)
NOT_ENROLLED = Refuse(code=NotEnrolled.code, text="enroll")
NEXT = Epoch(EPOCH + 1)


def enrolls(story: Story, seconds: float) -> list[Enroll]:
    """What it says to join within this time."""
    return [report for report in said(story.wait(seconds)) if isinstance(report, Enroll)]


def away(story: Story) -> Enroll:
    """The Manager has restarted and knows it no more. Returns: what the worker says to that."""
    (enroll,) = said(story.order(NOT_ENROLLED, NEXT))
    assert isinstance(enroll, Enroll)
    return enroll


def back(story: Story) -> list[object]:
    """The new Manager welcomes it. Returns: what it says then."""
    return list(said(story.order(replace(WELCOME, epoch=NEXT), NEXT)))


def test_first_message_has_the_token_and_nothing_that_it_holds() -> None:
    story = Story(enrolls=True)
    story.join()
    (first, *_) = (report for _, report in story.spoken)
    assert isinstance(first, Enroll)
    assert (first.token, first.round, first.load, first.ready, first.jobs) == ("token", 0, None, None, ())


def test_it_asks_less_and_less_often_and_never_gives_up() -> None:
    story = Story(enrolls=True)
    story.open()
    assert len(enrolls(story, 60.0)) == 5, "after 1, 2, 4, 8 and 16 s"
    assert len(enrolls(story, 3600.0)) == 120
    assert story.session.phase is Phase.JOINING


def test_worker_that_is_refused_for_good_ends_with_the_reason() -> None:
    story = Story(enrolls=True)
    story.open()
    assert exit_code(story.order(Refuse(code="token_revoked", text="get another"))) is ExitCode.REFUSED


def test_worker_that_may_come_later_says_so_by_its_exit_code() -> None:
    story = Story(enrolls=True)
    story.open()
    refuse = Refuse(code="token_full", text="full", retry_after_s=10.0)
    assert exit_code(story.order(refuse)) is ExitCode.TRY_LATER


def test_key_that_the_socket_refuses_ends_it() -> None:
    story = Story(enrolls=True)
    story.open()
    assert exit_code(story.tell(KeyRefused())) is ExitCode.REFUSED


@pytest.mark.parametrize("cause", ["restart", "silence", "newer epoch"])
def test_worker_that_has_lost_the_manager_enrolls_again_with_its_engine_and_its_job(cause: str) -> None:
    story = Story(enrolls=True).load()
    story.order(run())
    match cause:
        case "restart":
            enroll = away(story)
        case "silence":
            (enroll,) = enrolls(story, WELCOME.silence_s)
        case _:
            (enroll,) = (one for one in said(story.order(Pong(), NEXT)) if isinstance(one, Enroll))
    assert (enroll.round, enroll.load, enroll.ready) == (1, load().load, READY)
    assert enroll.jobs == (HeldJob(job_id=JOB, lease=LEASE),)


def test_nothing_is_reported_to_nobody_and_images_are_sent_once_it_is_back() -> None:
    story = Story(enrolls=True).load()
    story.order(run())
    away(story)
    assert not said(story.tell(Stepped(JOB, 3, 3)))
    assert not said(story.tell(picture()))
    assert not said(story.tell(Completed(JOB)))
    found = back(story)
    assert [type(one) for one in found] == [type(READY), ImageReady, JobDone]
    assert not any(isinstance(one, Progress) for _, one in story.spoken)


def test_job_that_goes_on_is_reported_under_its_lease_after_the_return() -> None:
    story = Story(enrolls=True).load()
    story.order(run())
    away(story)
    back(story)
    (made,) = said(story.tell(picture()))
    assert isinstance(made, ImageReady)
    assert made.lease == LEASE


def test_job_that_is_not_its_own_any_more_is_dropped_with_its_images() -> None:
    story = Story(enrolls=True).load()
    story.order(run())
    story.tell(picture())
    away(story)
    story.tell(Completed(JOB))
    back(story)
    assert said(story.order(cancel(lease=LEASE), NEXT)) == [JobDropped(job_id=JOB, lease=LEASE)]
    assert not away(story).jobs


def test_end_that_the_manager_has_heard_is_not_claimed_again() -> None:
    story = Story(enrolls=True).load()
    story.order(run())
    story.tell(picture())
    story.tell(Completed(JOB))
    story.order(ImageStored(job_id=JOB, lease=LEASE, index=0))
    assert any(isinstance(one, Ping) for one in said(story.wait(1.0)))
    story.order(Pong())
    assert not away(story).jobs


def test_end_that_the_manager_may_not_have_heard_is_said_again() -> None:
    story = Story(enrolls=True).load()
    story.order(run())
    story.wait(1.0)
    story.tell(picture())
    story.tell(Completed(JOB))
    story.order(Pong())
    story.order(ImageStored(job_id=JOB, lease=LEASE, index=0))
    assert away(story).jobs == (HeldJob(job_id=JOB, lease=LEASE),)
    assert any(isinstance(one, JobDone) for one in back(story))


def test_image_that_is_not_stored_yet_keeps_its_job_though_its_end_was_heard() -> None:
    story = Story(enrolls=True).load()
    story.order(run())
    story.tell(picture())
    story.tell(Completed(JOB))
    story.wait(1.0)
    story.order(Pong())
    assert away(story).jobs == (HeldJob(job_id=JOB, lease=LEASE),)
    assert [type(one) for one in back(story)] == [type(READY), ImageReady, JobDone]


def test_answers_to_what_it_said_before_it_enrolled_are_no_refusals() -> None:
    story = Story(enrolls=True).load()
    away(story)
    for _ in range(3):
        assert not story.order(NOT_ENROLLED, NEXT)
    assert story.session.phase is Phase.JOINING


def test_round_trip_of_a_ping_is_told_with_the_next_one() -> None:
    story = Story(enrolls=True).load()
    story.wait(1.0)
    story.now += 0.012
    story.order(Pong())
    pings = [one for one in said(story.wait(1.5)) if isinstance(one, Ping)]
    assert pings[0].round_trip_ms == 12.0


def test_worker_that_is_drained_for_good_says_so_by_its_exit_code() -> None:
    story = Story(enrolls=True).load()
    assert exit_code(story.order(Drain(for_good=True))) is ExitCode.DRAINED


def test_worker_whose_engine_is_closed_ends_like_any_other() -> None:
    story = Story(enrolls=True).load()
    assert exit_code(story.order(Drain())) is ExitCode.LEFT
    other = Story(enrolls=True).load()
    assert exit_code(other.order(Leave())) is ExitCode.LEFT


def test_signal_ends_a_worker_that_is_looking_for_the_manager() -> None:
    story = Story(enrolls=True).load()
    away(story)
    assert exit_code(story.tell(StopAsked())) is ExitCode.LEFT
