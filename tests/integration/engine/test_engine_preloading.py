"""What an engine names beside its checkpoint is loaded with it."""

from pathlib import Path

import msgspec
import pytest
import torch
from lora_files import lora_source, random_factors, write_diffusers
from safetensors.torch import save_file
from small_engine import Outcomes, load_order, model_source

from bench.bell import Bell
from engine_worker.engine.diffusers_engine import build
from engine_worker.engine.networks.components import Components
from engine_worker.formats.checkpoint_layout import Network
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import ModelSource

pytestmark = pytest.mark.torch


def memory_with(checkpoint: Path, *models: ModelSource) -> int:
    engine = build(Outcomes().emit, Bell().ring)
    loaded = engine.load(msgspec.structs.replace(load_order(checkpoint), models=models))
    engine.close()
    return loaded.memory_bytes


@pytest.mark.sampled(1)
def test_loras_and_vaes_that_an_engine_names_take_their_memory_from_the_start(
    base: ModelBase, parts: Components, checkpoints: Path, tmp_path: Path
) -> None:
    factors = random_factors(parts, 1, (Network.UNET,))
    lora = lora_source(write_diffusers(tmp_path / "lora.safetensors", factors))
    vae = model_source(checkpoints / str(base) / "vae", ModelType.VAE)
    embedding = model_source(tmp_path / "word.safetensors", ModelType.EMBEDDING)
    checkpoint = checkpoints / f"{base}.safetensors"
    with_both = memory_with(checkpoint, lora, vae, embedding)
    lora_bytes = sum(down.nbytes + up.nbytes for down, up in factors.values())
    vae_bytes = sum(held.nbytes for held in parts.networks[Network.VAE].parameters())
    assert with_both - memory_with(checkpoint) == lora_bytes + vae_bytes


def test_an_engine_whose_lora_cannot_be_read_is_not_loaded(checkpoints: Path, tmp_path: Path) -> None:
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, tmp_path / "lora.safetensors")
    with pytest.raises(ModelUnreadable, match="another model family"):
        memory_with(checkpoints / "sd.safetensors", lora_source(tmp_path / "lora.safetensors"))
