"""The recipe in the form that Stable Diffusion tools read."""

from engine_worker.engine.recipe import recipe_text
from kernel.protocol.ids import ModelId
from kernel.protocol.ingredients import ModelSource
from kernel.protocol.specs import JobSpec, SchedulerConfig
from kernel.protocol.vocabulary import ModelType, Scheduler


def source(name: str, sha256: str | None = None) -> ModelSource:
    return ModelSource(
        model_id=ModelId("m"),
        name=name,
        uri="file:///m",
        model_type=ModelType.CHECKPOINT,
        sha256=sha256,
    )


def job(negative_prompt: str = "", options: SchedulerConfig | None = None, scale: float = 7.5) -> JobSpec:
    return JobSpec(
        prompt="a cat,\nin a hat",
        negative_prompt=negative_prompt,
        seed=1,
        count=1,
        steps=20,
        guidance_scale=scale,
        width_px=512,
        height_px=768,
        scheduler=Scheduler.EULER_A,
        scheduler_config=options or {},
    )


def test_prompt_negative_prompt_and_pairs_stand_on_lines_of_their_own() -> None:
    text = recipe_text(job("blurry"), 42, source("tiny", "abcdef0123456789"), "Euler a")
    assert text == (
        "a cat,\nin a hat\nNegative prompt: blurry\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 42, Size: 512x768, "
        "Model hash: abcdef0123, Model: tiny, Version: automatic-spoon 0.1.0"
    )


def test_what_was_not_given_is_not_mentioned() -> None:
    text = recipe_text(job(), 0, source("tiny"), "Euler a")
    assert "Negative prompt" not in text
    assert "Model hash" not in text


def test_a_value_that_would_break_the_pairs_is_quoted() -> None:
    text = recipe_text(job(), 0, source('big, "red": one'), "Euler a")
    assert r'Model: "big, \"red\": one"' in text


def test_whole_numbers_are_written_without_a_point_and_options_by_name() -> None:
    text = recipe_text(job(options={"use_karras_sigmas": True}, scale=7.0), 0, source("tiny"), "Euler a")
    assert "CFG scale: 7, " in text
    assert "Scheduler use_karras_sigmas: True" in text
