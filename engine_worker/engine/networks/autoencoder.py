"""Makes the VAE that sampling uses."""

import torch
from diffusers import AutoencoderKL

from engine_worker.engine.networks.components import Vae
from engine_worker.engine.networks.offload import load_under
from kernel.protocol.enums import MemoryPlan


def make_vae(autoencoder: AutoencoderKL, dtype: torch.dtype, device: torch.device, plan: MemoryPlan) -> Vae:
    """The VAE as it is used on a device under a plan, and what its configuration says of its latents."""
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
        in_tiles=plan is not MemoryPlan.FAST,
        loaded=load_under(plan, [autoencoder], device),
    )
