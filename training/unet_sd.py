"""Trains the SD family's UNet and text encoder, behind the trained VAE and the text encoder's lesson."""

from training.command import run_from_command_line
from training.families import SD
from training.loop import Run
from training.unet import train_family


def train_sd(run: Run) -> None:
    """Train the family.

    Raises: NotTrained, if the VAE or the text encoder has not been trained.
    """
    train_family(SD, run)


if __name__ == "__main__":
    run_from_command_line(train_sd, __doc__)
