"""A step does not wait for the GPU: torch raises an error at each call that would.

Its `set_sync_debug_mode` knows copies, lookups and whatever else waits for a stream. It does not know events:
the one on which the stopwatch sleeps is that of the call before, and meant.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from bench.bell import Bell, run_until
from bench.ours import Gathered, order_of, resources
from bench.pictures import random_control_net, random_lora
from bench.stock import Asked
from engine_worker.engine.networks.components import Components
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.resources import EngineResources
from kernel.protocol.enums import Scheduler
from kernel.protocol.schedulers import SAMPLERS
from tests.gpu.gpu_jobs import job
from tests.gpu.rich_jobs import NET, rich_jobs

pytestmark = pytest.mark.torch


@contextmanager
def waits_are_errors() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def step_to_the_end(work: EngineResources, jobs: list[Asked]) -> Gathered:
    """Raises: RuntimeError, if a job failed, as it does where one of its steps waits."""
    gathered = Gathered()
    bell = Bell()
    engine_core = EngineCore(work, gathered.finish, 4, gathered.emit, bell.ring)
    for number, wanted in enumerate(jobs):
        engine_core.admit(order_of(f"job-{number}", wanted), wanted.inputs)
    run_until(lambda: not engine_core.is_preparing, engine_core.step, bell)
    with waits_are_errors():
        while engine_core.step():
            pass
    engine_core.close()
    return gathered


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_no_scheduler_waits_for_the_gpu(exact: Components, scheduler: Scheduler) -> None:
    jobs = [job(seed, scheduler=scheduler, steps=4) for seed in (1, 2)]
    assert len(step_to_the_end(resources(exact, {}), jobs).latents) == 2


def test_prompts_of_different_length_wait_for_nothing(exact: Components) -> None:
    long = job(2, prompt="a very long road " * 30)
    assert len(step_to_the_end(resources(exact, {}), [job(1), long]).latents) == 2


def test_loras_masks_and_control_nets_wait_for_nothing(exact: Components, tmp_path: Path) -> None:
    lora = random_lora(exact, tmp_path / "lora.safetensors", seed=2)
    net = random_control_net(exact, seed=1).to(exact.device)
    work = resources(exact, {NET: net})
    gathered = step_to_the_end(work, rich_jobs(lora))
    # Other tests work with the same networks.
    work.adapters.lora_manager.clear()
    assert len(gathered.latents) == 4
