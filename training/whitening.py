"""Folds a scale into a trained VAE, so that its latents have mean 0, unit variance and no correlation.

A shared scale, as Stable Diffusion has it, leaves each channel its own mean; the noise schedule never quite
hides that mean, and a small model learns to read it instead of the prompt. The VAE's outermost latent layers
are 1 x 1 convolutions, so a whitening of the four channels disappears into their weights, and the images stay
the same.
"""

import copy

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from training.drawing import draw, whole
from training.scenes import training_scenes
from training.sheets import scene_sheet

IMAGES = 512
AT_ONCE = 32


@torch.no_grad()
def whiten(vae: AutoencoderKL, seed: int, count: int = IMAGES) -> AutoencoderKL:
    """Give a copy whose latents, times its scaling factor, are white over training scenes."""
    mean, covariance = _moments(vae, seed, count)
    variance, basis = torch.linalg.eigh(covariance)
    scaling_factor = float(vae.config.scaling_factor)
    forth = basis @ torch.diag(variance.rsqrt()) @ basis.T / scaling_factor
    # On the CPU and in double precision, for a GPU may round what it multiplies to ten bits.
    white = copy.deepcopy(vae).cpu().double()
    _fold_into_encoder(white, mean, forth)
    _fold_into_decoder(white, mean, torch.linalg.inv(forth))
    return white.float().to(vae.device)


def _fold_into_encoder(vae: AutoencoderKL, mean: Tensor, forth: Tensor) -> None:
    """Let the encoder's last layer give the whitened mean, and a variance scaled as that is on average."""
    channels = len(mean)
    layer = vae.quant_conv
    layer.weight[:channels] = torch.einsum("ij,jkhw->ikhw", forth, layer.weight[:channels])
    layer.bias[:channels] = forth @ (layer.bias[:channels] - mean)
    layer.bias[channels:] += 2 * forth.det().abs().log() / channels  # the logarithm of the variance


def _fold_into_decoder(vae: AutoencoderKL, mean: Tensor, back: Tensor) -> None:
    """Let the decoder's first layer undo the whitening."""
    layer = vae.post_quant_conv
    layer.bias += layer.weight[:, :, 0, 0] @ mean
    layer.weight.copy_(torch.einsum("ijhw,jk->ikhw", layer.weight, back))


def _moments(vae: AutoencoderKL, seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Measure the latents' mean and covariance. Shapes: (4,), (4, 4), double precision, on the CPU."""
    rng = np.random.default_rng([seed, IMAGES])
    known = training_scenes()
    sheet = scene_sheet([known[index] for index in rng.integers(len(known), size=count)], rng)
    images = torch.split(draw(sheet, whole(sheet)), AT_ONCE)
    latents = torch.cat([vae.encode(part.to(vae.device)).latent_dist.mode() for part in images])
    cells = latents.cpu().double().transpose(0, 1).flatten(1)
    return cells.mean(1), torch.cov(cells)
