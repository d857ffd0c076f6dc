"""The networks of the family: the classes and the layout of SD 1.5 and SDXL, only narrower."""

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from training.tokens import LENGTH, VOCABULARY

LATENT_CHANNELS = 4
LATENT_SIDE = 16
"""Cells along a side of a 128-pixel picture."""
SD_TEXT_WIDTH = 64
SDXL_TEXT_WIDTHS = (32, 64)
"""Of the two encoders; loaders tell them apart by their width, so these must differ."""
SDXL_TIME_WIDTH = 32
"""Of the embedding of each of the six numbers of the size conditioning."""
START_ID, END_ID = VOCABULARY - 2, VOCABULARY - 1


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


def build_sd_text_encoder() -> CLIPTextModel:
    """Build SD 1.5's text encoder: 2 layers, width 64, instead of 12 and 768."""
    return CLIPTextModel(_text_config(SD_TEXT_WIDTH, layers=2, activation="quick_gelu"))


def build_sdxl_text_encoders() -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Build SDXL's two text encoders; 3 layers, because SDXL leaves the last one's output out."""
    narrow, wide = SDXL_TEXT_WIDTHS
    first = CLIPTextModel(_text_config(narrow, layers=3, activation="quick_gelu"))
    second = CLIPTextModelWithProjection(_text_config(wide, layers=3, activation="gelu"))
    return first, second


def build_sd_unet() -> UNet2DConditionModel:
    """Build SD 1.5's UNet with 32 to 96 channels instead of 320 to 1280."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        block_out_channels=(32, 64, 96, 96),
        layers_per_block=2,
        cross_attention_dim=SD_TEXT_WIDTH,
        attention_head_dim=2,
    )


def build_sdxl_unet() -> UNet2DConditionModel:
    """Build SDXL's UNet with 32 to 96 channels instead of 320 to 1280, and 1, 1, 2 transformer layers instead of 0, 2, 10."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        block_out_channels=(32, 64, 96),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=(1, 1, 2),
        cross_attention_dim=sum(SDXL_TEXT_WIDTHS),
        attention_head_dim=(1, 1, 1),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=SDXL_TIME_WIDTH,
        projection_class_embeddings_input_dim=SDXL_TEXT_WIDTHS[1] + 6 * SDXL_TIME_WIDTH,
    )


def _text_config(width: int, layers: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        max_position_embeddings=LENGTH,
        hidden_act=activation,
        pad_token_id=END_ID,
        bos_token_id=START_ID,
        eos_token_id=END_ID,
    )
