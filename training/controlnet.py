"""Trains the ControlNets of SD: the drawn shape follows a map of edges or of depth, with the family's own
weights frozen.

Most captions leave shape, place and size unsaid, so that only the map can tell them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from training.batches import Feed
from training.captions import EVERYTHING, Attribute, training_caption
from training.command import run_of, run_parser
from training.denoising import GalleryLoss
from training.drawing import Sheet
from training.families import SD, trained_modules
from training.gallery import IMAGES, open_gallery
from training.looks import Look
from training.loop import Part, Recipe, Run, one_cycle, train, trained_weights
from training.maps import Control, draw_map
from training.prompts import Prompts, PromptWriter
from training.scenes import Scene
from training.vae import trained_vae

RECIPES = {
    "cpu": Recipe(batch=16, steps=4_000, images=IMAGES["cpu"]),
    "cuda": Recipe(batch=128, steps=2_000, images=IMAGES["cuda"]),
}
PEAK_RATE = 1e-3
MAP_WIDTHS = (8, 16, 32, 64)
"""Channels on a map's way from 128 x 128 to 16 x 16; the usual 16 to 256 would cost more than all else."""
COLOURS_ALONE_SHARE = 0.7
"""Of the captions say nothing that the map shows."""
COLOURS = frozenset({Attribute.COLOUR, Attribute.BACKGROUND})


def part_name(control: Control) -> str:
    """Name the training of that ControlNet."""
    return f"controlnet-{control.value}"


def train_controlnet(control: Control, run: Run) -> None:
    """Train one ControlNet.

    Raises: NotTrained, if SD has not been trained.
    """
    torch.manual_seed(run.seed)
    frozen = trained_modules(SD, run)
    controlnet = new_controlnet(frozen["unet"]).to(run.device)
    modules = nn.ModuleDict({"controlnet": controlnet})
    recipe = RECIPES[run.device.type]
    gallery = open_gallery(trained_vae(run, SD.base), Look.PLAIN, recipe.images, run)
    steps = run.steps or recipe.steps
    feed = Feed(PromptWriter(gallery.scenes, recipe.batch, run.seed, caption_for_map), steps, run.loaders)
    tell = Led(control, controlnet, frozen, gallery.sheet.to(run.device))
    train(
        Part(
            name=part_name(control),
            modules=modules,
            optimizer=torch.optim.AdamW(controlnet.parameters(), lr=PEAK_RATE, weight_decay=1e-2, fused=True),
            steps=steps,
            rate=one_cycle,
            loss=GalleryLoss(gallery, feed, tell, run),
        ),
        run,
    )


def new_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """Build a ControlNet that starts as a copy of the UNet's way down, and changes nothing yet.

    Its outputs are zero, as everywhere; the map's way in is not. Were both, nothing would be learned from the
    map until the outputs have grown (the sudden convergence of L. Zhang et al., arXiv 2302.05543).
    """
    controlnet: ControlNetModel = ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=MAP_WIDTHS
    )
    controlnet.controlnet_cond_embedding.conv_out.reset_parameters()
    return controlnet.requires_grad_(True)


@dataclass(frozen=True, slots=True)
class Led:
    """SD's UNet, led by a ControlNet that sees the map of the image that is asked for."""

    control: Control
    controlnet: ControlNetModel
    frozen: nn.ModuleDict
    sheet: Sheet

    def __call__(self, prompts: Prompts, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Tell the noise."""
        words = SD.condition(self.frozen, prompts).words
        maps = draw_map(self.control, self.sheet.rows(prompts.images), int(timesteps.sum()))
        down, middle = self.controlnet(noisy, timesteps, words, controlnet_cond=maps, return_dict=False)
        noise: Tensor = self.frozen["unet"](
            noisy,
            timesteps,
            words,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        return noise


def caption_for_map(scene: Scene, rng: np.random.Generator) -> str:
    """Say the colors; seldom what the map shows, too."""
    sayable = COLOURS if rng.random() < COLOURS_ALONE_SHARE else EVERYTHING
    return training_caption(scene, rng, sayable).text


def save_controlnet(folder: Path, control: Control, run: Run) -> None:
    """Write a ControlNet as users have it: a folder of diffusers, in half precision.

    Raises: NotTrained, if it has not been trained to its end.
    """
    controlnet = new_controlnet(trained_modules(SD, run)["unet"])
    controlnet.load_state_dict(trained_weights(run.folder, part_name(control), "controlnet"))
    controlnet.half().save_pretrained(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the ControlNets that the command line names."""
    parser = run_parser(__doc__)
    parser.add_argument(
        "--control", choices=[control.value for control in Control], help="only this one (default: all)"
    )
    chosen = parser.parse_args(arguments)
    for control in [Control(chosen.control)] if chosen.control else Control:
        train_controlnet(control, run_of(chosen))


if __name__ == "__main__":
    main()
