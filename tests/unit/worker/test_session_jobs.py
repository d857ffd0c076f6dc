"""Jobs, leases and pictures as a story."""

import pytest

from engine_worker.port import Completed, Dropped, Failed, Previewed, Stepped
from engine_worker.session.actions import Adjust, Admit, Cancel, Send
from engine_worker.session.jobs import REMEMBERED_ENDS
from kernel.protocol.enums import ControlType, InputKind, Stage
from kernel.protocol.ids import JobId, Lease
from kernel.protocol.worker import (
    Accepted,
    AdjustEngine,
    ControlMap,
    ImageReady,
    ImageStored,
    JobDone,
    JobDropped,
    JobFailed,
    MapStored,
    Pong,
    Preview,
    Progress,
)
from tests.unit.worker.orders import cancel, run
from tests.unit.worker.story import Story, control_map, done, picture, said

JOB = JobId("job-1")


def accepted(lease: int = 1) -> Accepted:
    return Accepted(job_id=JOB, lease=Lease(lease))


def dropped(lease: int = 1) -> JobDropped:
    return JobDropped(job_id=JOB, lease=Lease(lease))


def job_done(lease: int = 1) -> JobDone:
    return JobDone(job_id=JOB, lease=Lease(lease))


def progress(step: int, steps: int = 100) -> Progress:
    return Progress(job_id=JOB, lease=Lease(1), step=step, steps=steps)


def steps_said(story: Story, steps: range) -> list[int]:
    """The steps that are reported when one is made each tenth of a second."""
    found: list[int] = []
    for step in steps:
        found += [report.step for report in said(story.wait(0.1)) if isinstance(report, Progress)]
        sent = said(story.tell(Stepped(JOB, step, steps[-1])))
        found += [report.step for report in sent if isinstance(report, Progress)]
    return found


def test_a_job_is_accepted_and_admitted() -> None:
    assert Story().load().order(run()) == [Send(accepted()), Admit(run().order)]


def test_an_engine_is_adjusted_once_it_is_loaded() -> None:
    assert Story().load().order(AdjustEngine(max_batch=2)) == [Adjust(2)]
    assert Story().join().order(AdjustEngine(max_batch=2)) == []


def test_a_job_for_an_engine_that_is_not_ready_is_not_taken() -> None:
    assert Story().join().order(run()) == []


def test_the_same_order_again_is_answered_and_not_run_again() -> None:
    story = Story().load()
    story.order(run())
    assert story.order(run()) == [Send(accepted())]


def test_the_same_order_after_the_end_is_answered_with_the_end() -> None:
    story = Story().load()
    story.order(run())
    story.tell(Completed(JOB))
    assert story.order(run()) == [Send(accepted()), Send(job_done())]


def test_an_order_under_an_older_lease_is_ignored() -> None:
    story = Story().load()
    story.order(run(lease=2))
    assert story.order(run(lease=1)) == []
    story.tell(Completed(JOB))
    assert story.order(run(lease=1)) == []


def test_a_job_given_again_under_a_newer_lease_starts_anew_once_the_old_run_is_out() -> None:
    story = Story().load()
    story.order(run(lease=1))
    assert story.order(run(lease=2)) == [Cancel(JOB)]
    assert story.tell(Stepped(JOB, 1, 3)) == []
    assert story.tell(Dropped(JOB)) == [Send(accepted(2)), Admit(run(lease=2).order)]
    assert said(story.tell(Completed(JOB))) == [job_done(2)]


@pytest.mark.parametrize("outcome", [Dropped(JOB), Completed(JOB), Failed(JOB, "code", "text")])
def test_a_cancelled_job_is_reported_dropped_however_it_ends(outcome: Dropped | Completed | Failed) -> None:
    story = Story().load()
    story.order(run())
    assert story.order(cancel()) == [Cancel(JOB)]
    assert said(story.tell(outcome)) == [dropped()]


def test_a_cancel_that_is_repeated_reaches_the_engine_once() -> None:
    story = Story().load()
    story.order(run())
    story.order(cancel())
    assert story.order(cancel()) == []


def test_cancelling_a_job_that_is_not_here_is_answered() -> None:
    assert Story().load().order(cancel()) == [Send(dropped())]


def test_a_manager_that_cancels_what_it_holds_for_stale_gets_the_last_word() -> None:
    story = Story().load()
    story.order(run())
    story.tell(Completed(JOB))
    assert story.order(cancel()) == [Send(dropped())]
    assert story.order(cancel()) == []


def test_an_order_that_was_cancelled_before_it_came_is_not_run() -> None:
    story = Story().load()
    story.order(cancel())
    assert done(story.order(run())) == []


def test_a_cancel_under_an_older_lease_is_ignored() -> None:
    story = Story().load()
    story.order(run(lease=2))
    assert story.order(cancel(lease=1)) == []
    story.tell(Completed(JOB))
    assert story.order(cancel(lease=1)) == []


