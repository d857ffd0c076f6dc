"""The VAE as the sampler uses it."""

import torch
from diffusers import AutoencoderKL

from engine_worker.engine.parts import Vae


def make_vae(autoencoder: AutoencoderKL, dtype: torch.dtype, *, in_tiles: bool = False) -> Vae:
    """The VAE and what its configuration says of its latents."""
    config = autoencoder.config
    return Vae(
        encoder=autoencoder,
        decoder=autoencoder,
        dtype=dtype,
        latent_channels=config.latent_channels,
        pixels_per_latent=2 ** (len(config.block_out_channels) - 1),
        scaling_factor=config.scaling_factor,
        latents_mean=None if config.latents_mean is None else tuple(config.latents_mean),
        latents_std=None if config.latents_std is None else tuple(config.latents_std),
        in_tiles=in_tiles,
    )
