"""What goes wrong in one job stays in that job, and is said in words and a stable code."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from msgspec import structs
from PIL import Image
from small_engine import Outcomes, order, source_of, spec
from torch import Tensor

from bench.bell import Bell
from bench.ours import make_alone
from bench.pictures import random_lora
from bench.stock import Asked
from engine_worker.engine.adapters.adapter_manager import AdapterManager
from engine_worker.engine.adapters.lora_manager import NO_ADAPTERS, AdapterSet
from engine_worker.engine.background.apply_matte import Removers
from engine_worker.engine.networks.components import Components, Denoiser, Vae
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.postprocessing import DenoisedImage, Postprocessor
from engine_worker.engine.pipeline.preprocessing import read_inputs
from engine_worker.engine.pipeline.resources import bare_resources, make_resources
from engine_worker.engine.prompts.prompt_encoder import (
    EncodedPrompts,
    ParsedPrompts,
    PromptEncoder,
)
from engine_worker.port import Completed, Failed
from kernel.protocol.enums import ControlType, Scheduler
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import LoraUse, ModelSource
from kernel.protocol.specs import JobOrder, JobSpec, SchedulerConfig

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


def no_detector(control_type: ControlType, picture: Image.Image) -> Image.Image:
    raise AssertionError(f"nobody has asked for {control_type}")


def engine_core_of(
    parts: Components, outcomes: Outcomes, adapters: AdapterManager | None = None
) -> EngineCore:
    work = make_resources(parts, adapters or AdapterManager(parts), no_detector)
    return EngineCore(work, lambda finished: None, 4, outcomes.emit, Bell().ring)


def run(engine_core: EngineCore) -> None:
    while engine_core.step():
        pass


class Crowded:
    """A device that has no memory while anything is kept for later jobs, or never."""

    def __init__(self, adapters: AdapterManager, *, for_ever: bool = False) -> None:
        self._adapters = adapters
        self._for_ever = for_ever
        self.refused = 0

    def check(self) -> None:
        if self._for_ever or self._adapters.memory_bytes:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")


class CrowdedConditioner(PromptEncoder):
    """Encodes prompts on such a device."""

    device: Crowded

    def condition(
        self, order: JobOrder, loras: AdapterSet = NO_ADAPTERS, words: ParsedPrompts | None = None
    ) -> EncodedPrompts:
        self.device.check()
        return super().condition(order, loras, words)


class CrowdedExtras(AdapterManager):
    """Loads a further model on such a device."""

    def vae(self, sources: Sequence[ModelSource], model_id: ModelId | None) -> Vae:
        self.device.check()
        return super().vae(sources, model_id)

    device: Crowded


@dataclass
class CrowdedCalls:
    """The UNet of such a device; it says which batches were too much."""

    denoiser: Denoiser
    device: Crowded
    batches: list[int] = field(default_factory=list)

    def __call__(self, sample: Tensor, timestep: Tensor, **given: object) -> tuple[Tensor]:
        self.batches.append(len(sample))
        self.device.check()
        return self.denoiser(sample, timestep, **given)  # type: ignore[arg-type]


def with_a_lora_for_later(parts: Components, adapters: AdapterManager, folder: Path) -> ModelSource:
    lora = random_lora(parts, folder / "lora.safetensors", seed=2)
    adapters.preload([lora])
    assert adapters.memory_bytes > 0
    return lora


def allergic(parts: Components, error: Exception) -> Components:
    poison = PromptEncoder(parts).condition(order("poison", spec(prompt="poison"))).conditioning.embeds[-1]
    return replace(parts, denoiser=Allergic(parts.denoiser, poison, error))


def test_a_job_that_breaks_the_shared_call_fails_alone(parts: Components) -> None:
    outcomes = Outcomes()
    engine_core = engine_core_of(allergic(parts, RuntimeError("it will not have it")), outcomes)
    for name in ("first", "poison", "last"):
        engine_core.admit(order(name, spec(prompt=name, steps=2)))
    run(engine_core)
    assert outcomes.of("poison") == [
        Failed(
            order("poison", spec()).job_id,
            "job_broke",
            "unexpected engine error (RuntimeError: it will not have it); see the worker log",
        )
    ]
    assert outcomes.steps("first") == outcomes.steps("last") == [(1, 2), (2, 2)]


def test_a_device_that_broke_ends_the_engine_and_not_just_the_job(parts: Components) -> None:
    broken = torch.AcceleratorError("device-side assert triggered")
    engine_core = engine_core_of(allergic(parts, broken), Outcomes())
    engine_core.admit(order("poison", spec(prompt="poison")))
    with pytest.raises(torch.AcceleratorError):
        engine_core.step()


def test_a_call_that_needs_too_much_memory_is_made_in_parts(parts: Components) -> None:
    outcomes = Outcomes()
    engine_core = engine_core_of(replace(parts, denoiser=SmallDevice(parts.denoiser, rows=2)), outcomes)
    for name in ("a", "b", "c"):
        engine_core.admit(order(name, spec(steps=1)))
    run(engine_core)
    assert [outcomes.names(name) for name in ("a", "b", "c")] == [["Stepped"]] * 3


def test_a_call_that_was_too_large_is_not_made_so_large_again(parts: Components) -> None:
    outcomes, device = Outcomes(), SmallDevice(parts.denoiser, rows=2)
    engine_core = engine_core_of(replace(parts, denoiser=device), outcomes)
    for name in ("a", "b", "c"):
        engine_core.admit(order(name, spec(steps=3)))
    run(engine_core)
    assert device.refused == [6, 4]
    assert [len(outcomes.steps(name)) for name in ("a", "b", "c")] == [3, 3, 3]


def test_a_picture_that_needs_too_much_memory_alone_fails_as_out_of_memory(parts: Components) -> None:
    outcomes = Outcomes()
    engine_core = engine_core_of(replace(parts, denoiser=SmallDevice(parts.denoiser, rows=1)), outcomes)
    engine_core.admit(order("guided", spec(steps=1)))
    engine_core.admit(order("unguided", spec(steps=1, guidance_scale=1.0)))
    run(engine_core)
    failed = outcomes.ending("guided")
    assert isinstance(failed, Failed)
    assert failed.code == "out_of_memory"
    assert outcomes.names("unguided") == ["Stepped"]


def test_what_is_kept_for_later_makes_room_for_one_picture(parts: Components, tmp_path: Path) -> None:
    outcomes, adapters = Outcomes(), AdapterManager(parts)
    with_a_lora_for_later(parts, adapters, tmp_path)
    calls = CrowdedCalls(parts.denoiser, Crowded(adapters))
    engine_core = engine_core_of(replace(parts, denoiser=calls), outcomes, adapters)
    for name in ("a", "b"):
        engine_core.admit(order(name, spec(steps=1)))
    run(engine_core)
    assert [outcomes.names(name) for name in ("a", "b")] == [["Stepped"]] * 2
    # Together, in parts, the first part again, and the other one: it finds room already.
    assert calls.batches == [4, 2, 2, 2]


def test_a_lora_that_is_worn_stays_on_when_room_is_made(parts: Components, tmp_path: Path) -> None:
    outcomes, adapters, latents = Outcomes(), AdapterManager(parts), list[DenoisedImage]()
    lora = with_a_lora_for_later(parts, adapters, tmp_path)
    calls = CrowdedCalls(parts.denoiser, Crowded(adapters))
    adorned = order("adorned", structs.replace(spec(steps=2), loras=(LoraUse(model_id=lora.model_id),)))
    adorned = structs.replace(adorned, models=(lora,))
    work = make_resources(replace(parts, denoiser=calls), adapters, no_detector)
    work.prompt_encoder.read(adorned)
    engine_core = EngineCore(work, latents.append, 4, outcomes.emit, Bell().ring)
    engine_core.admit(adorned)
    run(engine_core)
    assert calls.batches == [2, 2, 2]
    adapters.clear()
    roomy = bare_resources(parts)
    alone = make_alone(roomy, Asked(adorned.spec, models=(lora,)))
    roomy.adapters.clear()
    assert torch.equal(latents[0].latents, alone)


def test_one_picture_is_tried_twice_and_no_more(parts: Components) -> None:
    outcomes, device = Outcomes(), SmallDevice(parts.denoiser, rows=1)
    engine_core = engine_core_of(replace(parts, denoiser=device), outcomes)
    engine_core.admit(order("guided", spec(steps=1)))
    run(engine_core)
    assert device.refused == [2, 2]
    assert outcomes.names("guided") == ["Failed"]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("for_ever", [False, True])
def test_prompts_are_encoded_again_once_there_is_room(
    for_ever: bool, parts: Components, tmp_path: Path
) -> None:
    outcomes, adapters = Outcomes(), AdapterManager(parts)
    with_a_lora_for_later(parts, adapters, tmp_path)
    prompt_encoder = CrowdedConditioner(parts)
    prompt_encoder.device = Crowded(adapters, for_ever=for_ever)
    work = replace(make_resources(parts, adapters, no_detector), prompt_encoder=prompt_encoder)
    prompt_encoder.read(order("job", spec()))
    engine_core = EngineCore(work, lambda finished: None, 4, outcomes.emit, Bell().ring)
    engine_core.admit(order("job", spec(steps=1)))
    run(engine_core)
    assert prompt_encoder.device.refused == 1 + for_ever
    assert outcomes.names("job") == (["Failed"] if for_ever else ["Stepped"])
    assert (adapters.memory_bytes, adapters.lora_manager.size_bytes) == (0, 0)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("for_ever", [False, True])
def test_models_are_loaded_again_once_there_is_room(
    for_ever: bool, parts: Components, tmp_path: Path
) -> None:
    adapters = CrowdedExtras(parts)
    with_a_lora_for_later(parts, adapters, tmp_path)
    adapters.device = Crowded(adapters, for_ever=for_ever)
    work = make_resources(parts, adapters, no_detector)
    with pytest.raises(torch.OutOfMemoryError) if for_ever else nullcontext():
        read_inputs(work, order("job", spec()), {})
    assert adapters.device.refused == 1 + for_ever


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (spec(width_px=60), "multiples of 8"),
        (spec(height_px=0), "at least 8 x 8"),
        (spec(steps=0), "one step"),
        (spec(count=0), "one image"),
        (spec(steps=5000), "not 5000"),
        (spec(scheduler_config={"colour": "red"}), "no option colour"),
        (
            spec(scheduler=Scheduler.DDIM, scheduler_config={"use_karras_sigmas": True}),
            "no option use_karras_sigmas",
        ),
        (spec(scheduler_config={"beta_schedule": "wavy"}), "wavy"),
        (spec(scheduler_config={"num_train_timesteps": 10**12}), "out of range"),
        (spec(scheduler_config={"beta_end": float("nan")}), "out of range"),
        (spec(scheduler_config={"beta_start": "steep"}), "scheduler_config.beta_start: euler cannot run"),
        (
            spec(scheduler_config={"prediction_type": "foo", "steps_offset": 1}),
            "scheduler_config.prediction_type: euler cannot run 3 steps with it (prediction_type given as",
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
        (
            spec(scheduler=Scheduler.LCM, steps=51),
            "steps: must be at most 50 with lcm (its original_inference_steps), not 51: use fewer",
        ),
        (
            spec(scheduler=Scheduler.TCD, steps=60),
            "steps: must be at most 50 with tcd (its original_inference_steps), not 60",
        ),
    ],
)
def test_a_job_that_cannot_be_made_is_rejected_when_it_comes(
    job: JobSpec, says: str, parts: Components
) -> None:
    outcomes = Outcomes()
    engine_core = engine_core_of(parts, outcomes)
    engine_core.admit(order("odd", job))
    failed = outcomes.ending("odd")
    assert isinstance(failed, Failed)
    assert failed.code == "job_rejected"
    assert says in failed.text
    assert not engine_core.step()


def test_a_job_whose_options_work_is_made(parts: Components) -> None:
    outcomes = Outcomes()
    engine_core = engine_core_of(parts, outcomes)
    options: SchedulerConfig = {"original_inference_steps": 100}
    engine_core.admit(order("long", spec(scheduler=Scheduler.LCM, steps=60, scheduler_config=options)))
    assert engine_core.step()
    assert outcomes.steps("long") == [(1, 60)]


def test_latents_that_are_not_numbers_fail_their_job_and_the_next_picture_is_made(parts: Components) -> None:
    outcomes = Outcomes()
    latents: list[DenoisedImage] = []
    engine_core = EngineCore(bare_resources(parts), latents.append, 4, outcomes.emit, Bell().ring)
    engine_core.admit(order("bad", spec(steps=1)))
    engine_core.admit(order("good", spec(steps=1)))
    run(engine_core)
    bad, good = latents
    postprocessor = Postprocessor(source_of(Path("/models/tiny.safetensors")), Removers(parts.device))
    postprocessor.put(replace(bad, latents=bad.latents * torch.nan))
    postprocessor.put(good)
    postprocessor.close()
    failed = outcomes.ending("bad")
    assert isinstance(failed, Failed)
    assert failed.code == "job_rejected"
    assert isinstance(outcomes.ending("good"), Completed)
