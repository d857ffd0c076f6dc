"""Whether pictures made on this GPU are right; without that no speed counts."""

import sys
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from bench.bell import Bell
from bench.gpu_engine import GPU, SCHEDULERS
from bench.gpu_stock import PlainPipeline
from bench.memory_passes import source_of
from bench.ours import Gathered, make_alone, make_together, order_of, resources
from bench.stock import Asked
from engine_worker.embedded.random_checkpoint import write_random_checkpoint
from engine_worker.engine.loading.load_checkpoint import load_components
from engine_worker.engine.networks.components import Components
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.runtime.devices import settle_on
from kernel.protocol.enums import ModelBase, Scheduler
from kernel.protocol.specs import JobSpec

SINGLE_BOUND: Final = 1e-3
"""Of small checkpoints in single precision; what the order of additions changes over some steps."""
HALF_BOUND: Final = 0.05
"""Of large ones in half precision: the plain pipeline rounds its latents at every step, ours does not."""
GATE_STEPS: Final = 4


def check_small(folder: Path) -> dict[str, float]:
    """Miniatures: as on the CPU, in company as alone, and no step waits.

    Raises: SystemExit, if something is not right.
    """
    settle_on(GPU, torch.float32)
    off = {"small: off from the CPU": 0.0, "small: off in company": 0.0}
    for base in ModelBase:
        path = folder / f"small-{base}.safetensors"
        write_random_checkpoint(path, base=base, seed=7)
        on_cpu, on_gpu = (
            load_components(source_of(path), device, torch.float32) for device in (torch.device("cpu"), GPU)
        )
        jobs = [Asked(_spec(number, one, 64)) for number, one in enumerate(SCHEDULERS)]
        together = make_together(resources(on_gpu, {}), jobs, slots=4)
        for job, found in zip(jobs, together, strict=True):
            alone = make_alone(resources(on_gpu, {}), job)
            expected = make_alone(resources(on_cpu, {}), job)
            _note(off, "small: off from the CPU", distance(alone, expected))
            _note(off, "small: off in company", distance(found, alone))
        check_no_waits(on_gpu, jobs)
    if max(off.values()) > SINGLE_BOUND:
        sys.exit(f"the pictures of this GPU are not right: {off}")
    return off


def check_no_waits(parts: Components, jobs: list[Asked]) -> None:
    """Raises: RuntimeError, if a step waits for the GPU."""
    gathered = Gathered()
    engine_core = EngineCore(resources(parts, {}), gathered.finish, 4, gathered.emit, Bell().ring)
    for number, job in enumerate(jobs):
        engine_core.admit(order_of(f"job-{number}", job))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        while engine_core.step():
            pass
    finally:
        torch.cuda.set_sync_debug_mode("default")


def check_large(path: Path, size_px: int, plain: PlainPipeline) -> float:
    """The share by which our latents are off from the plain pipeline's, in half precision.

    Raises: SystemExit, if they are too far off.
    """
    settle_on(GPU, torch.float16)
    parts = load_components(source_of(path), GPU, torch.float16)
    spec = _spec(3, Scheduler.DPMPP_2M_KARRAS, size_px)
    ours = make_alone(resources(parts, {}), Asked(spec))
    theirs = plain.latents(spec.prompt, spec.seed, spec.steps, spec.guidance_scale)
    found = distance(ours, theirs)
    if not found <= HALF_BOUND:
        sys.exit(f"{path.name}: ours are off from the plain pipeline's latents by {found:.3f} of them")
    return found


def distance(one: Tensor, other: Tensor) -> float:
    """How far they are apart, as a share of the second."""
    other = other.to(one.device).float()
    return float((one.float() - other).norm() / other.norm())


def _spec(seed: int, scheduler: Scheduler, size_px: int) -> JobSpec:
    return JobSpec(
        prompt="a lighthouse at dusk",
        negative_prompt="blurry",
        seed=seed,
        count=1,
        steps=GATE_STEPS,
        guidance_scale=5.0,
        width_px=size_px,
        height_px=size_px,
        scheduler=scheduler,
    )


def _note(off: dict[str, float], name: str, value: float) -> None:
    off[name] = max(off[name], value)
