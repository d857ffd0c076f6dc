"""Inspects models that are added to a checkpoint (LoRA, embedding, ControlNet, VAE) by names and shapes."""

from dataclasses import replace
from typing import Final

from engine_worker.formats.inspection_result import (
    InspectionResult,
    base_of_text_width,
    has_prefix,
    has_suffix,
    stranger,
    width_of,
)
from engine_worker.formats.metadata import control_type, trigger_words
from engine_worker.formats.safetensors_header import Entry, Header
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import ModelUnreadable

_LORA_SUFFIXES: Final = (
    ".lora_down.weight",
    ".lora.down.weight",
    "_lora.down.weight",
    ".lora_linear_layer.down.weight",
    ".lora_A.weight",
    ".lora_A.default.weight",
    ".hada_w1_a",
    ".lokr_w1",
    ".lokr_w1_a",
)
_LORA_CROSS_ATTENTION: Final = tuple(
    f"{layer}{suffix}"
    for layer in ("attn2_to_k", "attn2.to_k", "attn2.processor.to_k_lora")
    for suffix in (".lora_down.weight", ".lora.down.weight", ".lora_A.weight", ".down.weight")
)
_LORA_STRANGERS: Final = (
    "transformer.",
    "lora_transformer_",
    "lora_unet_double_blocks",
    "lora_unet_joint_blocks",
    "diffusion_model.double_blocks",
)
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
_EMBEDDING_NAMES: Final = frozenset({"emb_params", "clip_l", "clip_g"})
_MAX_EMBEDDING_VECTORS: Final = 1_000
_CLIP_G_WIDTH: Final = 1280


def is_lora(header: Header) -> bool:
    """True if the file contains low-rank factors."""
    return has_suffix(header, *_LORA_SUFFIXES)


def describe_lora(header: Header) -> InspectionResult:
    """Describe a LoRA; its base is None if none of its layers depends on it.

    Raises: ModelUnreadable, if it is for an unsupported base, or has no weights.
    """
    if has_prefix(header, *_LORA_STRANGERS):
        raise stranger("a LoRA for another model family")
    return _adapter(ModelType.LORA, _base_of_lora(header), header)


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


def is_embedding(header: Header) -> bool:
    """True if the file contains only a few vectors. A single tensor may have any name, often the embedding's
    word."""
    is_named_so = len(header.tensors) == 1 or header.tensors.keys() <= _EMBEDDING_NAMES
    return bool(header.tensors) and is_named_so and all(map(_is_vectors, header.tensors.values()))


def describe_embedding(header: Header) -> InspectionResult:
    """Describe an embedding: SDXL has vectors for two text encoders.

    Raises: ModelUnreadable, if it is for Stable Diffusion 2, or has no weights.
    """
    widths = {entry.shape[-1] for entry in header.tensors.values()}
    if "clip_g" in header.tensors or _CLIP_G_WIDTH in widths:
        return _adapter(ModelType.EMBEDDING, ModelBase.SDXL, header)
    width = widths.pop() if len(widths) == 1 else None
    return _adapter(ModelType.EMBEDDING, base_of_text_width(width), header)


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


def _adapter(model_type: ModelType, base: ModelBase | None, header: Header) -> InspectionResult:
    weights = tuple(header.tensors.values())
    if not any(entry.parameters for entry in weights):
        raise ModelUnreadable("this file has no weights")
    return InspectionResult(
        model_type=model_type,
        model_base=base or _said_base(header, model_type),
        weights=weights,
        trigger_words=trigger_words(header.metadata),
    )


def _base_of_lora(header: Header) -> ModelBase | None:
    if has_prefix(header, "lora_te2_", "text_encoder_2."):
        return ModelBase.SDXL
    return base_of_text_width(width_of(header, *_LORA_CROSS_ATTENTION))


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


def _is_vectors(entry: Entry) -> bool:
    return len(entry.shape) == 1 or (len(entry.shape) == 2 and entry.shape[0] <= _MAX_EMBEDDING_VECTORS)
