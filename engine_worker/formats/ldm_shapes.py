"""Derives the architecture of a single-file checkpoint (LDM layout) from the names and shapes of its
tensors."""

from itertools import count

from engine_worker.formats.architecture import Architecture, TextEncoderShape, UNetShape, VaeShape
from engine_worker.formats.inspection_result import InspectionResult, has_prefix
from engine_worker.formats.ldm_keys import (
    SD_TEXT_PREFIX,
    SDXL_TEXT_2_PREFIX,
    SDXL_TEXT_PREFIX,
    UNET_PREFIX,
    VAE_PREFIX,
)
from engine_worker.formats.safetensors_header import Header
from kernel.protocol.enums import ModelBase
from kernel.protocol.errors import ModelUnreadable

# An empty tensor by which fine-tuners mark zero terminal SNR.
ZERO_SNR_MARK = "ztsnr"

_NATIVE_SIZE_PX = {ModelBase.SD: 512, ModelBase.SDXL: 1024}


def read_architecture(header: Header, inspected: InspectionResult) -> Architecture:
    """The architecture of a single-file checkpoint, which inspection has recognized.

    Raises: ModelUnreadable, if tensors that define it are missing or have wrong shapes.
    """
    base = inspected.model_base or ModelBase.SD
    return Architecture(
        base=base,
        unet=read_unet_shape(header, UNET_PREFIX),
        vae=read_vae_shape(header, VAE_PREFIX) if has_prefix(header, VAE_PREFIX) else None,
        text_encoders=_text_shapes(header, base),
        prediction_type=inspected.prediction_type or "epsilon",
        has_zero_terminal_snr=ZERO_SNR_MARK in header.tensors,
        native_size_px=inspected.native_size_px or _NATIVE_SIZE_PX[base],
    )


def read_unet_shape(header: Header, prefix: str) -> UNetShape:
    """The shape of the UNet with this prefix, or of the half UNet that a ControlNet is.

    Raises: ModelUnreadable.
    """
    levels = _unet_levels(header, prefix)
    names = [key for key in header.tensors if key.startswith(prefix)]
    cross = next((key for key in names if key.endswith(".attn2.to_k.weight")), None)
    projection = next((key for key in names if key.endswith(".proj_in.weight")), None)
    label, last = f"{prefix}label_emb.0.0.weight", f"{prefix}out.2.weight"
    guidance = f"{prefix}time_embedding.cond_proj.weight"
    in_channels = shape_of(header, f"{prefix}input_blocks.0.0.weight", 4)[1]
    return UNetShape(
        in_channels=in_channels,
        out_channels=shape_of(header, last, 4)[0] if last in header.tensors else in_channels,
        channels=tuple(channels for channels, _, _ in levels),
        resnets_per_level=levels[0][1],
        transformer_depths=tuple(depth for _, _, depth in levels),
        middle_depth=_transformer_depth(header, f"{prefix}middle_block.1."),
        cross_attention_width=0 if cross is None else shape_of(header, cross, 2)[1],
        uses_linear_projection=projection is None or len(shape_of(header, projection, 2, 4)) == 2,
        added_width=shape_of(header, label, 2)[1] if label in header.tensors else None,
        time_cond_width=shape_of(header, guidance, 2)[1] if guidance in header.tensors else None,
    )


def read_vae_shape(header: Header, prefix: str) -> VaeShape:
    """The shape of the VAE with this prefix.

    Raises: ModelUnreadable.
    """

    def resnet(level: int, index: int) -> str:
        return f"{prefix}encoder.down.{level}.block.{index}.conv1.weight"

    levels = next(level for level in count() if resnet(level, 0) not in header.tensors)
    if not levels:
        raise ModelUnreadable(f"{header.path.name} has no VAE")
    return VaeShape(
        channels=tuple(shape_of(header, resnet(level, 0), 4)[0] for level in range(levels)),
        resnets_per_level=next(index for index in count() if resnet(0, index) not in header.tensors),
        latent_channels=shape_of(header, f"{prefix}post_quant_conv.weight", 4)[0],
    )


def shape_of(header: Header, key: str, *dimensions: int) -> tuple[int, ...]:
    """The shape of a required tensor with one of these numbers of dimensions.

    Raises: ModelUnreadable.
    """
    if key not in header.tensors:
        raise ModelUnreadable(f"{header.path.name} lacks the tensor {key}")
    shape = header.tensors[key].shape
    if len(shape) not in dimensions:
        raise ModelUnreadable(f"{header.path.name}: the tensor {key} has the wrong shape {list(shape)}")
    return shape


def _unet_levels(header: Header, prefix: str) -> list[tuple[int, int, int]]:
    """Per level: channels, number of resnets, and transformer depth."""
    levels = [(0, 0, 0)]
    for number in count(1):
        block = f"{prefix}input_blocks.{number}."
        if f"{block}0.op.weight" in header.tensors:
            levels.append((0, 0, 0))
        elif f"{block}0.in_layers.2.weight" in header.tensors:
            channels = shape_of(header, f"{block}0.in_layers.2.weight", 4)[0]
            levels[-1] = (channels, levels[-1][1] + 1, _transformer_depth(header, f"{block}1."))
        else:
            break
    if any(resnets != levels[0][1] or resnets == 0 for _, resnets, _ in levels):
        raise ModelUnreadable(f"{header.path.name}: the UNet's down blocks are incomplete")
    return levels


def _transformer_depth(header: Header, attention: str) -> int:
    return next(
        depth
        for depth in count()
        if f"{attention}transformer_blocks.{depth}.norm1.weight" not in header.tensors
    )


def _text_shapes(header: Header, base: ModelBase) -> tuple[TextEncoderShape, ...]:
    first = _clip_shape(header, SDXL_TEXT_PREFIX if base is ModelBase.SDXL else SD_TEXT_PREFIX)
    return (first, _open_clip_shape(header)) if base is ModelBase.SDXL else (first,)


def _clip_shape(header: Header, prefix: str) -> TextEncoderShape:
    if f"{prefix}text_model.embeddings.token_embedding.weight" in header.tensors:
        prefix += "text_model."
    vocabulary, width = shape_of(header, f"{prefix}embeddings.token_embedding.weight", 2)
    layer = f"{prefix}encoder.layers.{{}}.mlp.fc1.weight"
    return TextEncoderShape(
        vocabulary=vocabulary,
        tokens=shape_of(header, f"{prefix}embeddings.position_embedding.weight", 2)[0],
        width=width,
        layers=next(number for number in count() if layer.format(number) not in header.tensors),
        inner_width=shape_of(header, layer.format(0), 2)[0],
        projection_width=None,
    )


def _open_clip_shape(header: Header) -> TextEncoderShape:
    prefix = SDXL_TEXT_2_PREFIX
    vocabulary, width = shape_of(header, f"{prefix}token_embedding.weight", 2)
    layer = f"{prefix}transformer.resblocks.{{}}.mlp.c_fc.weight"
    return TextEncoderShape(
        vocabulary=vocabulary,
        tokens=shape_of(header, f"{prefix}positional_embedding", 2)[0],
        width=width,
        layers=next(number for number in count() if layer.format(number) not in header.tensors),
        inner_width=shape_of(header, layer.format(0), 2)[0],
        projection_width=shape_of(header, f"{prefix}text_projection", 2)[1],
    )