def test_a_cancel_under_a_newer_lease_than_the_runs_is_answered_under_its_own() -> None:
    story = Story().load()
    story.order(run(lease=1))
    assert story.order(cancel(lease=3)) == [Cancel(JOB)]
    assert said(story.tell(Dropped(JOB))) == [dropped(3)]


def test_a_cancel_takes_the_run_that_waited_for_its_turn_along() -> None:
    story = Story().load()
    story.order(run(lease=1))
    story.order(run(lease=2))
    assert story.order(cancel(lease=2)) == []
    assert story.tell(Dropped(JOB)) == [Send(dropped(2))]


def test_a_failed_job_is_reported_with_its_reason() -> None:
    story = Story().load()
    story.order(run())
    assert said(story.tell(Failed(JOB, "out_of_memory", "too big"))) == [
        JobFailed(job_id=JOB, lease=Lease(1), code="out_of_memory", text="too big")
    ]


def test_outcomes_of_jobs_that_are_not_here_are_of_no_interest() -> None:
    story = Story().load()
    assert story.tell(Stepped(JOB, 1, 3)) == []
    assert story.tell(picture()) == []
    assert story.tell(Completed(JOB)) == []


def test_only_the_ends_of_the_last_jobs_are_remembered() -> None:
    story = Story().load()
    for number in range(REMEMBERED_ENDS + 1):
        story.order(run(f"job-{number}"))
        story.tell(Completed(JobId(f"job-{number}")))
    assert done(story.order(run("job-1"))) == []
    assert done(story.order(run("job-0"))) == [Admit(run("job-0").order)]


def test_progress_is_thinned_out_to_four_reports_a_second() -> None:
    story = Story().load()
    story.order(run())
    said_steps = steps_said(story, range(1, 51))
    assert len(said_steps) <= 4 * 5 + 2
    assert said_steps == sorted(set(said_steps))


def test_the_last_step_is_always_reported() -> None:
    story = Story().load()
    story.order(run())
    story.tell(Stepped(JOB, 1, 100))
    assert said(story.tell(Stepped(JOB, 100, 100))) == [progress(100)]


def test_a_step_that_had_to_wait_is_reported_when_no_other_follows() -> None:
    story = Story().load()
    story.order(run())
    assert said(story.tell(Stepped(JOB, 1, 100))) == [progress(1)]
    assert story.tell(Stepped(JOB, 2, 100)) == []
    assert said(story.wait(0.3)) == [progress(2)]
    assert progress(2) not in said(story.wait(0.9))


def test_no_progress_follows_a_jobs_end() -> None:
    story = Story().load()
    story.order(run())
    story.tell(Stepped(JOB, 1, 100))
    story.tell(Stepped(JOB, 2, 100))
    story.tell(Failed(JOB, "code", "text"))
    assert said(story.wait(0.9)) == []


def test_no_progress_follows_a_cancel() -> None:
    story = Story().load()
    story.order(run())
    story.tell(Stepped(JOB, 1, 100))
    story.tell(Stepped(JOB, 2, 100))
    story.order(cancel())
    assert said(story.wait(0.9)) == []


def test_a_picture_rides_on_its_report() -> None:
    story = Story().load()
    story.order(run())
    [send] = story.tell(picture())
    assert isinstance(send, Send)
    assert send.blob == b"a picture"
    assert isinstance(send.report, ImageReady)
    assert (send.report.size_bytes, send.report.sha256, send.report.lease) == (9, "the sha256", 1)


def pictures_in_a_minute(story: Story) -> int:
    """How many pictures are sent in the next minute, while the Manager lives."""
    count = 0
    for _ in range(60):
        count += sum(isinstance(report, ImageReady) for report in said(story.wait(1.0)))
        story.order(Pong())
    return count


def test_a_picture_that_is_not_acknowledged_is_sent_again_ever_more_rarely() -> None:
    story = Story().load()
    story.order(run())
    story.tell(picture())
    assert pictures_in_a_minute(story) == 2


def test_a_stored_picture_is_forgotten() -> None:
    story = Story().load()
    story.order(run())
    story.tell(picture())
    story.order(ImageStored(job_id=JOB, lease=Lease(1), index=0))
    assert pictures_in_a_minute(story) == 0


def test_the_picture_of_a_cancelled_job_is_forgotten() -> None:
    story = Story().load()
    story.order(run())
    story.tell(picture())
    story.order(cancel())
    assert pictures_in_a_minute(story) == 0


def test_the_picture_of_a_run_that_was_given_again_is_forgotten() -> None:
    story = Story().load()
    story.order(run(lease=1))
    story.tell(picture())
    story.order(run(lease=2))
    assert pictures_in_a_minute(story) == 0


def test_a_picture_outlives_the_failure_of_its_job() -> None:
    story = Story().load()
    story.order(run())
    story.tell(picture())
    story.tell(Failed(JOB, "code", "text"))
    assert pictures_in_a_minute(story) == 2


