"""Trains the SDXL family's UNet and text encoders, behind the trained VAE and the encoders' lesson."""

from training.command import run_from_command_line
from training.families import SDXL
from training.loop import Run
from training.unet import train_family


def train_sdxl(run: Run) -> None:
    """Train the family.

    Raises: NotTrained, if the VAE or the text encoders have not been trained.
    """
    train_family(SDXL, run)


if __name__ == "__main__":
    run_from_command_line(train_sdxl, __doc__)
