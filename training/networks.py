"""The networks of the family: the architectures of SD 1.5 and SDXL, only narrower.

They are written down as shapes, as the server reads them out of a checkpoint's header, and built from the
same configurations; so what is trained here is what a loader builds that has nothing but the file.
"""

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine_worker.formats.architecture import Architecture, TextEncoderShape, UNetShape, VaeShape
from engine_worker.formats.network_configs import text_encoder_config, unet_config, vae_config
from kernel.protocol.enums import ModelBase

NATIVE_SIZE_PX = 128
_VAE = VaeShape(channels=(16, 32, 48, 64), resnets_per_level=1, latent_channels=4)
SIZE_NUMBERS, SIZE_WIDTH = 6, 32
"""SDXL's size conditioning: how many numbers, and the width of each one's embedding."""
VOCABULARY, TOKENS = 49_408, 77


def architecture(base: ModelBase) -> Architecture:
    """Describe a family's networks."""
    encoders = _sd_encoders() if base is ModelBase.SD else _sdxl_encoders()
    return Architecture(
        base=base,
        unet=_sd_unet(encoders) if base is ModelBase.SD else _sdxl_unet(encoders),
        vae=_VAE,
        text_encoders=encoders,
        prediction_type="epsilon",
        has_zero_terminal_snr=False,
        native_size_px=NATIVE_SIZE_PX,
    )


def build_vae(base: ModelBase) -> AutoencoderKL:
    """Build the VAE (128 x 128 x 3 to 16 x 16 x 4); the families' differ in their scaling factor alone."""
    return AutoencoderKL.from_config(dict(vae_config(architecture(base), _VAE)))


def build_unet(base: ModelBase) -> UNet2DConditionModel:
    """Build the UNet."""
    return UNet2DConditionModel.from_config(dict(unet_config(architecture(base))))


def build_text_encoders(base: ModelBase) -> tuple[CLIPTextModel | CLIPTextModelWithProjection, ...]:
    """Build SD's one text encoder or SDXL's two."""
    return tuple(_build_text_encoder(shape) for shape in architecture(base).text_encoders)


def _build_text_encoder(shape: TextEncoderShape) -> CLIPTextModel | CLIPTextModelWithProjection:
    kind = CLIPTextModel if shape.projection_width is None else CLIPTextModelWithProjection
    return kind(CLIPTextConfig.from_dict(dict(text_encoder_config(shape))))


def _sd_encoders() -> tuple[TextEncoderShape, ...]:
    return (_text_encoder(width=64, layers=2, projection_width=None),)


def _sdxl_encoders() -> tuple[TextEncoderShape, ...]:
    """Of two widths, by which loaders tell them apart; with a layer more, for SDXL leaves the last out."""
    first = _text_encoder(width=32, layers=3, projection_width=None)
    return first, _text_encoder(width=64, layers=3, projection_width=64)


def _text_encoder(width: int, layers: int, projection_width: int | None) -> TextEncoderShape:
    return TextEncoderShape(
        vocabulary=VOCABULARY,
        tokens=TOKENS,
        width=width,
        layers=layers,
        inner_width=4 * width,
        projection_width=projection_width,
    )


def _sd_unet(encoders: tuple[TextEncoderShape, ...]) -> UNetShape:
    """With a tenth of SD 1.5's 320 to 1280 channels."""
    return UNetShape(
        in_channels=4,
        out_channels=4,
        channels=(32, 64, 96, 96),
        resnets_per_level=2,
        transformer_depths=(1, 1, 1, 0),
        middle_depth=1,
        cross_attention_width=encoders[0].width,
        uses_linear_projection=False,
        added_width=None,
    )


def _sdxl_unet(encoders: tuple[TextEncoderShape, ...]) -> UNetShape:
    """With a tenth of SDXL's 320 to 1280 channels, and 0, 1, 2 transformer blocks instead of 0, 2, 10."""
    return UNetShape(
        in_channels=4,
        out_channels=4,
        channels=(32, 64, 96),
        resnets_per_level=2,
        transformer_depths=(0, 1, 2),
        middle_depth=2,
        cross_attention_width=sum(encoder.width for encoder in encoders),
        uses_linear_projection=True,
        added_width=SIZE_NUMBERS * SIZE_WIDTH + encoders[1].width,
    )
