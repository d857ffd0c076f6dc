"""Derives the architecture of a network from the tensor shapes of a single diffusers file.

A folder has a configuration beside the weights; a file that was taken out of one does not.
"""

from itertools import count

from engine_worker.formats.architecture import ControlNetShape, UNetShape, VaeShape
from engine_worker.formats.ldm_shapes import shape_of
from engine_worker.formats.safetensors_header import Header
from kernel.protocol.errors import ModelUnreadable

_MAP = "controlnet_cond_embedding."


def read_vae_shape(header: Header) -> VaeShape:
    """The shape of a VAE. Raises: ModelUnreadable."""
    level = "encoder.down_blocks.{}.resnets.0.conv1.weight"
    return VaeShape(
        channels=tuple(
            shape_of(header, level.format(number), 4)[0] for number in range(_counted(header, level))
        ),
        resnets_per_level=_counted(header, "encoder.down_blocks.0.resnets.{}.conv1.weight"),
        latent_channels=shape_of(header, "post_quant_conv.weight", 4)[0],
    )


def read_controlnet_shape(header: Header) -> ControlNetShape:
    """The shape of a ControlNet. Raises: ModelUnreadable."""
    first = shape_of(header, f"{_MAP}conv_in.weight", 4)
    blocks = _counted(header, f"{_MAP}blocks.{{}}.weight")
    return ControlNetShape(
        half=_half_shape(header),
        map_channels=first[1],
        # The second layer of each pair downscales the map.
        map_widths=(
            first[0],
            *(shape_of(header, f"{_MAP}blocks.{number}.weight", 4)[0] for number in range(1, blocks, 2)),
        ),
    )


def _half_shape(header: Header) -> UNetShape:
    levels = range(_counted(header, "down_blocks.{}.resnets.0.conv1.weight"))
    if not levels:
        raise ModelUnreadable(f"{header.path.name} lacks the tensor down_blocks.0.resnets.0.conv1.weight")
    cross = next((key for key in header.tensors if key.endswith(".attn2.to_k.weight")), None)
    projection = next((key for key in header.tensors if key.endswith(".proj_in.weight")), None)
    added = "add_embedding.linear_1.weight"
    in_channels = shape_of(header, "conv_in.weight", 4)[1]
    return UNetShape(
        in_channels=in_channels,
        out_channels=in_channels,
        channels=tuple(
            shape_of(header, f"down_blocks.{level}.resnets.0.conv1.weight", 4)[0] for level in levels
        ),
        resnets_per_level=_counted(header, "down_blocks.0.resnets.{}.conv1.weight"),
        transformer_depths=tuple(
            _counted(header, f"down_blocks.{level}.attentions.0.transformer_blocks.{{}}.norm1.weight")
            for level in levels
        ),
        middle_depth=_counted(header, "mid_block.attentions.0.transformer_blocks.{}.norm1.weight"),
        cross_attention_width=0 if cross is None else shape_of(header, cross, 2)[1],
        uses_linear_projection=projection is None or len(shape_of(header, projection, 2, 4)) == 2,
        added_width=shape_of(header, added, 2)[1] if added in header.tensors else None,
    )


def _counted(header: Header, name: str) -> int:
    """The number of consecutive tensors whose names contain 0, 1, 2 ..."""
    return next(number for number in count() if name.format(number) not in header.tensors)
