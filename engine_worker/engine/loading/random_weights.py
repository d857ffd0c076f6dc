"""Checkpoints with random weights, for tests and benchmarks."""

from pathlib import Path

import torch
from torch import Tensor, nn

from engine_worker.engine.loading.networks import build_empty, fill
from engine_worker.engine.loading.saving import save_folder, save_single_file
from engine_worker.formats.architecture import Architecture
from engine_worker.formats.checkpoint_layout import CheckpointLayout
from engine_worker.formats.ldm_layout import single_file_layout

_CPU = torch.device("cpu")


def write_random_file(path: Path, architecture: Architecture, seed: int, device: torch.device = _CPU) -> None:
    """Write a checkpoint as one file in half precision, as most real ones are. The device draws its weights:
    a GPU takes seconds for a large one, a CPU a minute."""
    layout = single_file_layout(architecture)
    size = architecture.native_size_px
    metadata = {"modelspec.resolution": f"{size}x{size}"}
    save_single_file(path, layout, random_networks(layout, seed, torch.float16, device), metadata)


def write_random_folder(path: Path, architecture: Architecture, seed: int) -> None:
    """Write a checkpoint as a diffusers folder in half precision."""
    layout = single_file_layout(architecture)
    save_folder(path, layout, random_networks(layout, seed, torch.float16))


def random_networks(
    layout: CheckpointLayout, seed: int, dtype: torch.dtype, device: torch.device = _CPU
) -> list[nn.Module]:
    """All networks, in the order of `layout.networks`; the same seed gives the same weights on the same kind
    of device."""
    generator = torch.Generator(device).manual_seed(seed)
    networks = []
    for plan in layout.networks:
        empty = build_empty(plan)
        parameters = {
            name: _random(name, held.shape, generator).to(dtype) for name, held in empty.named_parameters()
        }
        networks.append(fill(empty, parameters, device))
    return networks


def _random(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Weights that keep the variance of activations, so that no layer dominates."""
    if name.endswith("bias"):
        return torch.zeros(shape, device=generator.device)
    if len(shape) == 1:
        return torch.ones(shape, device=generator.device)
    drawn = torch.randn(shape, generator=generator, device=generator.device)
    if "embedding.weight" in name:
        return drawn
    return drawn.div(shape[1:].numel() ** 0.5)
