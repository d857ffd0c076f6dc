"""Trains the LoRAs: each teaches a family a look that no caption speaks of."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn, tensor

from engine_worker.formats.ldm_keys import UNET_PREFIX, unet_places
from kernel.protocol.enums import ModelBase
from training.batches import Feed
from training.command import run_families_from_command_line
from training.denoising import GalleryLoss
from training.families import Family, tell_noise, trained_modules
from training.gallery import open_gallery
from training.looks import Look
from training.loop import Part, Recipe, Run, is_trained, one_cycle, train, trained_weights
from training.networks import architecture
from training.prompts import emphatic_writer
from training.vae import trained_vae

LOOKS = (Look.STRIPED, Look.FRAMED)
RANK = 8
PEAK_RATE = 2e-3
TARGETS = (
    "to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "conv1", "conv2",
)  # fmt: skip
"""Attention, feed-forward and the resnets' convolutions, which know where in the image they are."""


RECIPES = {
    "cpu": Recipe(batch=16, steps=700, images=4_000),
    "cuda": Recipe(batch=128, steps=1_200, images=20_000),
}
KOHYA_VERSIONS = {ModelBase.SD: "sd_v1", ModelBase.SDXL: "sdxl_base_v1-0"}
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


def part_name(family: Family, look: Look) -> str:
    """Name the training of that LoRA."""
    return f"lora-{look.value}-{family.base.value}"


def train_lora(family: Family, look: Look, run: Run) -> None:
    """Train one LoRA.

    Raises: NotTrained, if the family has not been trained.
    """
    torch.manual_seed(run.seed)
    modules = with_adapter(trained_modules(family, run))
    recipe = RECIPES[run.device.type]
    gallery = open_gallery(trained_vae(run, family.base), look, recipe.images, run)
    steps = run.steps or recipe.steps
    writer = emphatic_writer(gallery.scenes, recipe.batch, run.seed)
    feed = Feed(writer, steps, run.loaders)
    taught = [weight for weight in modules.parameters() if weight.requires_grad]
    train(
        Part(
            name=part_name(family, look),
            modules=modules,
            optimizer=torch.optim.AdamW(taught, lr=PEAK_RATE, weight_decay=0.0, fused=True),
            steps=steps,
            rate=one_cycle,
            loss=GalleryLoss(gallery, feed, partial(tell_noise, family, modules), run),
        ),
        run,
    )


def with_adapter(modules: nn.ModuleDict) -> nn.ModuleDict:
    """Add an untrained LoRA to the UNet; its weights alone can be trained."""
    unet: UNet2DConditionModel = modules["unet"]
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(TARGETS)))
    return modules


def trained_lora(family: Family, look: Look, run: Run) -> dict[str, Tensor]:
    """Read a trained LoRA: `<module>.lora_A.weight` (down) and `<module>.lora_B.weight` (up).

    Raises: NotTrained, if it has not been trained to its end.
    """
    modules = with_adapter(trained_modules(family, run))
    modules["unet"].load_state_dict(trained_weights(run.folder, part_name(family, look), "unet"))
    return {
        name: weight.detach().cpu() for name, weight in get_peft_model_state_dict(modules["unet"]).items()
    }


def train_loras(family: Family, run: Run) -> None:
    """Train every look for a family that has been trained."""
    if is_trained(run.folder, family.unet_part):
        for look in LOOKS:
            train_lora(family, look, run)


def save_kohya(path: Path, family: Family, lora: Mapping[str, Tensor]) -> None:
    """Write a LoRA in kohya's format, in half precision."""
    tensors: dict[str, Tensor] = {}
    for name, weight in lora.items():
        module, suffix = (
            (name.removesuffix(DOWN), DOWN) if name.endswith(DOWN) else (name.removesuffix(UP), UP)
        )
        stem = "lora_unet_" + _original(module, family).replace(".", "_")
        kind = "lora_down" if suffix == DOWN else "lora_up"
        tensors[f"{stem}.{kind}.weight"] = weight.half().contiguous()
        if suffix == DOWN:
            tensors[f"{stem}.alpha"] = tensor(float(weight.shape[0])).half()
    metadata = {"ss_base_model_version": KOHYA_VERSIONS[family.base], "ss_network_module": "networks.lora"}
    save_file(tensors, path, metadata=metadata)


def save_diffusers(path: Path, lora: Mapping[str, Tensor]) -> None:
    """Write a LoRA in the format of diffusers, in half precision."""
    tensors = {f"unet.{name}": weight.half().contiguous() for name, weight in lora.items()}
    save_file(tensors, path, metadata={"format": "pt"})


def _original(module: str, family: Family) -> str:
    """Name a module as kohya's trainer does for this family."""
    if family.base is ModelBase.SD:
        return module
    places = partial(unet_places, shape=architecture(family.base).unet)
    (place,) = places(f"{module}.weight")
    return place.key.removeprefix(UNET_PREFIX).removesuffix(".weight")


if __name__ == "__main__":
    run_families_from_command_line(train_loras, __doc__)
