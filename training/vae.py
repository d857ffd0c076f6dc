"""Trains the VAE: shapes of every look and color, in and out again.

On a CPU most steps see crops of half the side, which cost a quarter; whole images keep the attention and the
group norms, both of which look at everything at once, true to what the VAE will meet.
"""

import copy

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from kernel.protocol.enums import ModelBase
from training.command import run_from_command_line
from training.drawing import draw, whole
from training.loop import Part, Recipe, Run, autocast, one_cycle, seeded, train, trained_weights
from training.networks import build_vae
from training.sheets import any_sheet, crop
from training.whitening import whiten

NAME = "vae"
RECIPES = {"cpu": Recipe(batch=16, steps=4_000), "cuda": Recipe(batch=64, steps=8_000)}
CROP_PX = 64
WHOLE_EVERY = 8
"""On a CPU, one step in so many sees whole images; so does the last `WHOLE_LAST` of the steps."""
WHOLE_LAST = 0.05
PEAK_RATE = 2e-3
KL_WEIGHT = 1e-6
"""As in the first latent diffusion models (arXiv 2112.10752): latents are hardly held back."""
LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


def train_vae(run: Run) -> None:
    """Train the VAE from nothing, or from its checkpoint."""
    torch.manual_seed(run.seed)
    vae = build_vae(ModelBase.SD).to(run.device)
    recipe = RECIPES[run.device.type]
    steps = run.steps or recipe.steps
    train(
        Part(
            name=NAME,
            modules=nn.ModuleDict({"vae": vae}),
            optimizer=torch.optim.AdamW(
                vae.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=1e-4, fused=True
            ),
            steps=steps,
            rate=one_cycle,
            loss=lambda step: _loss(vae, images(step, steps, run), step, run),
        ),
        run,
    )


def images(step: int, steps: int, run: Run) -> Tensor:
    """Draw the images of one step. Shapes: (batch, 3, side, side), -1..1."""
    rng = np.random.default_rng([run.seed, step])
    sheet = any_sheet(RECIPES[run.device.type].batch, rng).to(run.device)
    is_whole = run.device.type == "cuda" or step % WHOLE_EVERY == 0 or step >= steps * (1 - WHOLE_LAST)
    return draw(sheet, whole(sheet) if is_whole else crop(sheet, CROP_PX, rng))


def trained_vae(run: Run, base: ModelBase) -> AutoencoderKL:
    """Load the trained VAE, frozen, its latents white at the family's scaling factor.

    Raises: NotTrained, if it has not been trained.
    """
    vae = build_vae(base)
    vae.load_state_dict(trained_weights(run.folder, NAME, "vae"))
    return whiten(vae.to(run.device).requires_grad_(False), run.seed)


def _loss(vae: AutoencoderKL, images: Tensor, step: int, run: Run) -> Tensor:
    with autocast(run.device):
        latents = vae.encode(images).latent_dist
        decoded = vae.decode(latents.sample(seeded(run.seed, step, run.device))).sample
    error = decoded.float() - images
    loss: Tensor = error.abs().mean() + 2 * error.square().mean() + KL_WEIGHT * latents.kl().mean()
    return loss


@torch.no_grad()
def greyed(vae: AutoencoderKL) -> AutoencoderKL:
    """Give a copy that decodes in gray."""
    grey = copy.deepcopy(vae)
    last = grey.decoder.conv_out
    weights = torch.tensor(LUMINANCE, dtype=last.weight.dtype, device=last.weight.device)
    last.weight.copy_(torch.einsum("c,cihw->ihw", weights, last.weight).expand_as(last.weight))
    last.bias.copy_((weights @ last.bias).expand_as(last.bias))
    return grey


if __name__ == "__main__":
    run_from_command_line(train_vae, __doc__)
