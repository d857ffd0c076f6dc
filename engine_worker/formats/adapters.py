"""Inspects models that are added to a checkpoint (LoRA, embedding, ControlNet, VAE) by names and shapes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.embedding_keys import base_of, named, read_words
from engine_worker.formats.inspection_result import (
    InspectionResult,
    base_of_text_width,
    has_prefix,
    has_suffix,
    stranger,
    width_of,
)
from engine_worker.formats.lora_keys import listed
from engine_worker.formats.lora_layout import LoraLayout, read_lora_layout
from engine_worker.formats.metadata import MAX_WORDS, control_type, trigger_words
from engine_worker.formats.safetensors_header import Header
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import ModelUnreadable

_READS_TEXT: Final = ("q_proj", "k_proj", "v_proj", "mlp_fc1")
"""Layers of a text encoder whose inputs are as wide as its embeddings."""
_NAMES: Final = {ModelBase.SD: "SD 1.5", ModelBase.SDXL: "SDXL"}
_OF_SDXL: Final = ("add_embedding_", "label_emb_")
_OTHER_CONTROLS: Final = {
    (".up", ".down", "lora_controlnet"): "a control LoRA",
    ("task_embedding", "control_add_embedding.linear_1.weight"): "a union ControlNet",
    ("difference",): "a ControlNet stored as the difference from a checkpoint",
}
"""Files that look like a ControlNet but are none by themselves, by names that only they have."""
_CONTROLNET_PREFIXES: Final = ("control_model.", "controlnet_cond_embedding.", "input_hint_block.")
_VAE_LATENTS: Final = ("decoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight")
_VAE_PIXELS: Final = ("encoder.conv_in.weight", "first_stage_model.encoder.conv_in.weight")
_LATENT_CHANNELS: Final = 4


def describe_lora(header: Header) -> InspectionResult:
    """Describe a LoRA; its base is None if none of its layers depends on it. The words of embeddings that
    come with it are its first trigger words.

    Raises: ModelUnreadable, if it cannot be loaded: it is damaged, of an unsupported kind, or for an
    unsupported base.
    """
    layout = read_lora_layout(header)
    found = _adapter(ModelType.LORA, _base_of_lora(layout), header)
    words = dict.fromkeys((*named(layout.words), *found.trigger_words))
    warnings = (*(f"it {said}" for said in layout.warnings()), *_strange_layers(layout, found.model_base))
    return replace(found, trigger_words=tuple(words)[:MAX_WORDS], warnings=warnings, beside=layout.beside)


def is_controlnet(header: Header) -> bool:
    """True if the file contains the layers that read a control map."""
    return has_prefix(header, *_CONTROLNET_PREFIXES)


def describe_controlnet(header: Header) -> InspectionResult:
    """Describe a ControlNet.

    Raises: ModelUnreadable, if it is another kind of control model, or has no weights.
    """
    for suffixes, what in _OTHER_CONTROLS.items():
        if has_suffix(header, *suffixes):
            raise ModelUnreadable(f"this is {what}: only complete ControlNets are supported")
    base = base_of_text_width(width_of(header, "attn2.to_k.weight"))
    if has_prefix(header, "add_embedding.", "control_model.label_emb."):
        base = ModelBase.SDXL
    return replace(_adapter(ModelType.CONTROLNET, base, header), control_type=control_type(header.metadata))


def describe_embedding(*headers: Header) -> InspectionResult:
    """Describe an embedding from its file, or from the two that one of SDXL may have.

    Raises: ModelUnreadable, if it is for Stable Diffusion 2, incomplete, or has no weights.
    """
    words = read_words(headers)
    found = _adapter(ModelType.EMBEDDING, base_of(words), *headers)
    return replace(
        found, trigger_words=tuple(dict.fromkeys((*named(words), *found.trigger_words)))[:MAX_WORDS]
    )


def is_vae(header: Header) -> bool:
    """True if the file contains an encoder to latents and a decoder from them."""
    return any(name in header.tensors for name in _VAE_LATENTS) and any(
        name in header.tensors for name in _VAE_PIXELS
    )


def describe_vae(header: Header) -> InspectionResult:
    """Describe a VAE. Those of SD and SDXL have the same architecture, so only its metadata can tell.

    Raises: ModelUnreadable, if it has another number of latent channels, or no weights.
    """
    if width_of(header, *_VAE_LATENTS) != _LATENT_CHANNELS:
        raise stranger("a VAE for another model family")
    return _adapter(ModelType.VAE, None, header)


def _adapter(model_type: ModelType, base: ModelBase | None, *headers: Header) -> InspectionResult:
    weights = tuple(entry for header in headers for entry in header.tensors.values())
    if not any(entry.parameters for entry in weights):
        raise ModelUnreadable("this file has no weights")
    return InspectionResult(
        model_type=model_type,
        model_base=base or _said_base(headers[0], model_type),
        weights=weights,
        trigger_words=trigger_words(headers[0].metadata),
    )


def _base_of_lora(layout: LoraLayout) -> ModelBase | None:
    for layer in layout.layers:
        if layer.network is Network.PROJECTING_TEXT_ENCODER or layer.place[1].startswith(_OF_SDXL):
            return ModelBase.SDXL
        if layer.network is Network.TEXT_ENCODER and layer.place[1].endswith(_READS_TEXT):
            base_of_text_width(layer.extent[1])
    if layout.text_width is not None:
        return base_of_text_width(layout.text_width)
    return base_of(layout.words) if layout.words else None


def _strange_layers(layout: LoraLayout, base: ModelBase | None) -> Iterator[str]:
    """Warnings about layers that the engine will leave out with every released checkpoint.

    Raises: ModelUnreadable, if they are most of its layers.
    """
    unknown, misfits = layout.strange_layers(base)
    theirs = "SD 1.5 and SDXL" if base is None else _NAMES[base]
    if len(unknown) > len(layout.layers) / 2:
        raise ModelUnreadable(
            f"this is a LoRA for {theirs}, but most of its layers are not: {listed(unknown)}"
        )
    if unknown:
        yield f"it changes layers that are not in {theirs} and will be left out: {listed(unknown)}"
    if misfits:
        yield f"it changes layers of other shapes than in {theirs}, which will be left out: {listed(misfits)}"


def _said_base(header: Header, model_type: ModelType) -> ModelBase | None:
    """The base that the metadata names: kohya's, or by ModelSpec (github.com/Stability-AI/ModelSpec)."""
    said = header.metadata.get("ss_base_model_version", "") or header.metadata.get(
        "modelspec.architecture", ""
    )
    if said.startswith(("sd_v2", "stable-diffusion-v2")):
        raise stranger(f"a model of type {model_type} for Stable Diffusion 2")
    if said.startswith(("sdxl", "stable-diffusion-xl")):
        return ModelBase.SDXL
    return ModelBase.SD if said.startswith(("sd_v1", "stable-diffusion-v1")) else None
