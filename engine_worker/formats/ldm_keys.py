"""The keys of the diffusers modules' parameters in a single-file checkpoint (LDM layout).

The same table serves loading and saving.
Source: the layouts of CompVis/latent-diffusion, Stability-AI/generative-models and open_clip.
"""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from engine_worker.formats.architecture import UNetShape, VaeShape
from kernel.protocol.enums import ModelBase

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
SD_TEXT_PREFIX = "cond_stage_model.transformer."
SDXL_TEXT_PREFIX = "conditioner.embedders.0.transformer."
SDXL_TEXT_2_PREFIX = "conditioner.embedders.1.model."


class Form(Enum):
    """How a stored tensor differs from its parameter."""

    SAME = "same"
    CONV_1X1 = "conv_1x1"
    """A linear layer stored as a 1x1 convolution."""
    TRANSPOSED = "transposed"
    FIRST_THIRD = "first_third"
    """Query, key and value concatenated in one tensor."""
    SECOND_THIRD = "second_third"
    LAST_THIRD = "last_third"


THIRDS = (Form.FIRST_THIRD, Form.SECOND_THIRD, Form.LAST_THIRD)


_NAMES_KEPT: Final = 8_192
"""Most checkpoints have the same 2,500."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in the file, and its form there."""

    key: str
    form: Form = Form.SAME


@lru_cache(_NAMES_KEPT)
def unet_places(name: str, shape: UNetShape) -> tuple[Stored, ...]:
    """The key of the UNet's parameter in the file."""
    return (Stored(UNET_PREFIX + unet_key(name, shape)),)


def unet_key(name: str, shape: UNetShape) -> str:
    """The name of the UNet's parameter or module in the original releases."""
    return _unet_key(name.split("."), shape)


@lru_cache(_NAMES_KEPT)
def vae_places(name: str, shape: VaeShape, prefix: str = VAE_PREFIX) -> tuple[Stored, ...]:
    """The key of the VAE's parameter in the file."""
    key = prefix + _vae_key(name.split("."), len(shape.channels))
    is_attention_matrix = ".attn_1." in key and key.endswith(".weight") and ".norm." not in key
    return (Stored(key, Form.CONV_1X1 if is_attention_matrix else Form.SAME),)


@lru_cache(_NAMES_KEPT)
def text_places(name: str, base: ModelBase, number: int) -> tuple[Stored, ...]:
    """The keys of a parameter of text encoder 0 or 1: the usual one first, then rarer ones."""
    plain = name.removeprefix("text_model.")
    if number == 1:
        return (_open_clip_place(plain),)
    prefix = SDXL_TEXT_PREFIX if base is ModelBase.SDXL else SD_TEXT_PREFIX
    return (Stored(f"{prefix}text_model.{plain}"), Stored(prefix + plain))


_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def _unet_key(path: list[str], shape: UNetShape) -> str:
    per_level = shape.resnets_per_level + 1
    match path:
        case ["down_blocks", level, kind, index, *rest]:
            return _down_key(1 + int(level) * per_level, kind, index, rest, shape)
        case ["up_blocks", level, kind, index, *rest]:
            return _up_key(int(level), kind, index, rest, shape)
        case ["mid_block", "resnets", index, layer, *rest]:
            return _join(f"middle_block.{int(index) * 2}", _RESNET[layer], *rest)
        case ["mid_block", "attentions", _, *rest]:
            return _join("middle_block.1", *rest)
        case _:
            return _unet_end_key(path)


def _unet_end_key(path: list[str]) -> str:
    match path:
        case ["conv_in", *rest]:
            return _join("input_blocks.0.0", *rest)
        case ["time_embedding", "linear_1" | "linear_2" as layer, *rest]:
            return _join("time_embed.0" if layer == "linear_1" else "time_embed.2", *rest)
        case ["add_embedding", "linear_1" | "linear_2" as layer, *rest]:
            return _join("label_emb.0.0" if layer == "linear_1" else "label_emb.0.2", *rest)
        case ["conv_norm_out", *rest]:
            return _join("out.0", *rest)
        case ["conv_out", *rest]:
            return _join("out.2", *rest)
        case _:
            return _join(*path)


