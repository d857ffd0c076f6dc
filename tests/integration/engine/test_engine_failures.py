"""What goes wrong in one job stays in that job, and is said in words and a stable code."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_engine import Outcomes, order, source_of, spec
from torch import Tensor

from bench.bell import Bell
from engine_worker.engine.background.cutting import Removers
from engine_worker.engine.finishing import Finished, Finisher
from engine_worker.engine.parts import Denoiser, Parts
from engine_worker.engine.port import Completed, Failed
from engine_worker.engine.prompts.conditioning import Conditioner
from engine_worker.engine.studio import Studio
from engine_worker.engine.workshop import bare_workshop
from kernel.protocol.specs import JobSpec, SchedulerConfig
from kernel.protocol.vocabulary import Scheduler

pytestmark = pytest.mark.torch


class SmallDevice:
    """A denoiser on a device whose memory is too small for more than some rows at once."""

    def __init__(self, denoiser: Denoiser, rows: int) -> None:
        self._denoiser = denoiser
        self._rows = rows
        self.refused: list[int] = []

    def __call__(self, sample: Tensor, timestep: Tensor, **given: object) -> tuple[Tensor]:
        if sample.shape[0] > self._rows:
            self.refused.append(sample.shape[0])
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._denoiser(sample, timestep, **given)  # type: ignore[arg-type]


class Allergic:
    """A denoiser that breaks at one prompt."""

    def __init__(self, denoiser: Denoiser, prompt_embeds: Tensor, error: Exception) -> None:
        self._denoiser = denoiser
        self._prompt_embeds = prompt_embeds
        self._error = error

    def __call__(
        self, sample: Tensor, timestep: Tensor, *, encoder_hidden_states: Tensor, **given: object
    ) -> tuple[Tensor]:
        if any(torch.equal(row, self._prompt_embeds) for row in encoder_hidden_states):
            raise self._error
        return self._denoiser(  # type: ignore[call-arg]
            sample, timestep, encoder_hidden_states=encoder_hidden_states, **given
        )


def studio_of(parts: Parts, outcomes: Outcomes) -> Studio:
    return Studio(bare_workshop(parts), lambda finished: None, 4, outcomes.emit, Bell().ring)


def run(studio: Studio) -> None:
    while studio.step():
        pass


def allergic(parts: Parts, error: Exception) -> Parts:
    poison = Conditioner(parts).condition(order("poison", spec(prompt="poison"))).conditioning.embeds[-1]
    return replace(parts, denoiser=Allergic(parts.denoiser, poison, error))


def test_a_job_that_breaks_the_shared_call_fails_alone(parts: Parts) -> None:
    outcomes = Outcomes()
    studio = studio_of(allergic(parts, RuntimeError("it will not have it")), outcomes)
    for name in ("first", "poison", "last"):
        studio.admit(order(name, spec(prompt=name, steps=2)))
    run(studio)
    assert outcomes.of("poison") == [
        Failed(order("poison", spec()).job_id, "job_broke", "RuntimeError: it will not have it")
    ]
    assert outcomes.steps("first") == outcomes.steps("last") == [(1, 2), (2, 2)]


def test_a_device_that_broke_ends_the_engine_and_not_just_the_job(parts: Parts) -> None:
    broken = torch.AcceleratorError("device-side assert triggered")
    studio = studio_of(allergic(parts, broken), Outcomes())
    studio.admit(order("poison", spec(prompt="poison")))
    with pytest.raises(torch.AcceleratorError):
        studio.step()


def test_a_call_that_needs_too_much_memory_is_made_in_parts(parts: Parts) -> None:
    outcomes = Outcomes()
    studio = studio_of(replace(parts, denoiser=SmallDevice(parts.denoiser, rows=2)), outcomes)
    for name in ("a", "b", "c"):
        studio.admit(order(name, spec(steps=1)))
    run(studio)
    assert [outcomes.names(name) for name in ("a", "b", "c")] == [["Stepped"]] * 3


def test_a_call_that_was_too_large_is_not_made_so_large_again(parts: Parts) -> None:
    outcomes, device = Outcomes(), SmallDevice(parts.denoiser, rows=2)
    studio = studio_of(replace(parts, denoiser=device), outcomes)
    for name in ("a", "b", "c"):
        studio.admit(order(name, spec(steps=3)))
    run(studio)
    assert device.refused == [6, 4]
    assert [len(outcomes.steps(name)) for name in ("a", "b", "c")] == [3, 3, 3]


def test_a_picture_that_needs_too_much_memory_alone_fails_as_out_of_memory(parts: Parts) -> None:
    outcomes = Outcomes()
    studio = studio_of(replace(parts, denoiser=SmallDevice(parts.denoiser, rows=1)), outcomes)
    studio.admit(order("guided", spec(steps=1)))
    studio.admit(order("unguided", spec(steps=1, guidance_scale=1.0)))
    run(studio)
    failed = outcomes.ending("guided")
    assert isinstance(failed, Failed)
    assert failed.code == "out_of_memory"
    assert outcomes.names("unguided") == ["Stepped"]


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (spec(width_px=60), "multiples of 8"),
        (spec(height_px=0), "at least 8 x 8"),
        (spec(steps=0), "one step"),
        (spec(count=0), "one picture"),
        (spec(steps=5000), "5000 steps"),
        (spec(scheduler_config={"colour": "red"}), "no option colour"),
        (
            spec(scheduler=Scheduler.DDIM, scheduler_config={"use_karras_sigmas": True}),
            "no option use_karras_sigmas",
        ),
        (spec(scheduler_config={"beta_schedule": "wavy"}), "wavy"),
        (spec(scheduler_config={"num_train_timesteps": 10**12}), "out of all proportion"),
        (spec(scheduler_config={"beta_end": float("nan")}), "out of all proportion"),
        (spec(scheduler_config={"beta_start": "steep"}), "scheduler_config.beta_start: euler cannot make"),
        (
            spec(scheduler_config={"prediction_type": "foo", "steps_offset": 1}),
            "scheduler_config.prediction_type: euler cannot make 3 steps with it (prediction_type given as",
        ),
        (
            spec(scheduler=Scheduler.DPMPP_2M, scheduler_config={"solver_order": 0}),
            "scheduler_config.solver_order:",
        ),
        (
            spec(scheduler=Scheduler.DDIM, scheduler_config={"steps_offset": 900}),
            "scheduler_config.steps_offset:",
        ),
        (
            spec(scheduler_config={"use_karras_sigmas": True, "use_beta_sigmas": True}),
            "scheduler_config.use_karras_sigmas, scheduler_config.use_beta_sigmas: euler",
        ),
        (spec(scheduler=Scheduler.LCM, steps=51), "steps: lcm makes at most 50, not 51: ask for fewer"),
        (spec(scheduler=Scheduler.TCD, steps=60), "steps: tcd makes at most 50, not 60"),
    ],
)
def test_a_job_that_cannot_be_made_is_rejected_when_it_comes(job: JobSpec, says: str, parts: Parts) -> None:
    outcomes = Outcomes()
    studio = studio_of(parts, outcomes)
    studio.admit(order("odd", job))
    failed = outcomes.ending("odd")
    assert isinstance(failed, Failed)
    assert failed.code == "job_rejected"
    assert says in failed.text
    assert not studio.step()


def test_a_job_whose_options_work_is_made(parts: Parts) -> None:
    outcomes = Outcomes()
    studio = studio_of(parts, outcomes)
    options: SchedulerConfig = {"original_inference_steps": 100}
    studio.admit(order("long", spec(scheduler=Scheduler.LCM, steps=60, scheduler_config=options)))
    assert studio.step()
    assert outcomes.steps("long") == [(1, 60)]


def test_latents_that_are_not_numbers_fail_their_job_and_the_next_picture_is_made(parts: Parts) -> None:
    outcomes = Outcomes()
    latents: list[Finished] = []
    studio = Studio(bare_workshop(parts), latents.append, 4, outcomes.emit, Bell().ring)
    studio.admit(order("bad", spec(steps=1)))
    studio.admit(order("good", spec(steps=1)))
    run(studio)
    bad, good = latents
    finisher = Finisher(source_of(Path("/models/tiny.safetensors")), Removers(parts.device))
    finisher.put(replace(bad, latents=bad.latents * torch.nan))
    finisher.put(good)
    finisher.close()
    failed = outcomes.ending("bad")
    assert isinstance(failed, Failed)
    assert failed.code == "job_rejected"
    assert isinstance(outcomes.ending("good"), Completed)
