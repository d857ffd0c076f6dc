"""Pictures made on a GPU: those of the CPU, in company those made alone, in half precision nearly so."""

from pathlib import Path

import pytest
import torch

from bench.ours import make_alone, make_together, resources
from bench.pictures import random_control_net, random_lora
from engine_worker.engine.networks.components import Components
from kernel.protocol.enums import ModelBase, Scheduler
from kernel.protocol.schedulers import SAMPLERS
from tests.gpu.gpu_jobs import distance, job, parts_on
from tests.gpu.rich_jobs import NET, rich_jobs

pytestmark = pytest.mark.torch

ROUNDING = 1e-3
"""What the order of additions may change in single precision, over the steps of a checkpoint of noise."""
# Of the same jobs on a CPU: 0.005 and 0.04.
HALF_BOUNDS = {torch.float16: 0.02, torch.bfloat16: 0.12}
MIXED = [
    job(1, scheduler=Scheduler.EULER_A),
    job(2, scheduler=Scheduler.DPMPP_2M_KARRAS, steps=5),
    job(3, scheduler=Scheduler.UNIPC, guidance_scale=1.0),
    job(4, scheduler=Scheduler.HEUN, prompt="a very long road " * 30),
    job(5, scheduler=Scheduler.DPMPP_SDE, guidance_scale=9.0),
    job(6, scheduler=Scheduler.DDIM, width_px=72),
]


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_a_seed_means_the_same_picture_as_on_a_cpu(
    exact: Components, base: ModelBase, checkpoints: Path, scheduler: Scheduler
) -> None:
    wanted = job(scheduler=scheduler, steps=4)
    on_cpu = parts_on(checkpoints / f"{base}.safetensors", "cpu", exact.dtype)
    expected = make_alone(resources(on_cpu, {}), wanted)
    assert distance(make_alone(resources(exact, {}), wanted), expected) <= ROUNDING


def test_made_in_company_is_made_alone(exact: Components) -> None:
    work = resources(exact, {})
    together = make_together(work, MIXED, slots=4)
    for found, wanted in zip(together, MIXED, strict=True):
        assert distance(found, make_alone(work, wanted)) <= ROUNDING


def test_loras_pictures_masks_and_control_nets_mean_on_a_gpu_what_they_mean_on_a_cpu(
    exact: Components, base: ModelBase, checkpoints: Path, tmp_path: Path
) -> None:
    on_cpu = parts_on(checkpoints / f"{base}.safetensors", "cpu", exact.dtype)
    lora = random_lora(on_cpu, tmp_path / "lora.safetensors", seed=2)
    net = random_control_net(on_cpu, seed=1)
    jobs = rich_jobs(lora)
    there = resources(on_cpu, {NET: net})
    expected = [make_alone(there, wanted) for wanted in jobs]
    here = resources(exact, {NET: net.to(exact.device)})
    together = make_together(here, jobs, slots=4)
    # Other tests work with the same networks.
    here.adapters.lora_manager.clear()
    for found, wanted in zip(together, expected, strict=True):
        assert distance(found, wanted) <= ROUNDING


@pytest.mark.parametrize("dtype", HALF_BOUNDS, ids=str)
def test_half_precision_gives_nearly_the_same_picture(
    exact: Components, base: ModelBase, checkpoints: Path, dtype: torch.dtype
) -> None:
    expected = [make_alone(resources(exact, {}), wanted) for wanted in MIXED]
    half = resources(parts_on(checkpoints / f"{base}.safetensors", "cuda:0", dtype), {})
    for found, wanted in zip(make_together(half, MIXED, slots=4), expected, strict=True):
        assert distance(found, wanted) <= HALF_BOUNDS[dtype]
