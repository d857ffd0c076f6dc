"""A picture made in company is the picture made alone: whoever joins, leaves, fails or waits beside it.

`--hypothesis-profile=deep --timeout=0` draws fifty times as many mixes.
"""

from dataclasses import dataclass
from dataclasses import replace as replace_part
from pathlib import Path
from time import sleep

import pytest
import torch
from bits import is_measured
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import Image
from small_engine import Outcomes, order, spec
from torch import Tensor

from bench.bell import Bell, run_out
from bench.ours import distance, make_alone, resources
from bench.pictures import half_mask, photograph, png, random_control_net, random_lora
from bench.stock import Asked
from engine_worker.engine.networks.components import Components
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.postprocessing import DenoisedImage
from engine_worker.engine.pipeline.resources import EngineResources, bare_resources
from engine_worker.port import Inputs
from kernel.protocol.enums import (
    ControlType,
    InpaintArea,
    InpaintFill,
    InputKind,
    MaskMode,
    PromptTechnique,
    Scheduler,
)
from kernel.protocol.ids import JobId, ModelId
from kernel.protocol.model_refs import Control, LoraUse, ModelSource
from kernel.protocol.specs import JobSpec

pytestmark = pytest.mark.torch

BOUND = 1e-4


@dataclass(frozen=True)
class Guest:
    """A job with its pictures, when it comes, and when it is cancelled, both in steps of the studio."""

    job: JobSpec
    inputs: Inputs
    mask: dict[str, object]
    """The values of its mask, if it has one."""
    has_lora: bool
    control: Control | None
    comes_at: int
    cancelled_at: int | None

    def asked(self, lora: ModelSource) -> Asked:
        """The job with all that it brings along."""
        inputs, job = self.inputs, self.job
        if InputKind.MASK in inputs:
            job = replace(job, **self.mask)
        models: tuple[ModelSource, ...] = ()
        if self.has_lora:
            job, models = replace(job, loras=(LoraUse(model_id=lora.model_id, weight=0.8),)), (lora,)
        if self.control is not None:
            job = replace(job, controls=(self.control,))
            inputs = {**inputs, **POSE}
        return Asked(job, inputs, models=models)


# A mix takes a second: few of them, of the examples that the profile allows.
SHARE = 33
NET = ModelId("net")
POSE: Inputs = {InputKind.POSE: png(half_mask().transpose(Image.Transpose.FLIP_TOP_BOTTOM))}
REFERENCE: Inputs = {InputKind.REFERENCE: png(photograph())}
SPOT = Image.new("L", (64, 64))
SPOT.paste(255, (16, 24, 32, 40))
MASKED: Inputs = {**REFERENCE, InputKind.MASK: png(SPOT)}
LONG = "a very long road " * 30
JOBS = st.builds(
    spec,
    prompt=st.sampled_from(["", "a red ball", LONG]),
    negative_prompt=st.sampled_from(["", "blue"]),
    seed=st.integers(0, 2**32),
    count=st.integers(1, 2),
    steps=st.integers(2, 4),
    guidance_scale=st.sampled_from([0.0, 1.0, 2.0, 7.5]),
    width_px=st.sampled_from([64, 72]),
    scheduler=st.sampled_from(list(Scheduler)),
    # With a technique the long prompt is not cut: three times as many tokens as its neighbours have.
    technique=st.sampled_from([PromptTechnique.NONE, PromptTechnique.SD_EMBED]),
)
CONTROLS = st.builds(
    Control,
    control_type=st.just(ControlType.CANNY),
    control_model=st.just(NET),
    scale=st.sampled_from([0.5, 1.0]),
    start=st.sampled_from([0.0, 0.3]),
    end=st.sampled_from([0.7, 1.0]),
    is_preprocessed=st.just(True),
)
MASKS = st.fixed_dictionaries(
    {
        "mask_mode": st.sampled_from([MaskMode.LUMINANCE, MaskMode.INVERTED]),
        "mask_blur": st.sampled_from([0, 4]),
        "inpaint_area": st.sampled_from(InpaintArea),
        "inpaint_padding": st.sampled_from([0, 8]),
        "inpaint_fill": st.sampled_from(InpaintFill),
    }
)
GUESTS = st.lists(
    st.builds(
        Guest,
        JOBS,
        st.sampled_from([{}, {}, REFERENCE, MASKED, MASKED]),
        MASKS,
        st.booleans(),
        st.one_of(st.none(), CONTROLS),
        st.integers(0, 2),
        st.one_of(st.none(), st.none(), st.integers(1, 3)),
    ),
    min_size=2,
    max_size=3,
)


