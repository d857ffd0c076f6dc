"""What the names of schedulers mean, whatever the checkpoint was saved with; pictures are a few numbers."""

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
from kernel.protocol.schedulers import KINDS, SAMPLERS, SPACINGS
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


@pytest.mark.parametrize("scheduler", Scheduler)
def test_every_name_leads_where_the_stock_scheduler_leads(scheduler: Scheduler) -> None:
    ours, theirs = made(job_of(scheduler)), stock(scheduler)
    assert type(ours.scheduler) is type(theirs.scheduler)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    assert torch.equal(sigmas(ours), sigmas(theirs))
    assert torch.allclose(walked(ours), walked(theirs), atol=1e-5)


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
