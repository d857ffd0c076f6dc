"""diffusers configurations of networks and schedulers, derived from tensor shapes."""

from math import gcd
from typing import Final

from engine_worker.formats.architecture import (
    Architecture,
    ControlNetShape,
    TextEncoderShape,
    UNetShape,
    VaeShape,
    attention_heads,
)
from engine_worker.formats.checkpoint_layout import Config
from kernel.protocol.enums import ModelBase

# Released checkpoints have 32 groups in their norms; narrower networks as many as divide their channels.
_NORM_GROUPS = 32
# SD 1.5 has eight heads at every level; narrow networks have fewer, of 16 channels at the highest level,
# because attention with heads of 4 channels takes twice the time.
_SD_HEADS = 8
_SD_LEAST_HEAD_WIDTH = 16
_PIXELS_PER_LATENT = 8
# Six numbers: original size, crop, target size (SDXL report, arXiv:2307.01952).
SIZE_NUMBERS = 6
# Scale that gives latents unit variance: SD and SDXL have a VAE each, trained apart.
LATENT_SCALE: Final = {ModelBase.SD: 0.18215, ModelBase.SDXL: 0.13025}
_END_OF_TEXT = 49407


def unet_config(architecture: Architecture) -> Config:
    """The configuration of a UNet2DConditionModel."""
    shape = architecture.unet
    pooled_width = architecture.text_encoders[-1].projection_width or 0
    return {
        **_half_config(shape, architecture.base),
        "sample_size": architecture.native_size_px // _PIXELS_PER_LATENT,
        "out_channels": shape.out_channels,
        "up_block_types": tuple(
            "CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(shape.transformer_depths)
        ),
        **_added_config(shape, ((shape.added_width or 0) - pooled_width) // SIZE_NUMBERS),
        "time_cond_proj_dim": shape.time_cond_width,
    }


def controlnet_config(shape: ControlNetShape, base: ModelBase, unet: Config) -> Config:
    """The configuration of a ControlNetModel for a UNet of that configuration."""
    half = shape.half
    return {
        **_half_config(half, base),
        "conditioning_channels": shape.map_channels,
        "conditioning_embedding_out_channels": shape.map_widths,
        **_added_config(half, unet.get("addition_time_embed_dim")),
    }


def vae_config(architecture: Architecture, shape: VaeShape) -> Config:
    """The configuration of the AutoencoderKL of a checkpoint."""
    size_px = {"sample_size": architecture.native_size_px}
    return {**lone_vae_config(shape, LATENT_SCALE[architecture.base]), **size_px}


def lone_vae_config(shape: VaeShape, scaling_factor: float) -> Config:
    """The configuration of an AutoencoderKL in a file of its own."""
    levels = len(shape.channels)
    return {
        "block_out_channels": shape.channels,
        "layers_per_block": shape.resnets_per_level,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "latent_channels": shape.latent_channels,
        "norm_num_groups": gcd(_NORM_GROUPS, *shape.channels),
        "scaling_factor": scaling_factor,
    }


def text_encoder_config(shape: TextEncoderShape) -> Config:
    """A CLIPTextConfig. The encoder with a projection is OpenCLIP's, which has another activation."""
    return {
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.tokens,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner_width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": attention_heads(shape.width),
        "projection_dim": shape.width if shape.projection_width is None else shape.projection_width,
        "hidden_act": "quick_gelu" if shape.projection_width is None else "gelu",
        "eos_token_id": _END_OF_TEXT,
        "bos_token_id": _END_OF_TEXT - 1,
    }


def scheduler_config(architecture: Architecture) -> Config:
    """The noise schedule that the checkpoint was trained on, and the timesteps that its authors sample at."""
    begins_last = architecture.has_zero_terminal_snr or architecture.is_for_few_steps
    return {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": architecture.prediction_type,
        "rescale_betas_zero_snr": architecture.has_zero_terminal_snr,
        "timestep_spacing": "trailing" if begins_last else "leading",
        "steps_offset": 1,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        # Latents have no fixed range, so they are never clipped.
        "clip_sample": False,
    }


def _half_config(shape: UNetShape, base: ModelBase) -> Config:
    """The part that a UNet and a ControlNet share: down blocks and middle block."""
    return {
        "in_channels": shape.in_channels,
        "block_out_channels": shape.channels,
        "layers_per_block": shape.resnets_per_level,
        "down_block_types": tuple(
            "CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in shape.transformer_depths
        ),
        "transformer_layers_per_block": _transformer_layers(shape),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if shape.middle_depth else "UNetMidBlock2D",
        # Without attention any width will do.
        "cross_attention_dim": shape.cross_attention_width or shape.channels[0],
        "use_linear_projection": shape.uses_linear_projection,
        "norm_num_groups": gcd(_NORM_GROUPS, *shape.channels),
        # diffusers uses this name for the number of heads.
        "attention_head_dim": (
            max(1, min(_SD_HEADS, shape.channels[0] // _SD_LEAST_HEAD_WIDTH))
            if base is ModelBase.SD
            else tuple(attention_heads(channels) for channels in shape.channels)
        ),
    }


def _transformer_layers(shape: UNetShape) -> tuple[int, ...]:
    """Per level; diffusers takes the middle block's depth from the last one."""
    *upper, last = shape.transformer_depths
    return (*(depth or 1 for depth in upper), last or shape.middle_depth or 1)


def _added_config(shape: UNetShape, size_width: object) -> Config:
    """SDXL's pooled embedding, and its sizes, each embedded with that width; empty for SD."""
    if shape.added_width is None:
        return {}
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": size_width,
        "projection_class_embeddings_input_dim": shape.added_width,
    }
