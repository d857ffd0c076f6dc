"""Calls prepared on a GPU: CUDA graphs and compiled blocks make the pictures that are made without them."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.ours import make_together, resources
from bench.pictures import random_lora
from bench.stock import Asked
from engine_worker.engine.gpu.compile_unet import compile_unet
from engine_worker.engine.gpu.recorded_calls import RecordedCalls
from engine_worker.engine.networks.components import Components
from kernel.protocol.enums import Compilation, ModelBase, Scheduler
from tests.gpu.gpu_jobs import distance, job, load_order, parts_on
from tests.gpu.rich_jobs import rich_jobs

pytestmark = pytest.mark.torch

SLOTS = 3
# The same kernels on the same numbers; libraries may choose others where they may not take memory.
REPLAYED, COMPILED = 1e-3, 2e-2
MIXED = [
    job(1, scheduler=Scheduler.EULER_A),
    job(2, scheduler=Scheduler.DDIM, steps=5),
    job(3, scheduler=Scheduler.UNIPC),
    job(4, guidance_scale=1.0),
    job(5, width_px=72),
]


@pytest.fixture
def half(base: ModelBase, checkpoints: Path) -> Iterator[Components]:
    """Parts of its own, as most engines compute: preparing leaves its mark on them."""
    yield parts_on(checkpoints / f"{base}.safetensors", "cuda:0", torch.float16)
    torch.compiler.reset()
    torch.cuda.empty_cache()


def made(parts: Components, quick: Components, jobs: list[Asked]) -> list[Tensor]:
    work = replace(resources(parts, {}), parts=quick)
    latents = make_together(work, jobs, SLOTS)
    work.adapters.lora_manager.clear()
    return latents


def worst(found: list[Tensor], expected: list[Tensor]) -> float:
    return max(distance(*pair) for pair in zip(found, expected, strict=True))


def test_recorded_calls_make_the_same_pictures_whatever_else_is_made_between(
    half: Components, base: ModelBase, checkpoints: Path
) -> None:
    expected = made(half, half, MIXED)
    order = load_order(checkpoints / f"{base}.safetensors", Compilation.GRAPHS, SLOTS)
    quick = compile_unet(half, order, SLOTS)
    assert isinstance(quick.quick_denoiser, RecordedCalls)
    assert worst(made(half, quick, MIXED), expected) <= REPLAYED
    assert worst(made(half, quick, MIXED[:1]), expected[:1]) <= REPLAYED


def test_a_lora_has_its_effect_beside_recorded_calls(
    half: Components, base: ModelBase, checkpoints: Path, tmp_path: Path
) -> None:
    jobs = rich_jobs(random_lora(half, tmp_path / "lora.safetensors", seed=2))[:1]
    expected = made(half, half, jobs)
    order = load_order(checkpoints / f"{base}.safetensors", Compilation.GRAPHS, SLOTS)
    assert worst(made(half, compile_unet(half, order, SLOTS), jobs), expected) <= REPLAYED


@pytest.mark.skipif(shutil.which("cc") is None, reason="torch compiles with a C compiler, and there is none")
def test_compiled_blocks_make_nearly_the_same_pictures_and_loras_have_their_effect(
    half: Components, base: ModelBase, checkpoints: Path, tmp_path: Path
) -> None:
    jobs = [*MIXED, *rich_jobs(random_lora(half, tmp_path / "lora.safetensors", seed=2))[:1]]
    expected = made(half, half, jobs)
    order = load_order(checkpoints / f"{base}.safetensors", Compilation.REGIONAL, SLOTS)
    quick = compile_unet(half, order, SLOTS)
    assert quick.quick_denoiser is not None, "the log says why it was not compiled"
    assert worst(made(half, quick, jobs), expected) <= COMPILED
