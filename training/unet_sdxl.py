"""Trains the SDXL family's UNet and both text encoders, behind the trained VAE and the text encoders' lesson."""

import torch
from torch import nn

from training.command import run_from_command_line
from training.conditioning import condition_sdxl
from training.gallery import open_gallery
from training.looks import Look
from training.loop import Run, trained_weights
from training.networks import build_sdxl_text_encoders, build_sdxl_unet
from training.text_encoder import NAME_SDXL as TEXT_NAME
from training.unet import RECIPES, train_unet
from training.vae import SDXL_SCALE, trained_vae

NAME = "unet-sdxl"


def train_sdxl(run: Run) -> None:
    """Train the family.

    Raises: NotTrained, if the VAE or the text encoders have not been trained.
    """
    torch.manual_seed(run.seed)
    text, text_2 = build_sdxl_text_encoders()
    modules = nn.ModuleDict({"unet": build_sdxl_unet(), "text": text, "text_2": text_2})
    for name in ("text", "text_2"):
        modules[name].load_state_dict(trained_weights(run.folder, TEXT_NAME, name))
    gallery = open_gallery(trained_vae(run, SDXL_SCALE), Look.PLAIN, RECIPES[run.device.type].pictures, run)
    train_unet(NAME, modules, condition_sdxl, gallery, run)


if __name__ == "__main__":
    run_from_command_line(train_sdxl, __doc__)
