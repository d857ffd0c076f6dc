"""The engine as the worker knows it: loaded, given jobs, stepped, closed."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import ExifTags, Image
from small_engine import Outcomes, load_order, order, spec

from bench.bell import Bell
from engine_worker.engine.diffusers_engine import build
from engine_worker.port import Completed, Engine
from kernel.protocol.enums import ImageFileType, Scheduler, Stage
from kernel.protocol.errors import EngineFailed
from kernel.protocol.ids import JobId
from kernel.protocol.specs import JobSpec

pytestmark = pytest.mark.torch

RECIPE = (
    "a red ball\nNegative prompt: blue\nSteps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5, "
    "Seed: 8, Size: 64x72, Model: sd, RNG: CPU, Prompt technique: none, Version: automatic-spoon 0.2.0"
)


def loaded(checkpoints: Path, outcomes: Outcomes) -> Engine:
    engine = build(outcomes.emit, Bell().ring)
    engine.load(load_order(checkpoints / "sd.safetensors"))
    return engine


def finish(engine: Engine) -> None:
    while engine.step():
        pass
    engine.close()


def make(checkpoints: Path, job: JobSpec) -> Outcomes:
    outcomes = Outcomes()
    engine = loaded(checkpoints, outcomes)
    engine.admit(order("job", job))
    finish(engine)
    return outcomes


def test_a_job_of_two_pictures_reports_its_steps_then_both_and_then_that_it_is_complete(
    checkpoints: Path,
) -> None:
    outcomes = make(checkpoints, spec(count=2, steps=2, seed=8))
    assert outcomes.names("job") == ["Stepped", "Stepped", "ImageEncoded", "ImageEncoded", "Completed"]
    assert outcomes.steps("job") == [(2, 4), (4, 4)]
    assert outcomes.stages("job") == [Stage.FINISHING]
    pictures = outcomes.pictures("job")
    assert [(one.index, one.image_id, one.seed) for one in pictures] == [(0, "job-0", 8), (1, "job-1", 9)]
    assert {(one.width_px, one.height_px, one.mime) for one in pictures} == {(64, 64, "image/png")}
    assert pictures[0].data != pictures[1].data


def test_only_the_pictures_that_are_missing_are_made_under_their_own_numbers(checkpoints: Path) -> None:
    outcomes = Outcomes()
    engine = loaded(checkpoints, outcomes)
    whole = order("job", spec(count=3, steps=1))
    rest = type(whole)(job_id=whole.job_id, spec=whole.spec, pictures=whole.pictures[2:])
    engine.admit(rest)
    finish(engine)
    assert [one.index for one in outcomes.pictures("job")] == [2]
    assert outcomes.ending("job") == Completed(JobId("job"))


@pytest.mark.parametrize("file_type", list(ImageFileType), ids=str)
def test_every_kind_of_file_carries_the_recipe(file_type: ImageFileType, checkpoints: Path) -> None:
    job = spec(
        seed=8,
        steps=2,
        height_px=72,
        negative_prompt="blue",
        scheduler=Scheduler.DPMPP_2M_KARRAS,
        image_file_type=file_type,
    )
    (picture,) = make(checkpoints, job).pictures("job")
    image = Image.open(BytesIO(picture.data))
    assert image.size == (64, 72)
    assert image.get_format_mimetype() == picture.mime
    assert recipe_in(image) == RECIPE


def recipe_in(image: Image.Image) -> str:
    if "parameters" in image.info:
        return str(image.info["parameters"])
    comment = image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment.startswith(b"UNICODE\x00")
    return str(comment[8:].decode("utf-16-be"))


def test_a_prompt_that_is_too_long_is_made_with_a_warning(checkpoints: Path) -> None:
    ending = make(checkpoints, spec(prompt="very " * 80 + "red", steps=1)).ending("job")
    assert isinstance(ending, Completed)
    (warning,) = ending.warnings
    assert "81 tokens" in warning


def test_a_cancelled_job_emits_nothing_after_dropped_even_with_pictures_on_their_way(
    checkpoints: Path,
) -> None:
    outcomes = Outcomes()
    engine = loaded(checkpoints, outcomes)
    engine.admit(order("job", spec(count=8, steps=1)))
    engine.step()
    engine.cancel(JobId("job"))
    finish(engine)
    assert outcomes.names("job")[-1] == "Dropped"


def test_a_job_may_come_again_after_it_was_dropped(checkpoints: Path) -> None:
    outcomes = Outcomes()
    engine = loaded(checkpoints, outcomes)
    for _ in range(2):
        engine.admit(order("job", spec(steps=2)))
        engine.step()
        engine.cancel(JobId("job"))
    engine.admit(order("again", spec(steps=1)))
    finish(engine)
    assert outcomes.names("job") == ["Stepped", "Dropped"] * 2
    assert outcomes.names("again") == ["Stepped", "ImageEncoded", "Completed"]


def test_a_job_that_is_here_already_is_not_taken_twice(checkpoints: Path) -> None:
    outcomes = Outcomes()
    engine = loaded(checkpoints, outcomes)
    for _ in range(2):
        engine.admit(order("job", spec(steps=1)))
    finish(engine)
    assert outcomes.names("job") == ["Stepped", "ImageEncoded", "Completed"]


def test_an_idle_engine_has_no_step_to_make(checkpoints: Path) -> None:
    engine = loaded(checkpoints, Outcomes())
    assert not engine.step()
    engine.close()


def test_an_engine_that_is_not_loaded_says_so() -> None:
    engine = build(Outcomes().emit, Bell().ring)
    with pytest.raises(EngineFailed, match="not loaded"):
        engine.step()
    engine.close()
