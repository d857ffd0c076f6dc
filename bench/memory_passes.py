"""`python -m bench.memory_passes CASE FOLDER`: the peak of single passes, predicted and measured.

Measured is what torch's allocator for the CPU has out at most during the pass, beyond what it had before: the
profiler records each block that is taken and given back, those of kernels' own buffers among them.
"""

import json
import sys
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from bench.memory_cases import Case, demand_of_file, ensure_file
from engine_worker.engine.loading.load_checkpoint import load_components
from engine_worker.engine.networks.components import Components
from engine_worker.engine.networks.vae import decode, decode_latents, encode
from kernel.core.memory_model import activations
from kernel.core.memory_model.memory_demand import (
    MARGIN,
    PIXELS_PER_LATENT,
    ROWS_PER_IMAGE,
    TILE_LATENTS,
    TILED_BYTES_PER_PIXEL,
)
from kernel.protocol.enums import MemoryPlan, ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource

SINGLE_BYTES: Final = 4
MEMORY_EVENT: Final = "[memory]"
CPU: Final = torch.device("cpu")


def main() -> None:
    """Measure the case of the command line."""
    words, folder = sys.argv[1:]
    torch.set_num_threads(1)
    case = Case.of(words)
    path = ensure_file(case, Path(folder))
    plans = (MemoryPlan.FAST, MemoryPlan.TILED)
    parts, tiled = (load_components(source_of(path), CPU, torch.float32, plan) for plan in plans)
    predicted = _predict(case, path)
    side = case.size_px // PIXELS_PER_LATENT
    latents = torch.randn(1, 4, side, side)
    pixels = torch.randn(1, 3, case.size_px, case.size_px).clamp(-1, 1)
    passes: dict[str, Callable[[], object]] = {
        "unet": _unet_call(parts, case, side),
        "decode": lambda: decode(parts.vae, latents),
        "encode": lambda: encode(parts.vae, pixels, CPU),
        "tiled": lambda: decode_latents(tiled.vae, latents),
    }
    with torch.inference_mode():
        found = {name: (predicted[name], peak_bytes(run)) for name, run in passes.items()}
    print(json.dumps(found))


def source_of(path: Path) -> ModelSource:
    """The checkpoint as the Manager would name it."""
    return ModelSource(model_id=ModelId("m"), name="m", uri=path.as_uri(), model_type=ModelType.CHECKPOINT)


def peak_bytes(run: Callable[[], object]) -> int:
    """The most that a pass holds at once; it has run before, so that nothing is made for the first time."""
    run()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == MEMORY_EVENT)
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def _predict(case: Case, path: Path) -> dict[str, int]:
    profile_of_case = demand_of_file(case, path).profile
    unet, vae, encoders = profile_of_case.unet, profile_of_case.vae, profile_of_case.text_encoders
    assert unet is not None
    assert vae is not None
    side, tokens = case.size_px // PIXELS_PER_LATENT, encoders[0].tokens
    # Half of a picture at most, so that tiles save something (engine_worker/engine/networks/vae.py).
    tile = min(TILE_LATENTS, side // 2)
    rows = ROWS_PER_IMAGE * case.slots
    elements = {
        "unet": activations.unet_elements(unet, side, side, rows, tokens),
        "decode": activations.vae_elements(vae, side, side),
        "encode": activations.vae_encoding_elements(vae, side, side),
        "tiled": activations.vae_elements(vae, tile, tile),
    }
    needs = {name: count * SINGLE_BYTES for name, count in elements.items()}
    needs["tiled"] += TILED_BYTES_PER_PIXEL * case.size_px**2
    return {name: ceil(MARGIN["cpu"] * need) for name, need in needs.items()}


def _unet_call(parts: Components, case: Case, side: int) -> Callable[[], tuple[Tensor]]:
    rows, shape = ROWS_PER_IMAGE * case.slots, parts.unet_shape
    added: dict[str, Tensor] | None = None
    if shape.added_width is not None:
        pooled_width = case.architecture().text_encoders[-1].projection_width or 0
        added = {"text_embeds": torch.randn(rows, pooled_width), "time_ids": torch.zeros(rows, 6)}
    sample, timestep = torch.randn(rows, shape.in_channels, side, side), torch.full((rows,), 500.0)
    prompt = torch.randn(rows, 77, shape.cross_attention_width)
    return lambda: parts.denoiser(
        sample,
        timestep,
        encoder_hidden_states=prompt,
        encoder_attention_mask=None,
        added_cond_kwargs=added,
        down_block_additional_residuals=None,
        mid_block_additional_residual=None,
        return_dict=False,
    )


if __name__ == "__main__":
    main()