# What comes with a job.

PAIR = (InputKind.REFERENCE, InputKind.MASK)


def test_the_pictures_of_a_job_enter_the_engine_under_their_names() -> None:
    order = run(inputs=PAIR)
    actions = Story().load().order(order, blobs=(b"a photo", b"a mask"))
    inputs = {InputKind.REFERENCE: b"a photo", InputKind.MASK: b"a mask"}
    assert actions == [Send(accepted()), Admit(order.order, inputs)]


@pytest.mark.parametrize("blobs", [(), (b"a photo",), (b"a", b"b", b"c")], ids=len)
def test_a_job_whose_pictures_did_not_all_come_fails_with_their_number(blobs: tuple[bytes, ...]) -> None:
    story = Story().load()
    first, failed = said(story.order(run(inputs=PAIR), blobs=blobs))
    assert first == accepted()
    assert isinstance(failed, JobFailed)
    assert (failed.code, failed.text) == (
        "bad_message",
        f"2 input images expected with the job, but {len(blobs)} arrived",
    )
    assert said(story.order(run(inputs=PAIR), blobs=blobs)) == [first, failed]


def test_the_pictures_of_a_job_that_is_given_again_are_the_newest() -> None:
    story = Story().load()
    story.order(run(lease=1, inputs=PAIR), blobs=(b"old", b"old"))
    story.order(run(lease=2, inputs=PAIR), blobs=(b"new", b"newer"))
    [admit] = done(story.tell(Dropped(JOB)))
    assert isinstance(admit, Admit)
    assert dict(admit.inputs) == {InputKind.REFERENCE: b"new", InputKind.MASK: b"newer"}


# What comes of a job beside images.


def maps_in_a_minute(story: Story) -> int:
    """How many control maps are sent in the next minute, while the Manager lives."""
    count = 0
    for _ in range(60):
        count += sum(isinstance(report, ControlMap) for report in said(story.wait(1.0)))
        story.order(Pong())
    return count


def test_a_map_rides_on_its_report_and_is_sent_again_until_it_is_stored() -> None:
    story = Story().load()
    story.order(run())
    [send] = story.tell(control_map())
    report = ControlMap(
        job_id=JOB,
        lease=Lease(1),
        control_type=ControlType.CANNY,
        size_bytes=5,
        sha256="the map's sha256",
    )
    assert send == Send(report, b"a map")
    assert maps_in_a_minute(story) == 2
    story.order(MapStored(job_id=JOB, lease=Lease(1), control_type=ControlType.DEPTH))
    assert maps_in_a_minute(story) == 1, "another map was stored"
    story.order(MapStored(job_id=JOB, lease=Lease(1), control_type=ControlType.CANNY))
    assert maps_in_a_minute(story) == 0


def test_the_end_of_a_job_names_the_maps_that_were_sent() -> None:
    story = Story().load()
    story.order(run())
    story.tell(control_map(control_type=ControlType.DEPTH))
    story.tell(control_map(control_type=ControlType.CANNY))
    [end] = said(story.tell(Completed(JOB)))
    assert isinstance(end, JobDone)
    assert end.maps == (ControlType.DEPTH, ControlType.CANNY)


def test_the_map_of_a_cancelled_job_is_not_sent() -> None:
    story = Story().load()
    story.order(run())
    story.order(cancel())
    assert story.tell(control_map()) == []


def previews_said(story: Story, steps: range) -> list[tuple[int, bytes | None]]:
    """The previews that are shown when one is made each tenth of a second: their step and their file."""
    found = []
    for step in steps:
        actions = story.wait(0.1) + story.tell(Previewed(JOB, 0, step, b"preview %d" % step))
        for action in actions:
            if isinstance(action, Send) and isinstance(action.report, Preview):
                found.append((action.report.step, action.blob))
    return found


def test_previews_are_shown_twice_a_second_and_always_the_newest() -> None:
    story = Story().load()
    story.order(run())
    found = previews_said(story, range(1, 13))
    assert found == [(1, b"preview 1"), (5, b"preview 5"), (10, b"preview 10")]
    assert previews_said(story, range(0)) == []


def test_no_preview_follows_a_jobs_end() -> None:
    story = Story().load()
    story.order(run())
    previews_said(story, range(1, 4))
    story.tell(Completed(JOB))
    assert not [report for report in said(story.wait(0.9)) if isinstance(report, Preview)]


def test_the_stage_is_told_with_the_progress() -> None:
    story = Story().load()
    story.order(run())
    story.tell(Stepped(JOB, 3, 3))
    assert said(story.tell(Stepped(JOB, 3, 3, Stage.FINISHING))) == []
    [report] = [report for report in said(story.wait(0.3)) if isinstance(report, Progress)]
    assert (report.step, report.stage) == (3, Stage.FINISHING)
