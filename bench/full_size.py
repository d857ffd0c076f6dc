"""The released SD 1.5 and SDXL: the shapes of their networks."""

from typing import Final

from engine_worker.formats.architecture import Architecture, TextEncoderShape, UNetShape, VaeShape
from kernel.protocol.enums import ModelBase

VAE: Final = VaeShape(channels=(128, 256, 512, 512), resnets_per_level=2, latent_channels=4)
CLIP_L: Final = TextEncoderShape(
    vocabulary=49408, tokens=77, width=768, layers=12, inner_width=3072, projection_width=None
)
OPEN_CLIP_G: Final = TextEncoderShape(
    vocabulary=49408, tokens=77, width=1280, layers=32, inner_width=5120, projection_width=1280
)
SD: Final = Architecture(
    base=ModelBase.SD,
    unet=UNetShape(
        in_channels=4,
        out_channels=4,
        channels=(320, 640, 1280, 1280),
        resnets_per_level=2,
        transformer_depths=(1, 1, 1, 0),
        middle_depth=1,
        cross_attention_width=768,
        uses_linear_projection=False,
        added_width=None,
    ),
    vae=VAE,
    text_encoders=(CLIP_L,),
    prediction_type="epsilon",
    has_zero_terminal_snr=False,
    native_size_px=512,
)
SDXL: Final = Architecture(
    base=ModelBase.SDXL,
    unet=UNetShape(
        in_channels=4,
        out_channels=4,
        channels=(320, 640, 1280),
        resnets_per_level=2,
        transformer_depths=(0, 2, 10),
        middle_depth=10,
        cross_attention_width=2048,
        uses_linear_projection=True,
        added_width=2816,
    ),
    vae=VAE,
    text_encoders=(CLIP_L, OPEN_CLIP_G),
    prediction_type="epsilon",
    has_zero_terminal_snr=False,
    native_size_px=1024,
)
