"""What the tests on a GPU share: small jobs, and the parts that make them there."""

from pathlib import Path

import torch
from torch import Tensor

from bench.stock import Asked
from engine_worker.engine.loading.load_checkpoint import load_components
from engine_worker.engine.networks.components import Components
from engine_worker.engine.runtime.devices import choose_device, settle_on
from kernel.protocol.enums import Compilation, ImageFit, ModelType, Scheduler
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import EngineLoad, JobSpec

SIZE_PX = 64


def source_of(path: Path) -> ModelSource:
    return ModelSource(
        model_id=ModelId(path.stem), name=path.stem, uri=path.as_uri(), model_type=ModelType.CHECKPOINT
    )


def parts_on(path: Path, device_name: str, dtype: torch.dtype) -> Components:
    """The checkpoint as an engine on that device would hold it."""
    device = choose_device(device_name)
    settle_on(device, dtype)
    return load_components(source_of(path), device, dtype)


def load_order(path: Path, compilation: Compilation, slots: int) -> EngineLoad:
    return EngineLoad(
        engine_id=EngineId("engine-1"),
        checkpoint=source_of(path),
        device="cuda:0",
        max_batch=slots,
        compilation=compilation,
        width_px=SIZE_PX,
        height_px=SIZE_PX,
        guidance_scale=5.0,
    )


def job(
    seed: int = 1,
    *,
    prompt: str = "a red ball",
    steps: int = 3,
    guidance_scale: float = 5.0,
    width_px: int = SIZE_PX,
    height_px: int = SIZE_PX,
    scheduler: Scheduler = Scheduler.EULER,
    previews: bool = False,
) -> Asked:
    """A small job of words alone."""
    return Asked(
        JobSpec(
            prompt=prompt,
            negative_prompt="",
            image_fit=ImageFit.CROP,
            strength=0.75,
            seed=seed,
            count=1,
            steps=steps,
            guidance_scale=guidance_scale,
            width_px=width_px,
            height_px=height_px,
            scheduler=scheduler,
            previews=previews,
        )
    )


def distance(found: Tensor, expected: Tensor) -> float:
    """How far it is off, as a share of the whole."""
    expected = expected.to(found.device)
    return float((found - expected).norm() / expected.norm())
