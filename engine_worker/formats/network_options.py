"""The configurations of networks that are supported: the options that define shapes, and those that must have
one value.

Sources: the constructors of UNet2DConditionModel, ControlNetModel and AutoencoderKL (diffusers) and
CLIPTextConfig (transformers), whose defaults are repeated here.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from engine_worker.formats.architecture import ControlNetShape, UNetShape
from engine_worker.formats.checkpoint_layout import Config, Network
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.type_info import analyzed

Width = Annotated[int, Meta(ge=1, le=65_536)]
Count = Annotated[int, Meta(ge=1, le=64)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
Levels = Annotated[tuple[Width, ...], Meta(min_length=1, max_length=8)]
_Kinds = Annotated[tuple[str, ...], Meta(max_length=8)]
_Token = Annotated[int, Meta(ge=0, lt=1 << 31)]
_MAX_SIDE: Final = 65_536

_DOWN_BLOCKS: Final = {"CrossAttnDownBlock2D": True, "DownBlock2D": False}
_UP_BLOCKS: Final = {True: "CrossAttnUpBlock2D", False: "UpBlock2D"}
_ATTENDING: Final = "UNetMidBlock2DCrossAttn"
_MIDDLE_BLOCKS: Final = {_ATTENDING: True, "UNetMidBlock2D": False}
_ENDS: Final = (49407, 2)
"""CLIP's last token; transformers before 4.31 wrote 2, and means the same."""
_ACTIVATIONS: Final = ("silu", "swish", "gelu", "relu", "mish")
_TEXT_ACTIVATIONS: Final = (
    "quick_gelu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "swish",
)  # fmt: skip


class _Half(msgspec.Struct, frozen=True, kw_only=True):
    """What a UNet and a ControlNet have in common."""

    sample_size: object = None
    in_channels: Width = 4
    block_out_channels: Levels = (320, 640, 1280, 1280)
    layers_per_block: Count | tuple[Count, ...] = 2
    down_block_types: _Kinds = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    mid_block_type: str | None = "UNetMidBlock2DCrossAttn"
    transformer_layers_per_block: Count | tuple[object, ...] | None = 1
    reverse_transformer_layers_per_block: object = None
    cross_attention_dim: Width | tuple[object, ...] = 1280
    use_linear_projection: bool = False
    attention_head_dim: Count | tuple[Count, ...] = 8
    num_attention_heads: Count | tuple[Count, ...] | None = None
    norm_num_groups: Annotated[int, Meta(ge=1)] = 32
    norm_eps: Positive = 1e-5
    addition_embed_type: str | None = None
    addition_time_embed_dim: Width | None = None
    projection_class_embeddings_input_dim: Width | None = None
    act_fn: str = "silu"
    dropout: float = 0.0
    freq_shift: float = 0
    flip_sin_to_cos: bool = True
    mid_block_scale_factor: Positive = 1
    upcast_attention: bool | None = False
    time_cond_proj_dim: Width | None = None
    only_cross_attention: bool | tuple[bool, ...] = False
    dual_cross_attention: bool = False
    mid_block_only_cross_attention: bool | None = None


class VaeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A supported VAE, by the names and defaults of AutoencoderKL."""

    sample_size: object = None
    force_upcast: bool | None = True
    in_channels: Width = 3
    out_channels: Width = 3
    block_out_channels: Levels = (64,)
    down_block_types: _Kinds = ("DownEncoderBlock2D",)
    up_block_types: _Kinds = ("UpDecoderBlock2D",)
    layers_per_block: Count = 1
    latent_channels: Annotated[int, Meta(ge=1, le=1024)] = 4
    norm_num_groups: Annotated[int, Meta(ge=1)] = 32
    act_fn: str = "silu"
    scaling_factor: Positive = 0.18215
    shift_factor: float | None = None
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[Positive, ...] | None = None
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True


class TextEncoderOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A supported CLIP text encoder, by the names and defaults of CLIPTextConfig."""

    vocab_size: Annotated[int, Meta(ge=1, le=1 << 22)] = 49408
    hidden_size: Width = 512
    intermediate_size: Width = 2048
    projection_dim: Width = 512
    num_hidden_layers: Count = 12
    num_attention_heads: Count = 8
    max_position_embeddings: Width = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: Positive = 1e-5
    bos_token_id: _Token | None = 49406
    eos_token_id: _Token = 49407
    pad_token_id: _Token | None = 1


