"""Writes the trained adapters as users have them: LoRAs, words, second VAEs, ControlNets, the remover."""

import tempfile
from pathlib import Path

from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file, save_file

from engine_worker.engine.loading.saving import save_single_file
from engine_worker.formats.ldm_keys import VAE_PREFIX
from engine_worker.formats.ldm_layout import single_file_layout
from kernel.protocol.enums import ModelBase
from training.controlnet import save_controlnet
from training.embedding import save_embedding
from training.export import METADATA, export_folder, mark_base, trained_networks
from training.families import Family
from training.looks import Look
from training.loop import Run
from training.lora import save_diffusers, save_kohya, trained_lora
from training.maps import Control
from training.networks import architecture
from training.remover import save_remover
from training.vae import greyed


def lora_file(run: Run, family: Family, look: Look) -> Path:
    """Say where a LoRA is written: stripes in kohya's format, frames in that of diffusers."""
    kind = "kohya" if look is Look.STRIPED else "diffusers"
    return export_folder(run) / f"lora-{look.value}-{family.base.value}-{kind}.safetensors"


def embedding_file(run: Run, family: Family) -> Path:
    """Say where a family's new word is written."""
    return export_folder(run) / f"embedding-dusk-{family.base.value}.safetensors"


def grey_vae_file(run: Run, family: Family) -> Path:
    """Say where a family's gray VAE is written."""
    return export_folder(run) / f"vae-grey-{family.base.value}.safetensors"


def controlnet_folder(run: Run, control: Control) -> Path:
    """Say where a ControlNet is written."""
    return export_folder(run) / f"controlnet-{control.value}-sd"


def remover_file(run: Run) -> Path:
    """Say where the remover is written."""
    return export_folder(run) / "remover.onnx"


def export_lora(run: Run, family: Family, look: Look) -> None:
    """Write a LoRA."""
    lora, file = trained_lora(family, look, run), lora_file(run, family, look)
    if look is Look.STRIPED:
        save_kohya(file, family, lora)
    else:
        save_diffusers(file, lora)
        mark_base(file, family.base, "lora")


def export_grey_vae(run: Run, family: Family) -> None:
    """Write a family's gray VAE: a checkpoint's VAE, without the checkpoint's prefix."""
    unet, vae, *encoders = trained_networks(run, family, unfinished=True)
    networks = [unet, greyed(vae), *encoders]
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.safetensors"
        save_single_file(whole, single_file_layout(architecture(family.base)), networks, METADATA)
        tensors = load_file(whole)
    own = {
        key.removeprefix(VAE_PREFIX): tensor for key, tensor in tensors.items() if key.startswith(VAE_PREFIX)
    }
    save_file(own, grey_vae_file(run, family), metadata={"format": "pt"})
    mark_base(grey_vae_file(run, family), family.base, "vae")


def export_embedding(run: Run, family: Family) -> None:
    """Write a family's new word."""
    save_embedding(embedding_file(run, family), family, run)
    mark_base(embedding_file(run, family), family.base, "textual-inversion")


def export_controlnet(run: Run, control: Control) -> None:
    """Write a ControlNet."""
    save_controlnet(controlnet_folder(run, control), control, run)
    mark_base(controlnet_folder(run, control) / SAFETENSORS_WEIGHTS_NAME, ModelBase.SD, "controlnet")


def export_remover(run: Run) -> None:
    """Write the remover."""
    save_remover(remover_file(run), run)
