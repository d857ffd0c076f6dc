"""ControlNets in the call: our sampler makes what the stock pipelines make, alone and with others."""

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from small_engine import Outcomes, order, spec

from bench.bell import Bell, run_out
from bench.ours import make_alone, make_together, resources
from bench.pictures import half_mask, photograph, png, random_control_net
from bench.stock import Asked, Stock
from engine_worker.engine.networks.components import Components
from engine_worker.engine.networks.vae import decode
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.resources import EngineResources, bare_resources
from engine_worker.port import Failed, Inputs
from kernel.protocol.enums import ControlType, InputKind, Scheduler
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import Control
from kernel.protocol.specs import JobSpec

pytestmark = pytest.mark.torch

CANNY, DEPTH = ModelId("canny"), ModelId("depth")
POSE: Inputs = {InputKind.POSE: png(half_mask())}
REFERENCE: Inputs = {**POSE, InputKind.REFERENCE: png(photograph())}
MASKED: Inputs = {**REFERENCE, InputKind.MASK: png(half_mask())}


def use(scale: float = 1.0, start: float = 0.0, end: float = 1.0) -> Control:
    return Control(
        control_type=ControlType.CANNY,
        control_model=CANNY,
        scale=scale,
        start=start,
        end=end,
        is_preprocessed=True,
    )


def controlled(*uses: Control, prompt: str = "a red ball", steps: int = 4, seed: int = 1) -> JobSpec:
    """A job with one ControlNet or two."""
    return spec(
        prompt=prompt,
        scheduler=Scheduler.EULER_A,
        steps=steps,
        seed=seed,
        controls=tuple(
            replace(one, control_model=net) for one, net in zip(uses, (CANNY, DEPTH), strict=False)
        ),
    )


@pytest.fixture(scope="module")
def work(parts: Components) -> EngineResources:
    return resources(parts, {CANNY: random_control_net(parts, 1), DEPTH: random_control_net(parts, 2)})


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("uses", "inputs"),
    [
        ((use(),), POSE),
        ((use(scale=0.7, start=0.25, end=0.75),), POSE),
        ((use(scale=0.5), use(scale=0.9, start=0.5)), POSE),
        ((use(scale=0.5, end=0.5),), REFERENCE),
        ((use(scale=0.5, end=0.5),), MASKED),
    ],
    ids=["whole", "in-its-part", "two", "image", "inpaint"],
)
def test_a_job_with_control_nets_makes_the_stock_pipelines_picture(
    uses: tuple[Control, ...], inputs: Inputs, work: EngineResources, stock: Stock
) -> None:
    job = controlled(*uses)
    nets = [work.adapters.controlnet((), model) for model in job.control_models]
    expected_latents, expected_pixels = stock.make(Asked(job, inputs, nets))  # type: ignore[arg-type]
    latents = make_alone(work, Asked(job, inputs))
    with torch.inference_mode():
        pixels = decode(work.parts.vae, latents)
    assert (latents - expected_latents).abs().max().item() <= 1e-4
    assert np.abs(pixels.astype(int) - expected_pixels.astype(int)).max() <= 1


def test_jobs_with_the_same_nets_share_a_call_each_with_its_own_scale_and_part(work: EngineResources) -> None:
    long = "a very long road " * 30
    jobs = [
        Asked(controlled(use(0.3), use(0.0), seed=1), POSE),
        Asked(controlled(use(1.2, 0.5), use(0.4, 0.0, 0.5), seed=2, prompt=long), POSE),
        Asked(controlled(use(), seed=3), POSE),
        Asked(spec(seed=4)),
    ]
    for made, asked in zip(make_together(work, jobs, slots=4), jobs, strict=True):
        assert (made - make_alone(work, asked)).abs().max().item() <= 1e-4


def test_a_net_that_rests_is_not_called(parts: Components) -> None:
    calls = []

    def net(*_: object, **__: object) -> None:
        calls.append(1)
        raise AssertionError("It was at rest")

    work = resources(parts, {CANNY: net})  # type: ignore[dict-item]
    make_alone(work, Asked(controlled(use(scale=0.0)), POSE))
    assert not calls


@pytest.mark.parametrize(
    ("job", "inputs", "says"),
    [
        (controlled(use()), {}, "requires a pose image"),
        (controlled(use()), POSE, "canny"),
    ],
    ids=["no-picture", "unknown-net"],
)
def test_a_control_that_lacks_something_is_an_error_in_words(
    job: JobSpec, inputs: Inputs, says: str, parts: Components
) -> None:
    outcomes, bell = Outcomes(), Bell()
    engine_core = EngineCore(bare_resources(parts), lambda finished: None, 4, outcomes.emit, bell.ring)
    engine_core.admit(order("odd", job), inputs)
    run_out(engine_core, bell)
    engine_core.close()
    failed = outcomes.ending("odd")
    assert isinstance(failed, Failed)
    assert (failed.code, says in failed.text) == ("job_rejected", True)
