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
from engine_worker.formats.checkpoint import describe_checkpoint, is_checkpoint
from engine_worker.formats.embedding_keys import is_embedding
from engine_worker.formats.inspection_result import InspectionResult, has_prefix, stranger
from engine_worker.formats.lora_keys import is_lora
from engine_worker.formats.memory_profile import profile_of_file
from engine_worker.formats.safetensors_header import Header, read_header
from kernel.protocol.errors import ModelUnreadable

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
    ("ip_adapter.", "image_proj."): "an IP-Adapter",
}
_UNSUPPORTED: Final = {
    ("adapter.body.", "adapter.conv_in.", "body.0."): "a T2I adapter: use a ControlNet",
    ("lllite_",): "a ControlNet-LLLite: use a complete ControlNet",
    ("taesd_encoder.", "taesd_decoder.", "decoder.layers."): "a tiny autoencoder: use a complete VAE",
}


def describe_file(source: Path | ModelFile) -> InspectionResult:
    """Describe a file by its header.

    Raises: ModelUnreadable, if it is damaged or not supported.
    """
    header = read_header(source)
    name = header.path.name
    for is_it, describe in _KINDS:
        if is_it(header):
            inspected = describe(header)
            return replace(inspected, memory=profile_of_file(header, inspected))
    for prefixes, what in _STRANGERS.items():
        if has_prefix(header, *prefixes):
            raise stranger(what)
    for prefixes, what in _UNSUPPORTED.items():
        if has_prefix(header, *prefixes):
            raise ModelUnreadable(f"this is {what}")
    if has_prefix(header, "down_blocks."):
        raise ModelUnreadable(f"{name} has only a UNet: register the complete checkpoint or its folder")
    raise ModelUnreadable(f"{name} is a safetensors file, but not a supported type of model")
