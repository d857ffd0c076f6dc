"""Inspects a single .safetensors file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from engine_worker.formats.adapters import (
    describe_controlnet,
    describe_embedding,
    describe_lora,
    describe_vae,
    is_controlnet,
    is_vae,
)
from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.checkpoint import UNET_ALONE, describe_checkpoint, is_checkpoint
from engine_worker.formats.component_plans import controlnet_plan_of_file, vae_plan_of_file
from engine_worker.formats.embedding_keys import is_embedding
from engine_worker.formats.inspection_result import InspectionResult, has_prefix, stranger
from engine_worker.formats.layout_check import check_latents, check_layout, warnings_of
from engine_worker.formats.ldm_layout import read_single_file
from engine_worker.formats.lora_keys import is_lora
from engine_worker.formats.memory_profile import profile_of_file, profile_of_layout
from engine_worker.formats.safetensors_header import Header, read_header
from engine_worker.formats.tensor_places import TensorUse, check_networks
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.memory import MemoryProfile

_KINDS: Final[tuple[tuple[Callable[[Header], bool], Callable[[Header], InspectionResult]], ...]] = (
    (is_controlnet, describe_controlnet),
    (is_lora, describe_lora),
    (is_checkpoint, describe_checkpoint),
    (is_embedding, describe_embedding),
    (is_vae, describe_vae),
)
"""From the most to the least specific: a ControlNet or a checkpoint may contain names of the next ones."""

_STRANGERS: Final = {
    ("double_blocks.", "single_blocks."): "a Flux model",
    ("joint_blocks.",): "a Stable Diffusion 3 model",
    ("transformer_blocks.", "single_transformer_blocks."): "a transformer of another model family",
}
_IP_ADAPTER: Final = ("ip_adapter.", "image_proj.")
"""Its files may contain a LoRA as well."""
_UNSUPPORTED: Final = {
    ("conv_first.", "model.1.sub.", "layers.0.residual_group.", "body.0.weight"): (
        "an upscaler, which is not supported"
    ),
    ("vision_model.", "visual."): "a CLIP vision model, which nothing here uses",
    (
        "text_model.",
        "transformer.text_model.",
        "transformer.resblocks.",
        "encoder.block.0.",
        "shared.",
        "model.layers.0.",
    ): ("a text encoder alone: use a checkpoint, which contains its own"),
    ("down_blocks.0.motion_modules.", "mid_block.motion_modules."): "a motion module: video is not supported",
    ("image_encoder.", "mask_decoder."): "a segmentation model, which nothing here uses",
    ("adapter.body.", "adapter.conv_in.", "body.0."): "a T2I adapter: use a ControlNet",
    ("lllite_",): "a ControlNet-LLLite: use a complete ControlNet",
    (
        "taesd_encoder.",
        "taesd_decoder.",
        "decoder.layers.",
        "1.conv.0.",
        "3.conv.0.",
    ): "a tiny autoencoder: use a complete VAE",
}


_SUPPORTED: Final = "use checkpoints, LoRAs, embeddings, VAEs and ControlNets of SD 1.5 and SDXL"


def describe_file(source: Path | ModelFile) -> InspectionResult:
    """Describe a file by its header.

    Raises: ModelUnreadable, if it is damaged or not supported.
    """
    header = read_header(source)
    name = header.path.name
    if has_prefix(header, *_IP_ADAPTER):
        raise ModelUnreadable("this is an IP-Adapter, which is not supported")
    for is_it, describe in _KINDS:
        if is_it(header):
            return _checked(header, describe(header))
    for prefixes, what in _STRANGERS.items():
        if has_prefix(header, *prefixes):
            raise stranger(what)
    for prefixes, what in _UNSUPPORTED.items():
        if has_prefix(header, *prefixes):
            raise ModelUnreadable(f"this is {what}")
    if not header.tensors:
        raise ModelUnreadable(f"{name} contains no tensors: fetch it again")
    if has_prefix(header, "down_blocks.", "input_blocks."):
        raise ModelUnreadable(f"{name} is a UNet alone, without text encoders: {UNET_ALONE}")
    raise ModelUnreadable(f"{name} is a safetensors file, but not a supported type of model: {_SUPPORTED}")


def _checked(header: Header, inspected: InspectionResult) -> InspectionResult:
    """Check what loading will check, by the same tables.

    Raises: ModelUnreadable.
    """
    match inspected.model_type:
        case ModelType.CHECKPOINT:
            layout = read_single_file(header, inspected)
            use = check_layout(layout)
            memory: MemoryProfile | None = profile_of_layout(layout, use.weights)
            warnings = warnings_of(layout, use)
        case ModelType.VAE | ModelType.CONTROLNET:
            use = _check_component(header, inspected)
            memory = profile_of_file(inspected.model_type, use.all_weights())
            warnings = use.warnings()
        case _:
            use = TensorUse({}, (), ())
            memory = profile_of_file(inspected.model_type, inspected.weights)
            warnings = ()
    return replace(
        inspected,
        weights=use.all_weights() or inspected.weights,
        memory=memory,
        leftovers=use.leftovers,
        warnings=(*inspected.warnings, *header.warnings, *warnings),
    )


def _check_component(header: Header, inspected: InspectionResult) -> TensorUse:
    if inspected.model_type is ModelType.VAE:
        plan = vae_plan_of_file(header)
        check_latents(plan.config)
    else:
        plan = controlnet_plan_of_file(header, inspected.model_base or ModelBase.SD)
    return check_networks([plan])