def _down_key(first: int, kind: str, index: str, rest: list[str], shape: UNetShape) -> str:
    if kind == "resnets":
        return _join(f"input_blocks.{first + int(index)}.0", _RESNET[rest[0]], *rest[1:])
    if kind == "attentions":
        return _join(f"input_blocks.{first + int(index)}.1", *rest)
    # A downsampler: rest is ["conv", "weight" or "bias"].
    return _join(f"input_blocks.{first + shape.resnets_per_level}.0.op", *rest[1:])


def _up_key(level: int, kind: str, index: str, rest: list[str], shape: UNetShape) -> str:
    first = level * (shape.resnets_per_level + 1)
    if kind == "resnets":
        return _join(f"output_blocks.{first + int(index)}.0", _RESNET[rest[0]], *rest[1:])
    if kind == "attentions":
        return _join(f"output_blocks.{first + int(index)}.1", *rest)
    # An upsampler follows the level's last resnet and, if there is one, its attention.
    has_attention = shape.transformer_depths[-1 - level] > 0
    return _join(f"output_blocks.{first + shape.resnets_per_level}.{2 if has_attention else 1}", *rest)


_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out": "proj_out",
}


def _vae_key(path: list[str], levels: int) -> str:
    match path:
        case [side, "down_blocks", level, "resnets", index, *rest]:
            return _join(side, f"down.{level}.block.{index}", *_vae_resnet(rest))
        case [side, "down_blocks", level, "downsamplers", _, *rest]:
            return _join(side, f"down.{level}.downsample", *rest)
        case [side, "up_blocks", level, "resnets", index, *rest]:
            return _join(side, f"up.{levels - 1 - int(level)}.block.{index}", *_vae_resnet(rest))
        case [side, "up_blocks", level, "upsamplers", _, *rest]:
            return _join(side, f"up.{levels - 1 - int(level)}.upsample", *rest)
        case [side, "mid_block", "resnets", index, *rest]:
            return _join(side, f"mid.block_{int(index) + 1}", *_vae_resnet(rest))
        case [side, "mid_block", "attentions", _, layer, *rest]:
            return _join(side, "mid.attn_1", _VAE_ATTENTION[layer], rest[-1])
        case [side, "conv_norm_out", *rest]:
            return _join(side, "norm_out", *rest)
        case _:
            return _join(*path)


def _vae_resnet(rest: list[str]) -> list[str]:
    return ["nin_shortcut" if word == "conv_shortcut" else word for word in rest]


_OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_OPEN_CLIP_END = {
    "embeddings.token_embedding.weight": Stored(SDXL_TEXT_2_PREFIX + "token_embedding.weight"),
    "embeddings.position_embedding.weight": Stored(SDXL_TEXT_2_PREFIX + "positional_embedding"),
    "final_layer_norm.weight": Stored(SDXL_TEXT_2_PREFIX + "ln_final.weight"),
    "final_layer_norm.bias": Stored(SDXL_TEXT_2_PREFIX + "ln_final.bias"),
    "text_projection.weight": Stored(SDXL_TEXT_2_PREFIX + "text_projection", Form.TRANSPOSED),
}


def _open_clip_place(name: str) -> Stored:
    if name in _OPEN_CLIP_END:
        return _OPEN_CLIP_END[name]
    _, _, number, layer = name.split(".", 3)
    layer, _, kind = layer.rpartition(".")
    block = f"{SDXL_TEXT_2_PREFIX}transformer.resblocks.{number}."
    thirds = dict(zip(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), THIRDS, strict=True))
    if layer in thirds:
        return Stored(f"{block}attn.in_proj_{kind}", thirds[layer])
    return Stored(f"{block}{_OPEN_CLIP_LAYER[layer]}.{kind}")


def _join(*words: str) -> str:
    return ".".join(words)
