"""Estimates the memory profile of a model from names, shapes and configurations."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from engine_worker.formats.checkpoint_layout import CheckpointLayout, Network, NetworkPlan
from engine_worker.formats.network_options import (
    TextEncoderOptions,
    VaeOptions,
    read_options,
    read_unet_options,
)
from engine_worker.formats.safetensors_header import Entry
from kernel.protocol.enums import ModelPart, ModelType
from kernel.protocol.memory import MemoryProfile, PartWeights, TextLayout, UNetLayout, VaeLayout
from kernel.protocol.type_info import analyzed

_PARTS: Final = {
    Network.UNET: ModelPart.UNET,
    Network.VAE: ModelPart.VAE,
    Network.TEXT_ENCODER: ModelPart.TEXT_ENCODER,
    Network.PROJECTING_TEXT_ENCODER: ModelPart.TEXT_ENCODER,
}
_TYPES: Final = {
    ModelType.VAE: ModelPart.VAE,
    ModelType.CONTROLNET: ModelPart.CONTROLNET,
    ModelType.LORA: ModelPart.ADAPTER,
    ModelType.EMBEDDING: ModelPart.ADAPTER,
}


def profile_of_file(model_type: ModelType, weights: Iterable[Entry]) -> MemoryProfile | None:
    """The profile of a model that is added to a checkpoint; None for a type whose memory is not estimated."""
    part = _TYPES.get(model_type)
    return None if part is None else MemoryProfile(parts=(_weights(part, weights),))


def profile_of_layout(layout: CheckpointLayout, weights: Mapping[Network, Iterable[Entry]]) -> MemoryProfile:
    """The profile of a checkpoint; `weights` are the tensors of each network."""
    of_parts: dict[ModelPart, list[Entry]] = {}
    for network, entries in weights.items():
        of_parts.setdefault(_PARTS[network], []).extend(entries)
    profile = MemoryProfile(
        parts=tuple(_weights(part, entries) for part, entries in of_parts.items()),
        unet=_unet_layout(layout.unet),
        vae=None if layout.vae is None else _vae_layout(layout.vae),
        text_encoders=tuple(_text_layout(plan) for plan in layout.text_encoders),
    )
    return _believable(profile)


def _weights(part: ModelPart, entries: Iterable[Entry]) -> PartWeights:
    found = tuple(entries)
    return PartWeights(
        part=part,
        parameters=sum(entry.parameters for entry in found),
        stored_bytes=sum(entry.size_bytes for entry in found),
    )


def _unet_layout(plan: NetworkPlan) -> UNetLayout:
    shape = read_unet_options(plan.config)
    return UNetLayout(
        channels=shape.channels,
        resnets_per_level=shape.resnets_per_level,
        transformer_depths=shape.transformer_depths,
        middle_depth=shape.middle_depth,
        context_width=shape.cross_attention_width,
    )


def _vae_layout(plan: NetworkPlan) -> VaeLayout:
    match read_options(plan.network, plan.config):
        case VaeOptions() as options:
            return VaeLayout(
                channels=options.block_out_channels,
                resnets_per_level=options.layers_per_block,
                latent_channels=options.latent_channels,
            )
        case _:
            raise ValueError(plan.network)


def _text_layout(plan: NetworkPlan) -> TextLayout:
    match read_options(plan.network, plan.config):
        case TextEncoderOptions() as options:
            return TextLayout(
                tokens=options.max_position_embeddings,
                width=options.hidden_size,
                inner_width=options.intermediate_size,
                layers=options.num_hidden_layers,
            )
        case _:
            raise ValueError(plan.network)


def _believable(profile: MemoryProfile) -> MemoryProfile:
    """The profile, without its layouts if these have sizes that no supported network has."""
    try:
        return msgspec.convert(msgspec.to_builtins(profile), analyzed(MemoryProfile))
    except msgspec.ValidationError:
        return MemoryProfile(parts=profile.parts)
