"""The networks of the family: the classes and the layout of SD 1.5 and SDXL, only narrower."""

from diffusers import AutoencoderKL

LATENT_CHANNELS = 4


def build_vae() -> AutoencoderKL:
    """Build the VAE: 128 x 128 x 3 to 16 x 16 x 4, as in Stable Diffusion, with 16 to 64 channels instead of 128 to 512."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=16,
        sample_size=128,
    )
