"""The released SD 1.5 and SDXL: the shapes of their networks, and the layers that a LoRA may change."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from math import prod
from typing import Final

from engine_worker.formats.architecture import Architecture, TextEncoderShape, UNetShape, VaeShape
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.ldm_layout import single_file_layout
from engine_worker.formats.lora_keys import aliases
from engine_worker.formats.network_parameters import parameters_of
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
_RELEASED: Final = {ModelBase.SD: SD, ModelBase.SDXL: SDXL}
_TABLE: Final = "embeddings."
"""Of a text encoder: words and positions, which are no layers."""

Layers = Mapping[tuple[Network, str], frozenset[tuple[int, int]]]
"""By network and name in files, with underscores: the rows of the weight, and the numbers in each; those of
inpainting have another first convolution."""


@cache
def layers_of(base: ModelBase) -> Layers:
    """The layers of the released checkpoints of a base, under every name that a LoRA may have for them."""
    found: dict[tuple[Network, str], frozenset[tuple[int, int]]] = {}
    plain = _RELEASED[base].unet
    for unet in (plain, replace(plain, in_channels=9, time_cond_width=256)):
        for plan in single_file_layout(replace(_RELEASED[base], unet=unet, vae=None)).networks:
            for name, shape in parameters_of(plan.network, plan.config).items():
                module, _, kind = name.rpartition(".")
                if kind != "weight" or module.startswith(_TABLE):
                    continue
                for alias in aliases(plan.network, module, unet):
                    place = plan.network, alias.replace(".", "_")
                    found[place] = found.get(place, frozenset()) | {(shape[0], prod(shape[1:]))}
    return found
