"""Trains the SD family's UNet and text encoder, behind the trained VAE and the text encoder's lesson."""

import torch
from torch import nn

from training.command import run_from_command_line
from training.conditioning import condition_sd
from training.gallery import open_gallery
from training.looks import Look
from training.loop import Run, trained_weights
from training.networks import build_sd_text_encoder, build_sd_unet
from training.text_encoder import NAME_SD as TEXT_NAME
from training.unet import RECIPES, train_unet
from training.vae import SD_SCALE, trained_vae

NAME = "unet-sd"


def train_sd(run: Run) -> None:
    """Train the family.

    Raises: NotTrained, if the VAE or the text encoder has not been trained.
    """
    torch.manual_seed(run.seed)
    modules = nn.ModuleDict({"unet": build_sd_unet(), "text": build_sd_text_encoder()})
    modules["text"].load_state_dict(trained_weights(run.folder, TEXT_NAME, "text"))
    gallery = open_gallery(trained_vae(run, SD_SCALE), Look.PLAIN, RECIPES[run.device.type].pictures, run)
    train_unet(NAME, modules, condition_sd, gallery, run)


if __name__ == "__main__":
    run_from_command_line(train_sd, __doc__)