def run_together(
    work: EngineResources, pending_jobs: list[Guest], lora: ModelSource, slots: int
) -> tuple[Outcomes, dict[tuple[str, int], Tensor]]:
    """Run all guests in one studio. Returns: what it emitted, and the latents by job and picture."""
    latents: dict[tuple[str, int], Tensor] = {}

    def keep(finished: DenoisedImage) -> None:
        latents[finished.job.order.job_id, finished.image.index] = finished.latents

    outcomes, bell = Outcomes(), Bell()
    engine_core = EngineCore(work, keep, slots, outcomes.emit, bell.ring)
    for moment in range(4):
        engine_core.step()
        for number, pending in enumerate(pending_jobs):
            if pending.cancelled_at == moment:
                engine_core.cancel(JobId(f"job-{number}"))
            if pending.comes_at == moment:
                asked = pending.asked(lora)
                came = replace(order(f"job-{number}", asked.spec), models=tuple(asked.models))
                engine_core.admit(came, asked.inputs)
    run_out(engine_core, bell)
    engine_core.close()
    return outcomes, latents


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("threads")
def test_made_in_company_is_made_alone(parts: Components, tmp_path: Path) -> None:
    work = resources(parts, {NET: random_control_net(parts, seed=1)})
    lora = random_lora(parts, tmp_path / "lora.safetensors", seed=2)
    examples = max(1, settings().max_examples // SHARE)

    # No shrinking: an example costs a second, and the first one found says enough.
    @settings(max_examples=examples, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
    @given(pending_jobs=GUESTS, slots=st.integers(1, 4))
    def check(pending_jobs: list[Guest], slots: int) -> None:
        outcomes, latents = run_together(work, pending_jobs, lora, slots)
        for number, pending in enumerate(pending_jobs):
            name = f"job-{number}"
            if "Dropped" in outcomes.names(name):
                continue
            for picture in order(name, pending.job).pictures:
                asked = pending.asked(lora)
                alone = make_alone(work, replace_part(asked, spec=replace(asked.spec, seed=picture.seed)))
                assert distance(latents[name, picture.index], alone) <= BOUND
                # Without guidance a picture has one row, for which not every layer goes the same way.
                if is_measured() and asked.spec.guidance_scale > 1:
                    assert torch.equal(latents[name, picture.index], alone)

    try:
        check()
    finally:
        work.adapters.clear()


def test_a_job_that_comes_late_starts_with_the_next_step(parts: Components) -> None:
    outcomes = Outcomes()
    engine_core = EngineCore(bare_resources(parts), lambda finished: None, 4, outcomes.emit, Bell().ring)
    engine_core.admit(order("early", spec(steps=4)))
    engine_core.step()
    engine_core.admit(order("late", spec(steps=2)))
    engine_core.step()
    assert outcomes.steps("early") == [(1, 4), (2, 4)]
    assert outcomes.steps("late") == [(1, 2)]


def test_pictures_of_one_size_share_a_call_and_other_sizes_take_turns(parts: Components) -> None:
    outcomes = Outcomes()
    engine_core = EngineCore(bare_resources(parts), lambda finished: None, 4, outcomes.emit, Bell().ring)
    for name, width_px in [("a", 64), ("b", 64), ("wide", 72)]:
        engine_core.admit(order(name, spec(steps=2, width_px=width_px)))
    moves = []
    while engine_core.step():
        moves.append([len(outcomes.steps(name)) for name in ("a", "b", "wide")])
    assert moves == [[1, 1, 0], [1, 1, 1], [2, 2, 1], [2, 2, 2]]


class Kneed:
    """A denoiser that makes two rows at once in no time, and each of more in a twentieth of a second."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, sample: Tensor, timestep: Tensor, **given: object) -> tuple[Tensor]:
        self.batches.append(len(sample))
        if len(sample) > 2:
            sleep(0.05 * len(sample))
        return (torch.zeros_like(sample),)


def test_calls_grow_no_larger_than_has_been_measured_to_pay(parts: Components) -> None:
    outcomes, slow = Outcomes(), Kneed()
    work = bare_resources(replace_part(parts, denoiser=slow))
    engine_core = EngineCore(work, lambda finished: None, 4, outcomes.emit, Bell().ring)
    engine_core.admit(order("early", spec(steps=9)))
    for _ in range(3):
        engine_core.step()
    engine_core.admit(order("late", spec(steps=9)))
    for _ in range(6):
        engine_core.step()
    # Measured alone, measured together, and then one after the other.
    assert slow.batches == [2, 2, 2, 4, 4, 4, 2, 2, 2]


def test_a_cancelled_job_makes_no_further_step_and_its_neighbours_do(parts: Components) -> None:
    outcomes = Outcomes()
    engine_core = EngineCore(bare_resources(parts), lambda finished: None, 4, outcomes.emit, Bell().ring)
    engine_core.admit(order("stays", spec(steps=3)))
    engine_core.admit(order("goes", spec(steps=3)))
    engine_core.step()
    engine_core.cancel(JobId("goes"))
    engine_core.cancel(JobId("never-was-here"))
    while engine_core.step():
        pass
    assert outcomes.names("goes") == ["Stepped", "Dropped"]
    assert outcomes.steps("stays") == [(1, 3), (2, 3), (3, 3)]
    assert not outcomes.of("never-was-here")
