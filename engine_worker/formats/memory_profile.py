"""Estimates the memory profile of a model from names, shapes and configurations."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from engine_worker.formats.architecture import Architecture, UNetShape
from engine_worker.formats.inspection_result import InspectionResult
from engine_worker.formats.ldm_keys import UNET_PREFIX, VAE_PREFIX
from engine_worker.formats.ldm_shapes import read_architecture
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.safetensors_header import Entry, Header
from engine_worker.formats.unet_config import read_unet_config
from kernel.protocol.enums import ModelPart, ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.memory import MemoryProfile, PartWeights, TextLayout, UNetLayout, VaeLayout

_FILE_PARTS: Final = {
    ModelPart.UNET: (UNET_PREFIX,),
    ModelPart.TEXT_ENCODER: ("cond_stage_model.", "conditioner.embedders."),
    ModelPart.VAE: (VAE_PREFIX,),
}
_FOLDER_PARTS: Final = {
    "unet": ModelPart.UNET,
    "vae": ModelPart.VAE,
    "text_encoder": ModelPart.TEXT_ENCODER,
    "text_encoder_2": ModelPart.TEXT_ENCODER,
}


def profile_of_file(header: Header, inspected: InspectionResult) -> MemoryProfile | None:
    """The profile of one file; None for a type whose memory is not estimated."""
    match inspected.model_type:
        case ModelType.CHECKPOINT:
            return _profile_of_checkpoint(header, inspected)
        case ModelType.VAE:
            return MemoryProfile(parts=(_weights(ModelPart.VAE, inspected.weights),))
        case ModelType.CONTROLNET:
            return MemoryProfile(parts=(_weights(ModelPart.CONTROLNET, inspected.weights),))
        case ModelType.LORA | ModelType.EMBEDDING:
            return MemoryProfile(parts=(_weights(ModelPart.ADAPTER, inspected.weights),))
        case ModelType.BACKGROUND:
            return None


def profile_of_folder(folder: ModelFolder, weights: Mapping[str, Iterable[Entry]]) -> MemoryProfile:
    """The profile of a diffusers folder; `weights` are the tensors of each component."""
    encoders = [part for part in weights if _FOLDER_PARTS[part] is ModelPart.TEXT_ENCODER]
    parts = tuple(_weights(_FOLDER_PARTS[part], entries) for part, entries in weights.items())
    try:
        unet = read_unet_config(folder.read_json(dict[str, object], "unet", "config.json"))
    except ModelUnreadable:
        return MemoryProfile(parts=parts)  # as below
    profile = MemoryProfile(
        parts=parts,
        unet=_unet_layout(unet),
        vae=folder.read_json(_VaeConfig, "vae", "config.json").layout(),
        text_encoders=tuple(folder.read_json(_TextConfig, part, "config.json").layout() for part in encoders),
    )
    return _believable(profile)


def _profile_of_checkpoint(header: Header, inspected: InspectionResult) -> MemoryProfile:
    entries = header.tensors.items()
    parts = tuple(
        _weights(part, (entry for name, entry in entries if name.startswith(prefixes)))
        for part, prefixes in _FILE_PARTS.items()
    )
    try:
        shapes = read_architecture(header, inspected)
    except ModelUnreadable:
        # Loading will report what is missing; until then only the size of the weights is known.
        return MemoryProfile(parts=parts)
    return _believable(_with_layouts(parts, shapes))


def _weights(part: ModelPart, entries: Iterable[Entry]) -> PartWeights:
    found = tuple(entries)
    return PartWeights(
        part=part,
        parameters=sum(entry.parameters for entry in found),
        stored_bytes=sum(entry.size_bytes for entry in found),
    )


def _with_layouts(parts: tuple[PartWeights, ...], shapes: Architecture) -> MemoryProfile:
    return MemoryProfile(
        parts=parts,
        unet=_unet_layout(shapes.unet),
        vae=VaeLayout(
            channels=shapes.vae.channels,
            resnets_per_level=shapes.vae.resnets_per_level,
            latent_channels=shapes.vae.latent_channels,
        ),
        text_encoders=tuple(
            TextLayout(
                tokens=encoder.tokens,
                width=encoder.width,
                inner_width=encoder.inner_width,
                layers=encoder.layers,
            )
            for encoder in shapes.text_encoders
        ),
    )


def _unet_layout(shape: UNetShape) -> UNetLayout:
    return UNetLayout(
        channels=shape.channels,
        resnets_per_level=shape.resnets_per_level,
        transformer_depths=shape.transformer_depths,
        middle_depth=shape.middle_depth,
        context_width=shape.cross_attention_width,
    )


def _believable(profile: MemoryProfile) -> MemoryProfile:
    """The profile, without its layouts if these have sizes that no supported network has."""
    try:
        return msgspec.convert(msgspec.to_builtins(profile), MemoryProfile)
    except msgspec.ValidationError:
        return MemoryProfile(parts=profile.parts)


class _VaeConfig(msgspec.Struct, frozen=True, kw_only=True):
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    latent_channels: int = 4

    def layout(self) -> VaeLayout:
        return VaeLayout(
            channels=self.block_out_channels,
            resnets_per_level=self.layers_per_block,
            latent_channels=self.latent_channels,
        )


class _TextConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Absent fields have transformers' defaults."""

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    max_position_embeddings: int = 77

    def layout(self) -> TextLayout:
        return TextLayout(
            tokens=self.max_position_embeddings,
            width=self.hidden_size,
            inner_width=self.intermediate_size,
            layers=self.num_hidden_layers,
        )
