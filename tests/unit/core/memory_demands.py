"""What engines of the two families in full size want, one picture of the usual size at a time."""

from dataclasses import replace

from kernel.core.memory_model.memory_demand import MemoryDemand
from kernel.protocol.enums import ModelPart
from kernel.protocol.memory import MemoryProfile, PartWeights, TextLayout, UNetLayout, VaeLayout

GB = 1_000_000_000
CLIP_L = TextLayout(tokens=77, width=768, inner_width=3072, layers=12)
CLIP_G = TextLayout(tokens=77, width=1280, inner_width=5120, layers=32)
VAE = VaeLayout(channels=(128, 256, 512, 512), resnets_per_level=2, latent_channels=4)


def part(kind: ModelPart, parameters: int) -> PartWeights:
    return PartWeights(part=kind, parameters=parameters, stored_bytes=2 * parameters)


SD = MemoryDemand(
    profile=MemoryProfile(
        parts=(
            part(ModelPart.UNET, 859_520_964),
            part(ModelPart.VAE, 83_653_863),
            part(ModelPart.TEXT_ENCODER, 123_060_480),
        ),
        unet=UNetLayout(
            channels=(320, 640, 1280, 1280),
            resnets_per_level=2,
            transformer_depths=(1, 1, 1, 0),
            middle_depth=1,
            context_width=768,
        ),
        vae=VAE,
        text_encoders=(CLIP_L,),
    ),
    extras=(),
    control_nets=0,
    dtype=None,
    width_px=512,
    height_px=512,
    max_batch=None,
)
SDXL = replace(
    SD,
    profile=MemoryProfile(
        parts=(
            part(ModelPart.UNET, 2_567_463_684),
            part(ModelPart.VAE, 83_653_863),
            part(ModelPart.TEXT_ENCODER, 817_720_320),
        ),
        unet=UNetLayout(
            channels=(320, 640, 1280),
            resnets_per_level=2,
            transformer_depths=(0, 2, 10),
            middle_depth=10,
            context_width=2048,
        ),
        vae=VAE,
        text_encoders=(CLIP_L, CLIP_G),
    ),
    width_px=1024,
    height_px=1024,
)
