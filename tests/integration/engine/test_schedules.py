"""What the names of schedulers mean, whatever the checkpoint was saved with; pictures are a few numbers."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import diffusers
import pytest
import torch
from small_engine import spec
from torch import Tensor

from bench.stock import CLASSES
from engine_worker.engine.sampling.brownian import BrownianScheduler, walk_on_the_cpu
from engine_worker.engine.sampling.schedulers import Schedule, make_schedule
from kernel.protocol.enums import Scheduler
from kernel.protocol.errors import JobRejected
from kernel.protocol.schedulers import KINDS, LEVELS, SAMPLERS, SPACINGS, problem_with_levels
from kernel.protocol.specs import JobSpec

pytestmark = [
    pytest.mark.torch,
    # The stock DPM++ SDE asks for a little more than the Brownian path that it has made.
    pytest.mark.filterwarnings("ignore:Should have t[ab]"),
]

STEPS: Final = 4
SHAPE: Final = (1, 2, 2, 2)
MODEL: Final[Mapping[str, object]] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "clip_sample": False,
}
SAVED_WITH: Final[Mapping[str, Mapping[str, object]]] = {
    "use_karras_sigmas": {
        "algorithm_type": "deis", "solver_type": "logrho", "final_sigmas_type": "sigma_min",
    },
    "use_exponential_sigmas": {
        "algorithm_type": "sde-dpmsolver++", "solver_order": 3, "euler_at_final": True,
        "use_lu_lambdas": True, "predict_x0": False,
    },
    "use_beta_sigmas": {
        "algorithm_type": "dpmsolver", "solver_type": "heun", "lower_order_final": False,
        "skip_prk_steps": False, "interpolation_type": "log_linear",
    },
}  # fmt: skip
"""What schedulers save that is about themselves, by the flag that they save with it."""


def walked(schedule: Schedule) -> Tensor:
    """Where the way of a schedule leads to, when the UNet predicts a little of what it sees."""
    scheduler = schedule.scheduler
    if isinstance(scheduler, BrownianScheduler):
        walk_on_the_cpu(scheduler, SHAPE, torch.device("cpu"))
    generator = torch.Generator().manual_seed(3)
    latents = torch.linspace(-1, 1, 8).reshape(SHAPE) * scheduler.init_noise_sigma
    for call in range(schedule.calls):
        seen = scheduler.scale_model_input(latents, schedule.timesteps[call])
        latents = schedule.step(0.3 * seen + 0.1, call, latents, generator)
    assert latents.isfinite().all()
    return latents


def made(job: JobSpec, config: Mapping[str, object] = MODEL) -> Schedule:
    return make_schedule(job, config, seed=1, strength=None)


def job_of(scheduler: Scheduler, **options: bool | float | str) -> JobSpec:
    return spec(scheduler=scheduler, scheduler_config=options, steps=STEPS)


def stock(scheduler: Scheduler) -> Schedule:
    """The same of diffusers, by the table of the benchmarks."""
    name, options = CLASSES[scheduler]
    seeded = {"noise_sampler_seed": 1} if name == "DPMSolverSDEScheduler" else {}
    made = getattr(diffusers, name).from_config({**MODEL, **seeded, **options})
    made.set_timesteps(STEPS)
    ours = make_schedule(job_of(scheduler), MODEL, 1, None)
    return Schedule(made, made.timesteps, ours.takes_generator, ours.eta)


def sigmas(schedule: Schedule) -> Tensor:
    found = getattr(schedule.scheduler, "sigmas", torch.empty(0))
    assert isinstance(found, Tensor)
    return found


@pytest.mark.sampled(10)
@pytest.mark.parametrize("scheduler", Scheduler)
def test_every_name_leads_where_the_stock_scheduler_leads(scheduler: Scheduler) -> None:
    ours, theirs = made(job_of(scheduler)), stock(scheduler)
    assert type(ours.scheduler) is type(theirs.scheduler)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    assert torch.equal(sigmas(ours), sigmas(theirs))
    assert torch.allclose(walked(ours), walked(theirs), atol=1e-5)


@pytest.mark.sampled(10)
@pytest.mark.parametrize("scheduler", Scheduler)
def test_a_name_means_the_same_whatever_the_checkpoint_was_saved_with(scheduler: Scheduler) -> None:
    plain, spacing = made(job_of(scheduler)), KINDS[scheduler].spacing
    expected = walked(plain)
    # Samplers with all of them; with a spacing of its own the first of the others is enough.
    flags = list(SAVED_WITH) if spacing is None else [one for one in SAVED_WITH if one != spacing.option][:1]
    for flag in flags:
        found = made(job_of(scheduler), {**MODEL, **SAVED_WITH[flag], flag: True})
        assert torch.equal(found.timesteps, plain.timesteps), flag
        assert torch.equal(sigmas(found), sigmas(plain)), flag
        assert torch.equal(walked(found), expected), flag


def test_what_was_trained_into_the_checkpoint_counts_with_every_name() -> None:
    trained = {"beta_end": 0.02, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    for scheduler in SAMPLERS:
        config = made(job_of(scheduler), {**MODEL, **trained}).scheduler.config
        known = {name: value for name, value in trained.items() if hasattr(config, name)}
        assert len(known) >= 2
        assert {name: getattr(config, name) for name in known} == known


@pytest.mark.sampled(4)
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_each_spacing_has_noise_levels_of_its_own_between_the_same_ends(scheduler: Scheduler) -> None:
    named = [Scheduler(f"{scheduler}_{ending}") for ending in SPACINGS if f"{scheduler}_{ending}" in KINDS]
    ways = [sigmas(made(job_of(one))) for one in named]
    for one, other in pairwise(ways):
        assert one[0].item() == pytest.approx(other[0].item(), rel=1e-4)
        assert not torch.allclose(one, other)


@pytest.mark.parametrize("flag", [spacing.option for spacing in SPACINGS.values()])
def test_a_job_that_asks_for_another_spacing_takes_the_names_off(flag: str) -> None:
    asked, plain = (made(job_of(one, **{flag: True})) for one in (Scheduler.EULER_KARRAS, Scheduler.EULER))
    assert torch.equal(sigmas(asked), sigmas(plain))


def test_a_flag_that_is_off_takes_off_just_its_own() -> None:
    off = made(job_of(Scheduler.EULER_KARRAS, use_karras_sigmas=False, use_beta_sigmas=False))
    assert torch.equal(sigmas(off), sigmas(made(job_of(Scheduler.EULER))))
    other = made(job_of(Scheduler.EULER_KARRAS, use_beta_sigmas=False))
    assert torch.equal(sigmas(other), sigmas(made(job_of(Scheduler.EULER_KARRAS))))


def test_the_page_knows_who_calls_the_unet_more_often_than_once_a_step() -> None:
    calls = {one: made(spec(scheduler=one, steps=20)).calls for one in SAMPLERS}
    assert {one for one, count in calls.items() if count > 30} == {
        Scheduler.HEUN, Scheduler.DPM2, Scheduler.DPM2_A, Scheduler.DPMPP_SDE
    }  # fmt: skip
    assert {one for one, count in calls.items() if count == 21} == {Scheduler.PNDM}


def comfyuis(levels: str, steps: int) -> list[float]:
    """The noise levels as ComfyUI defines them, without its code: numbers of a table, one by one."""
    beta = torch.linspace(MODEL["beta_start"] ** 0.5, MODEL["beta_end"] ** 0.5, 1000) ** 2  # type: ignore[operator]
    signal = torch.cumprod(1 - beta, 0)
    table = ((1 - signal) / signal).sqrt().log().tolist()

    def level(timestep: float) -> float:
        low = min(int(timestep), 998)
        return math.exp(table[low] + (timestep - low) * (table[low + 1] - table[low]))

    match levels:
        case "normal":
            timesteps = [999 - 999 * n / (steps - 1) for n in range(steps)]
        case "sgm_uniform":
            timesteps = [999 - 999 * n / steps for n in range(steps)]
        case "simple":
            timesteps = [999.0 - int(n * 1000 / steps) for n in range(steps)]
        case _:
            timesteps = [float(timestep) for timestep in range(1, 1000, 1000 // steps)][::-1]
    return [*map(level, timesteps), 0.0]


def with_levels(scheduler: Scheduler, levels: str, steps: int = STEPS) -> Schedule:
    job = spec(scheduler=scheduler, scheduler_config={"timestep_spacing": levels}, steps=steps)
    return made(job)


@pytest.mark.sampled(16)
@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_noise_levels_of_comfyui_are_set_or_refused(scheduler: Scheduler, levels: str) -> None:
    if problem_with_levels(scheduler, levels) is not None:
        with pytest.raises(JobRejected, match="scheduler_config: "):
            with_levels(scheduler, levels)
        return
    schedule = with_levels(scheduler, levels)
    if not len(sigmas(schedule)):  # DDIM and its like have timesteps alone; PNDM repeats one
        assert sorted({*schedule.timesteps.tolist()}) == [1, 251, 501, 751]
    else:
        found = sorted({*sigmas(schedule).tolist()}, reverse=True)
        assert found == pytest.approx(comfyuis(levels, STEPS), rel=1e-5, abs=1e-6)
    walked(schedule)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("steps", [1, 2, 8, 20])
def test_euler_with_comfyuis_noise_levels_is_the_plain_loop(levels: str, steps: int) -> None:
    if (levels, steps) == ("normal", 1):
        pytest.skip("one level is no spacing")
    given = comfyuis(levels, steps)
    latents = torch.linspace(-1, 1, 8).reshape(SHAPE) * given[0]
    for level, lower in pairwise(given):
        noise = 0.3 * latents / (level**2 + 1) ** 0.5 + 0.1
        latents = latents + (lower - level) * noise
    assert torch.allclose(walked(with_levels(Scheduler.EULER, levels, steps)), latents, atol=1e-4)


@pytest.mark.parametrize("levels", LEVELS)
def test_euler_a_with_comfyuis_noise_levels_is_the_plain_loop(levels: str) -> None:
    given, generator = comfyuis(levels, STEPS), torch.Generator().manual_seed(3)
    latents = torch.linspace(-1, 1, 8).reshape(SHAPE) * given[0]
    for level, lower in pairwise(given):
        noise = 0.3 * latents / (level**2 + 1) ** 0.5 + 0.1
        up = (lower**2 * (level**2 - lower**2) / level**2) ** 0.5
        latents = latents + ((lower**2 - up**2) ** 0.5 - level) * noise
        latents = latents + up * torch.randn(SHAPE, generator=generator)
    assert torch.allclose(walked(with_levels(Scheduler.EULER_A, levels)), latents, atol=1e-4)


def test_noise_levels_replace_the_spacing_of_the_name() -> None:
    named = with_levels(Scheduler.DPMPP_2M_KARRAS, "simple")
    assert torch.equal(sigmas(named), sigmas(with_levels(Scheduler.DPMPP_2M, "simple")))
    assert not torch.equal(sigmas(named), sigmas(made(job_of(Scheduler.DPMPP_2M_KARRAS))))
