"""Trains a UNet and, with it, its text encoders: the part of the work that takes hours on a CPU."""

import copy
import re
from functools import partial

import torch
from torch import Tensor, nn

from kernel.protocol.enums import ModelBase
from training.batches import Feed
from training.command import run_families_from_command_line
from training.denoising import GalleryLoss
from training.families import SD, SDXL, Family, new_modules, tell_noise
from training.gallery import IMAGES, open_gallery
from training.looks import Look
from training.loop import Part, Recipe, Run, train, trained_weights, warm_then_fall
from training.prompts import emphatic_writer
from training.vae import trained_vae

PEAK_RATE = 1e-3
"""2e-3 collapsed after 700 steps."""
TEXT_RATE = 3e-4
DECAY = 0.998

ON_GPU = Recipe(batch=256, steps=8_000, images=IMAGES["cuda"])
RECIPES = {
    ModelBase.SD: {"cpu": Recipe(batch=32, steps=13_000, images=IMAGES["cpu"]), "cuda": ON_GPU},
    # It starts from SD's and has only its words to learn.
    ModelBase.SDXL: {"cpu": Recipe(batch=32, steps=6_000, images=IMAGES["cpu"]), "cuda": ON_GPU},
}
UP_BLOCK = re.compile(r"up_blocks\.(\d+)\.")


def train_family(family: Family, run: Run) -> None:
    """Train the family's UNet and text encoders.

    Raises: NotTrained, if the VAE or the text encoders have not been trained.
    """
    torch.manual_seed(run.seed)
    modules = new_modules(family)
    for name in family.encoders:
        modules[name].load_state_dict(trained_weights(run.folder, family.text_part, name))
    if family is SDXL:
        begin_from_sd(modules["unet"], run)
    recipe = RECIPES[family.base][run.device.type]
    gallery = open_gallery(trained_vae(run, family.base), Look.PLAIN, recipe.images, run)
    steps = run.steps or recipe.steps
    writer = emphatic_writer(gallery.scenes, recipe.batch, run.seed)
    feed = Feed(writer, steps, run.loaders)
    modules.to(run.device)
    train(
        Part(
            name=family.unet_part,
            modules=modules,
            optimizer=_optimizer(modules),
            steps=steps,
            rate=warm_then_fall,
            loss=GalleryLoss(gallery, feed, partial(tell_noise, family, modules), run),
            averages=copy.deepcopy(modules).requires_grad_(False),
            decay=DECAY,
        ),
        run,
    )


def begin_from_sd(unet: nn.Module, run: Run) -> None:
    """Start SDXL's UNet from SD's, as far as that one has come.

    Raises: NotTrained, if SD's training has not begun.
    """
    transplant(unet, trained_weights(run.folder, SD.unet_part, "unet", unfinished=True), levels_above=1)


def _optimizer(modules: nn.ModuleDict) -> torch.optim.Optimizer:
    """Train the text encoders slower, for they come trained; decay would wear off their unused words."""
    text = [weight for name, weight in modules.named_parameters() if not name.startswith("unet.")]
    return torch.optim.AdamW(
        [
            {"params": modules["unet"].parameters(), "lr": PEAK_RATE, "weight_decay": 1e-2},
            {"params": text, "lr": TEXT_RATE, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.99),
        fused=True,
    )


@torch.no_grad()
def transplant(unet: nn.Module, giver: dict[str, Tensor], levels_above: int) -> int:
    """Copy every weight that the giver has in the same place and size.

    Upward blocks are counted from the deepest one; so the giver's stand `levels_above` further up where it
    has so many levels more. Returns: how many numbers were copied.
    """
    copied = 0
    for name, weight in unet.named_parameters():
        given = giver.get(_place_in_giver(name, levels_above))
        if given is not None and given.numel() == weight.numel():
            weight.copy_(given.reshape(weight.shape))  # a linear layer and a 1 x 1 convolution are one thing
            copied += weight.numel()
    return copied


def _place_in_giver(name: str, levels_above: int) -> str:
    return UP_BLOCK.sub(lambda found: f"up_blocks.{int(found[1]) + levels_above}.", name)


if __name__ == "__main__":
    run_families_from_command_line(train_family, __doc__)
