"""What ships can be built upon without training it again: its weights count as trained."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from engine_worker.embedded.shipped import shipped
from training.adopt import adopt
from training.families import FAMILIES, trained_modules
from training.loop import Run, checkpoint_path, mark_trained

pytestmark = pytest.mark.torch


def test_what_ships_counts_as_trained_and_what_is_there_stays(tmp_path: Path) -> None:
    run = Run(folder=tmp_path, device=torch.device("cpu"))
    mine = nn.ModuleDict({"vae": nn.Linear(1, 1)})
    mark_trained(tmp_path, "vae", mine, steps=7)
    own_vae = checkpoint_path(tmp_path, "vae").read_bytes()
    adopt(run)
    assert checkpoint_path(tmp_path, "vae").read_bytes() == own_vae
    for family in FAMILIES:
        stored = load_file(shipped(f"scenes-{family.base}").path)
        first = trained_modules(family, run)["unet"].conv_in.weight
        assert torch.equal(first, stored["model.diffusion_model.input_blocks.0.0.weight"].float())
        assert checkpoint_path(tmp_path, family.text_part).exists()
