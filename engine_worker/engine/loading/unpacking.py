"""Converts a single-file checkpoint to a diffusers folder."""

from pathlib import Path

import torch

from engine_worker.engine.loading.build_networks import build_networks
from engine_worker.engine.loading.load_checkpoint import read_layout
from engine_worker.engine.loading.saving import save_folder
from engine_worker.engine.loading.single_file import is_leftover


def unpack(checkpoint: Path, folder: Path) -> None:
    """Write the folder, in half precision. Raises: ModelUnreadable, if it is not a whole checkpoint."""
    layout = read_layout(checkpoint)
    networks = build_networks(layout.networks, torch.device("cpu"), torch.float16, is_leftover)
    save_folder(folder, layout, networks)