NetworkOptions = UNetShape | ControlNetShape | VaeOptions | TextEncoderOptions

_ONE_VALUE: Final[Mapping[str, tuple[object, ...]]] = {
    "center_input_sample": (False,),
    "downsample_padding": (1,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "resnet_time_scale_shift": ("default",),
    "resnet_skip_time_act": (False,),
    "resnet_out_scale_factor": (1,),
    "time_embedding_type": ("positional",),
    "time_embedding_dim": (None,),
    "time_embedding_act_fn": (None,),
    "timestep_post_act": (None,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "attention_type": ("default",),
    "class_embeddings_concat": (False, None),
    "cross_attention_norm": (None,),
    "controlnet_conditioning_channel_order": ("rgb",),
    "global_pool_conditions": (False,),
}
"""Options that would make another network, or ask for conditions that jobs do not give. Absent ones have the
first of these values."""


def read_options(network: Network, config: Config) -> NetworkOptions:
    """The shape of the network with this configuration.

    Raises: ModelUnreadable, if it is none of a supported network; the message names the option.
    """
    try:
        match network:
            case Network.UNET:
                return _read_unet(config)
            case Network.CONTROLNET:
                return _read_controlnet(config)
            case Network.VAE:
                return _read_vae(config)
            case Network.TEXT_ENCODER | Network.PROJECTING_TEXT_ENCODER:
                return _read_text_encoder(config, is_projecting=network is Network.PROJECTING_TEXT_ENCODER)
    except msgspec.ValidationError as error:
        raise ModelUnreadable(f"the configuration of the {network.value} is invalid: {error}") from error
    except _Unsupported as error:
        raise ModelUnreadable(
            f"the configuration of the {network.value} is not supported: {error}"
        ) from error


def known_options(network: Network, config: Config) -> dict[str, object]:
    """The options of a configuration that were checked, so that a network is built by no other. The size of
    its images is only a hint, which may be wrong."""
    names = {*_OPTIONS[network].__struct_fields__, *_ONE_VALUE}
    size = config.get("sample_size")
    if type(size) is not int or not 0 < size <= _MAX_SIDE:
        names.discard("sample_size")
    return {name: value for name, value in config.items() if name in names}


def read_unet_options(config: Config, network: Network = Network.UNET) -> UNetShape:
    """The shape of a UNet with this configuration, or of the half UNet that a ControlNet is.

    Raises: ModelUnreadable.
    """
    match read_options(network, config):
        case UNetShape() as unet:
            return unet
        case ControlNetShape() as controlnet:
            return controlnet.half
        case _:
            raise ValueError(network)


class _Unsupported(Exception):
    """Says which option has which value."""


class _UNet(_Half, frozen=True, kw_only=True):
    out_channels: Width = 4
    up_block_types: _Kinds = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3


class _ControlNet(_Half, frozen=True, kw_only=True):
    conditioning_channels: Width = 3
    conditioning_embedding_out_channels: Levels = (16, 32, 96, 256)


_OPTIONS: Final[Mapping[Network, type[msgspec.Struct]]] = {
    Network.UNET: _UNet,
    Network.CONTROLNET: _ControlNet,
    Network.VAE: VaeOptions,
    Network.TEXT_ENCODER: TextEncoderOptions,
    Network.PROJECTING_TEXT_ENCODER: TextEncoderOptions,
}


def _read_unet(config: Config) -> UNetShape:
    found = msgspec.convert(dict(config), analyzed(_UNet))
    is_usual = found.mid_block_type == _ATTENDING and found.reverse_transformer_layers_per_block is None
    if not is_usual or _differs_within_a_level(found):
        raise _Unsupported(
            "it has no attention in its middle block, or depths that differ within a level, as SSD-1B and "
            "Segmind-Vega have: use the complete checkpoint that it was distilled from"
        )
    # diffusers refuses it, because it meant something else once.
    _check("num_attention_heads", found.num_attention_heads, None)
    shape = _shape_of(config, found)
    mirrored = tuple(_UP_BLOCKS[depth > 0] for depth in reversed(shape.transformer_depths))
    _check("up_block_types", found.up_block_types, mirrored)
    return shape


def _read_controlnet(config: Config) -> ControlNetShape:
    found = msgspec.convert(dict(config), analyzed(_ControlNet))
    half = _shape_of(config, found)
    _check("time_cond_proj_dim", found.time_cond_proj_dim, None)
    _check("conditioning_channels", found.conditioning_channels, 3)
    widths = found.conditioning_embedding_out_channels
    return ControlNetShape(half=half, map_channels=found.conditioning_channels, map_widths=widths)


def _shape_of(config: Config, found: "_UNet | _ControlNet") -> UNetShape:
    _check_one_value(config)
    for name in ("only_cross_attention", "dual_cross_attention", "mid_block_only_cross_attention"):
        value = getattr(found, name)
        if any(value) if isinstance(value, tuple) else value:
            raise _Unsupported(f"{name} is {value!r}")
    channels, width = found.block_out_channels, found.cross_attention_dim
    if not isinstance(width, int):
        raise _Unsupported("cross_attention_dim differs between its levels")
    if found.act_fn not in _ACTIVATIONS:
        raise _Unsupported(f"act_fn is {found.act_fn!r:.40}")
    depths, middle_depth = _depths(found)
    _check_divides("norm_num_groups", found.norm_num_groups, channels)
    _check_heads(found, depths, middle_depth)
    return UNetShape(
        in_channels=found.in_channels,
        out_channels=found.out_channels if isinstance(found, _UNet) else found.in_channels,
        channels=channels,
        resnets_per_level=_same("layers_per_block", found.layers_per_block, len(channels)),
        transformer_depths=depths,
        middle_depth=middle_depth,
        cross_attention_width=width if any(depths) or middle_depth else 0,
        uses_linear_projection=found.use_linear_projection,
        added_width=_added_width(found),
        time_cond_width=found.time_cond_proj_dim,
    )


def _differs_within_a_level(found: _Half) -> bool:
    said = found.transformer_layers_per_block
    return isinstance(said, tuple) and not all(isinstance(depth, int) for depth in said)


def _depths(found: _Half) -> tuple[tuple[int, ...], int]:
    """The transformer blocks per attention, of each level and of the middle block; 0 without attention."""
    kinds, levels = found.down_block_types, len(found.block_out_channels)
    unknown = [kind for kind in kinds if kind not in _DOWN_BLOCKS]
    if unknown:
        raise _Unsupported(f"down_block_types has {unknown[0]!r:.60}")
    if found.mid_block_type not in _MIDDLE_BLOCKS:
        raise _Unsupported(f"mid_block_type is {found.mid_block_type!r:.60}")
    said = 1 if found.transformer_layers_per_block is None else found.transformer_layers_per_block
    layers = (said,) * levels if isinstance(said, int) else said
    if len(kinds) != levels or len(layers) != levels:
        raise _Unsupported("the settings of its levels differ in number")
    numbers = [depth for depth in layers if isinstance(depth, int) and 0 <= depth <= 64]
    if len(numbers) != levels:
        raise _Unsupported(f"transformer_layers_per_block is {said!r:.80}")
    depths = tuple(depth if _DOWN_BLOCKS[kind] else 0 for kind, depth in zip(kinds, numbers, strict=True))
    if any(_DOWN_BLOCKS[kind] and not depth for kind, depth in zip(kinds, depths, strict=True)):
        raise _Unsupported("transformer_layers_per_block is 0 for a level with attention")
    return depths, numbers[-1] if _MIDDLE_BLOCKS[found.mid_block_type or ""] else 0


def _check_heads(found: _Half, depths: tuple[int, ...], middle_depth: int) -> None:
    # diffusers calls the number of heads `attention_head_dim`, for historical reasons.
    said = found.num_attention_heads or found.attention_head_dim
    channels = found.block_out_channels
    heads = (said,) * len(channels) if isinstance(said, int) else said
    if len(heads) != len(channels):
        raise _Unsupported("attention_head_dim has another number of levels")
    attending = [*zip(channels, heads, depths, strict=True), (channels[-1], heads[-1], middle_depth)]
    if any(depth and width % number for width, number, depth in attending):
        raise _Unsupported("attention_head_dim does not divide the channels of each level")


def _added_width(found: _Half) -> int | None:
    """The width of SDXL's added conditions; None for SD."""
    width = found.projection_class_embeddings_input_dim
    if found.addition_embed_type is None:
        _check("projection_class_embeddings_input_dim", width, None)
        return None
    if found.addition_embed_type != "text_time":
        raise _Unsupported(f"addition_embed_type is {found.addition_embed_type!r:.40}")
    if width is None or found.addition_time_embed_dim is None:
        raise _Unsupported("addition_embed_type is text_time, without the widths of its embeddings")
    return width


def _read_vae(config: Config) -> VaeOptions:
    found = msgspec.convert(dict(config), analyzed(VaeOptions))
    levels = len(found.block_out_channels)
    _check("in_channels", found.in_channels, 3)
    _check("out_channels", found.out_channels, 3)
    _check("down_block_types", found.down_block_types, ("DownEncoderBlock2D",) * levels)
    _check("up_block_types", found.up_block_types, ("UpDecoderBlock2D",) * levels)
    _check_divides("norm_num_groups", found.norm_num_groups, found.block_out_channels)
    if found.act_fn not in _ACTIVATIONS:
        raise _Unsupported(f"act_fn is {found.act_fn!r:.40}")
    if found.shift_factor:
        raise _Unsupported("shift_factor is set, which the latents of SD and SDXL have not")
    for name in ("latents_mean", "latents_std"):
        numbers = getattr(found, name)
        if numbers is not None and len(numbers) != found.latent_channels:
            raise _Unsupported(f"{name} has {len(numbers)} numbers for {found.latent_channels} channels")
    return found


def _read_text_encoder(config: Config, *, is_projecting: bool) -> TextEncoderOptions:
    found = msgspec.convert(dict(config), analyzed(TextEncoderOptions))
    if is_projecting and found.eos_token_id not in _ENDS:
        raise _Unsupported(f"eos_token_id is {found.eos_token_id}, by which it would miss the prompt's end")
    if found.hidden_act not in _TEXT_ACTIVATIONS:
        raise _Unsupported(f"hidden_act is {found.hidden_act!r:.40}")
    if found.hidden_size % found.num_attention_heads:
        raise _Unsupported("num_attention_heads does not divide hidden_size")
    return found


def _check_one_value(config: Config) -> None:
    for name, values in _ONE_VALUE.items():
        if config.get(name, values[0]) not in values:
            raise _Unsupported(f"{name} is {config[name]!r:.60}")


def _check(name: str, value: object, wanted: object) -> None:
    if value != wanted:
        raise _Unsupported(f"{name} is {value!r:.120}")


def _check_divides(name: str, divisor: int, channels: tuple[int, ...]) -> None:
    if any(width % divisor for width in channels):
        raise _Unsupported(f"{name} does not divide the channels of each level")


def _same(name: str, said: int | tuple[int, ...], levels: int) -> int:
    """The number that all levels have."""
    if isinstance(said, int):
        return said
    if len(said) != levels or len(set(said)) != 1:
        raise _Unsupported(f"{name} differs between its levels")
    return said[0]
