"""A job's outcomes: everything until its one ending, nothing after it."""

from threading import Thread

from engine_worker.engine.runtime.open_job import OpenJob
from engine_worker.port import (
    Completed,
    Dropped,
    Failed,
    ImageEncoded,
    Mapped,
    Outcome,
    Previewed,
    Stepped,
)
from kernel.protocol.enums import ControlType, Scheduler, Stage
from kernel.protocol.ids import ImageId, JobId
from kernel.protocol.specs import JobOrder, JobSpec, PictureOrder

JOB = JobId("job-1")


def open_job(pictures: int, outcomes: list[Outcome], warnings: tuple[str, ...] = ()) -> OpenJob:
    spec = JobSpec(
        prompt="",
        negative_prompt="",
        seed=0,
        count=pictures,
        steps=2,
        guidance_scale=1.0,
        width_px=64,
        height_px=64,
        scheduler=Scheduler.EULER,
    )
    order = JobOrder(
        job_id=JOB,
        spec=spec,
        pictures=tuple(
            PictureOrder(index=index, image_id=ImageId(f"image-{index}"), seed=index)
            for index in range(pictures)
        ),
    )
    return OpenJob(order, steps=2 * pictures, warnings=warnings, emit=outcomes.append)


def picture(index: int) -> ImageEncoded:
    return ImageEncoded(
        job_id=JOB,
        index=index,
        image_id=ImageId(f"image-{index}"),
        seed=index,
        mime="image/png",
        width_px=64,
        height_px=64,
        data=b"",
    )


def test_steps_of_several_pictures_add_up() -> None:
    outcomes: list[Outcome] = []
    job = open_job(2, outcomes)
    job.step_done(2)
    job.step_done(1)
    assert outcomes == [Stepped(JOB, 2, 4), Stepped(JOB, 3, 4)]


def test_what_precedes_the_first_step_is_told_until_the_job_ends() -> None:
    outcomes: list[Outcome] = []
    job, drawn = open_job(2, outcomes), Mapped(JOB, ControlType.MIDAS, b"a map")
    job.begin_preparing()
    job.mapped(drawn)
    job.drop()
    job.begin_preparing()
    job.mapped(drawn)
    assert outcomes == [Stepped(JOB, 0, 4, Stage.PREPARING), drawn, Dropped(JOB)]


def test_the_last_picture_completes_the_job_with_its_warnings() -> None:
    outcomes: list[Outcome] = []
    job = open_job(2, outcomes, ("too long",))
    job.image_done(picture(1))
    assert job.is_open
    job.image_done(picture(0))
    assert outcomes == [picture(1), picture(0), Completed(JOB, ("too long",))]
    assert not job.is_open


def test_after_its_ending_a_job_says_nothing_more() -> None:
    outcomes: list[Outcome] = []
    job = open_job(2, outcomes)
    job.drop()
    job.step_done(1)
    job.image_done(picture(0))
    job.fail("job_rejected", "late")
    job.drop()
    assert outcomes == [Dropped(JOB)]


def test_a_failure_ends_the_job_with_its_code() -> None:
    outcomes: list[Outcome] = []
    job = open_job(1, outcomes)
    job.fail("out_of_memory", "It was too large")
    assert outcomes == [Failed(JOB, "out_of_memory", "It was too large")]


def test_endings_from_many_threads_leave_one() -> None:
    outcomes: list[Outcome] = []
    job = open_job(1, outcomes)
    endings = [job.drop, lambda: job.fail("job_rejected", ""), lambda: job.image_done(picture(0))]
    threads = [Thread(target=ending) for ending in endings * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, Completed | Failed | Dropped) for one in outcomes) == 1


def test_a_further_stage_is_told_once_all_steps_are_done_and_only_when_it_is_news() -> None:
    outcomes: list[Outcome] = []
    job = open_job(2, outcomes)
    job.step_done(1)
    job.come_to(Stage.FINISHING)
    job.step_done(3)
    for stage in (Stage.FINISHING, Stage.FINISHING, Stage.REMOVING_BACKGROUND):
        job.come_to(stage)
    assert [(one.step, one.stage) for one in outcomes if isinstance(one, Stepped)] == [
        (1, Stage.DENOISING),
        (4, Stage.DENOISING),
        (4, Stage.FINISHING),
        (4, Stage.REMOVING_BACKGROUND),
    ]


def test_an_ended_job_comes_to_no_stage() -> None:
    outcomes: list[Outcome] = []
    job = open_job(1, outcomes)
    job.step_done(2)
    job.drop()
    job.come_to(Stage.FINISHING)
    assert outcomes[-1] == Dropped(JOB)


def test_a_warning_is_told_once_with_the_completion() -> None:
    outcomes: list[Outcome] = []
    job = open_job(1, outcomes, ("cut",))
    for text in ("slow", "cut", "slow"):
        job.warn(text)
    job.image_done(picture(0))
    assert outcomes[-1] == Completed(JOB, ("cut", "slow"))


def test_a_look_at_a_picture_tells_how_far_the_job_was_and_comes_no_more_after_its_end() -> None:
    outcomes: list[Outcome] = []
    job = open_job(2, outcomes)
    job.step_done(1)
    job.preview(1, b"jpeg")
    job.drop()
    job.preview(1, b"late")
    assert outcomes[1:] == [Previewed(JOB, 1, 1, b"jpeg"), Dropped(JOB)]
