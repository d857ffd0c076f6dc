"""Derives the shape of a UNet from its diffusers configuration."""

import msgspec

from engine_worker.formats.architecture import UNetShape
from engine_worker.formats.checkpoint_layout import Config
from kernel.protocol.errors import ModelUnreadable


class _UNetConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of UNet2DConditionModel's configuration that define the shape, with its defaults."""

    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    down_block_types: tuple[str, ...] = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    transformer_layers_per_block: int | tuple[int, ...] = 1
    cross_attention_dim: int = 1280
    use_linear_projection: bool = False
    projection_class_embeddings_input_dim: int | None = None


def read_unet_config(config: Config) -> UNetShape:
    """The shape of the UNet with this configuration.

    Raises: ModelUnreadable, if it is not a UNet like those of SD 1.5 and SDXL.
    """
    try:
        found = msgspec.convert(dict(config), _UNetConfig)
    except msgspec.ValidationError as error:
        raise ModelUnreadable(f"unknown UNet architecture: {error}") from error
    said = found.transformer_layers_per_block
    layers = (said,) * len(found.down_block_types) if isinstance(said, int) else said
    if len(layers) != len(found.down_block_types):
        raise ModelUnreadable("unknown UNet architecture: the settings of its levels differ in number")
    return UNetShape(
        in_channels=found.in_channels,
        out_channels=found.out_channels,
        channels=found.block_out_channels,
        resnets_per_level=found.layers_per_block,
        transformer_depths=tuple(
            depth if kind.startswith("CrossAttn") else 0
            for kind, depth in zip(found.down_block_types, layers, strict=True)
        ),
        middle_depth=layers[-1],
        cross_attention_width=found.cross_attention_dim,
        uses_linear_projection=found.use_linear_projection,
        added_width=found.projection_class_embeddings_input_dim,
    )
