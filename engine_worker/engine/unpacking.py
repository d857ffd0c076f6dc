"""Makes a diffusers folder of a checkpoint in one file."""

from pathlib import Path

import torch

from engine_worker.engine.building import build_networks
from engine_worker.engine.loading import read_blueprint
from engine_worker.engine.saving import save_folder
from engine_worker.engine.single_file import is_leftover


def unpack(checkpoint: Path, folder: Path) -> None:
    """Write the folder, in half precision. Raises: ModelUnreadable, if it is not a whole checkpoint."""
    blueprint = read_blueprint(checkpoint)
    networks = build_networks(blueprint.networks, torch.device("cpu"), torch.float16, is_leftover)
    save_folder(folder, blueprint, networks)
