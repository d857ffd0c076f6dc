"""What inspection keeps of a checkpoint for its memory need, against the networks that are loaded."""

from pathlib import Path

import pytest
import torch

from engine_worker.embedded.random_checkpoint import small_architecture
from engine_worker.engine.loading.networks import size_bytes
from engine_worker.formats.diffusers_folder import describe_folder
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.single_file import describe_file
from kernel.core.memory_model.memory_demand import MemoryDemand, weights_bytes
from kernel.protocol.enums import ModelBase
from kernel.protocol.memory import MemoryProfile
from tests.integration.engine.loaded import load

BASES = [ModelBase.SD, ModelBase.SDXL]


def profile_of(path: Path) -> MemoryProfile:
    finding = describe_folder(ModelFolder(path, (Path("/"),)), None) if path.is_dir() else describe_file(path)
    assert finding.memory is not None
    return finding.memory


@pytest.mark.parametrize("base", BASES)
def test_a_file_and_a_folder_of_one_checkpoint_have_the_same_layouts(
    checkpoints: Path, base: ModelBase
) -> None:
    file, folder = profile_of(checkpoints / f"{base}.safetensors"), profile_of(checkpoints / f"{base}")
    assert (file.unet, file.vae, file.text_encoders) == (folder.unet, folder.vae, folder.text_encoders)
    assert file.unet is not None
    assert file.unet.channels == small_architecture(base).unet.channels


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("form", ["{}.safetensors", "{}"])
def test_the_weights_are_those_that_are_loaded(checkpoints: Path, base: ModelBase, form: str) -> None:
    path = checkpoints / form.format(base)
    parts = load(path, torch.float32)
    loaded_bytes = sum(size_bytes(network) for network in parts.networks.values())
    demand = MemoryDemand(
        profile=profile_of(path),
        extras=(),
        control_nets=0,
        dtype=None,
        width_px=64,
        height_px=64,
        max_batch=None,
    )
    predicted_bytes = sum(weights_bytes(demand, "cpu").values())
    assert predicted_bytes == pytest.approx(loaded_bytes, rel=0.001)
