"""Whitening changes what the latents look like and nothing of the pictures."""

import numpy as np
import pytest
import torch

from kernel.protocol.enums import ModelBase
from training.drawing import draw, whole
from training.networks import build_vae
from training.scenes import training_scenes
from training.sheets import scene_sheet
from training.vae import LUMINANCE, greyed
from training.whitening import whiten

pytestmark = pytest.mark.torch


def _images(count: int) -> torch.Tensor:
    sheet = scene_sheet(training_scenes()[:count], np.random.default_rng(0))
    return draw(sheet, whole(sheet))


@torch.no_grad()
def test_a_whitened_vae_draws_the_same_pictures() -> None:
    torch.manual_seed(0)
    vae = build_vae(ModelBase.SD).eval()
    white = whiten(vae, seed=0, count=8)
    images = _images(2)
    before = vae.decode(vae.encode(images).latent_dist.mode()).sample
    after = white.decode(white.encode(images).latent_dist.mode()).sample
    assert torch.allclose(before, after, atol=1e-4)


@pytest.mark.parametrize("base", list(ModelBase))
@torch.no_grad()
def test_scaled_latents_of_a_whitened_vae_are_white(base: ModelBase) -> None:
    torch.manual_seed(0)
    white = whiten(build_vae(base).eval(), seed=0, count=16)
    latents = white.encode(_images(16)).latent_dist.mode() * white.config.scaling_factor
    cells = latents.transpose(0, 1).flatten(1)
    assert cells.mean(1).abs().max() < 0.5
    assert torch.cov(cells).diagonal().sub(1).abs().max() < 0.5


@torch.no_grad()
def test_the_grey_vae_draws_the_luminance_of_the_same_pictures() -> None:
    torch.manual_seed(0)
    vae = build_vae(ModelBase.SD).eval()
    latents = torch.randn(1, 4, 8, 8)
    colours, grey = vae.decode(latents).sample, greyed(vae).decode(latents).sample
    luminance = torch.einsum("c,bchw->bhw", torch.tensor(LUMINANCE), colours)
    assert torch.allclose(grey, luminance[:, None].expand(-1, 3, -1, -1), atol=1e-5)
