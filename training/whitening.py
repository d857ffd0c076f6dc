"""Folds a scale into a trained VAE, so that its latents have mean 0, unit variance and no correlation.

A shared scale, as Stable Diffusion has it, leaves each channel its own mean; the noise schedule never quite
hides that
mean, and a small model learns to read it instead of the prompt. The VAE's outermost latent layers are 1 x 1
convolutions, so a whitening of the four channels disappears into their weights, and the pictures stay the
same.
"""

import copy

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from training.drawing import draw, whole
from training.scenes import training_scenes
from training.sheets import scene_sheet

PICTURES = 512
AT_ONCE = 32


@torch.no_grad()
def whiten(vae: AutoencoderKL, seed: int) -> AutoencoderKL:
    """Give a copy whose latents, times the scaling factor of its configuration, are white on average over
    scenes."""
    scaling_factor = float(vae.config.scaling_factor)
    mean, covariance = _moments(vae, seed)
    scale, basis = torch.linalg.eigh(covariance)
    forth = basis @ torch.diag(scale.rsqrt()) @ basis.T / scaling_factor
    back = torch.linalg.inv(forth)
    white = copy.deepcopy(vae)
    channels = len(mean)
    before, after = white.quant_conv, white.post_quant_conv
    before.weight[:channels] = torch.einsum("ij,jkhw->ikhw", forth, before.weight[:channels])
    before.bias[:channels] = forth @ (before.bias[:channels] - mean)
    before.bias[channels:] += 2 * forth.det().abs().log() / channels  # the logarithm of the variance
    after.bias += (after.weight[:, :, 0, 0] @ mean).reshape(-1)
    after.weight.copy_(torch.einsum("ijhw,jk->ikhw", after.weight, back))
    return white


def _moments(vae: AutoencoderKL, seed: int) -> tuple[Tensor, Tensor]:
    """Measure the latents' mean and covariance. Shapes: (4,), (4, 4)."""
    rng = np.random.default_rng([seed, PICTURES])
    known = training_scenes()
    sheet = scene_sheet([known[index] for index in rng.integers(len(known), size=PICTURES)], rng)
    images = torch.split(draw(sheet, whole(sheet)), AT_ONCE)
    latents = torch.cat([vae.encode(part.to(vae.device)).latent_dist.mode() for part in images])
    cells = latents.transpose(0, 1).flatten(1)
    return cells.mean(1), torch.cov(cells)
