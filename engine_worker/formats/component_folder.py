"""Inspects a folder that contains a single component: a VAE or a ControlNet, a LoRA or an embedding."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from engine_worker.formats.adapters import (
    describe_controlnet,
    describe_embedding,
    describe_lora,
    describe_vae,
)
from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.checkpoint import UNET_ALONE
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.diffusers_folder import read_part
from engine_worker.formats.diffusers_index import INDEX_FILE
from engine_worker.formats.embedding_keys import PAIR
from engine_worker.formats.inspection_result import InspectionResult, stranger
from engine_worker.formats.layout_check import check_latents
from engine_worker.formats.lora_keys import LORA_FILES, is_lora
from engine_worker.formats.memory_profile import profile_of_file
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.safetensors_header import Header, read_header
from engine_worker.formats.tensor_places import check_networks
from kernel.protocol.enums import ModelBase, Variant
from kernel.protocol.errors import ModelUnreadable

CONFIG_FILE: Final = "config.json"
_KINDS: Final[Mapping[str, tuple[Network, Callable[[Header], InspectionResult]]]] = {
    "AutoencoderKL": (Network.VAE, describe_vae),
    "ControlNetModel": (Network.CONTROLNET, describe_controlnet),
}
_UNSUPPORTED: Final = {
    "UNet2DConditionModel": f"a UNet alone: {UNET_ALONE}",
    "CLIPTextModel": f"a text encoder alone: {UNET_ALONE}",
    "CLIPTextModelWithProjection": f"a text encoder alone: {UNET_ALONE}",
    "AutoencoderTiny": "a tiny autoencoder: use a complete VAE",
    "T2IAdapter": "a T2I adapter: use a ControlNet",
    "MultiAdapter": "a T2I adapter: use a ControlNet",
    "MotionAdapter": "a motion module of AnimateDiff: only images are drawn here",
    "ControlNetUnionModel": "a union ControlNet: only complete ControlNets are supported",
    "ControlNetXSAdapter": "a ControlNet-XS: only complete ControlNets are supported",
}
"""By the class that the configuration names."""
_BASES_BY_SCALE: Final = {0.18215: ModelBase.SD, 0.13025: ModelBase.SDXL}
"""The scaling factor of latents identifies the base that a VAE was trained for."""


class _Config(msgspec.Struct, frozen=True, kw_only=True):
    class_name: str | None = msgspec.field(name="_class_name", default=None)
    architectures: tuple[str, ...] | None = None
    """The classes of transformers' models."""
    scaling_factor: float | None = None
    global_pool_conditions: bool = False


def is_component(folder: ModelFolder) -> bool:
    """True if the folder is one component or adapter, not a complete checkpoint."""
    if folder.file(INDEX_FILE) is not None:
        return False
    return folder.file(CONFIG_FILE) is not None or bool(adapter_files(folder))


def is_known_component(path: Path, roots: Sequence[Path]) -> bool:
    """True if the configuration in that folder is that of a VAE or a ControlNet."""
    try:
        return ModelFolder(path, roots).read_json(_Config, CONFIG_FILE).class_name in _KINDS
    except ModelUnreadable:
        return False


def adapter_files(folder: ModelFolder) -> tuple[ModelFile, ...]:
    """The weights of a LoRA that peft or diffusers saved as a folder, or of an embedding in two files; none
    in a folder of another kind."""
    for names in (*((name,) for name in LORA_FILES), PAIR):
        found = [held for name in names if (held := folder.file(name)) is not None]
        if found and folder.file(CONFIG_FILE) is None:
            return tuple(found)
    return ()


def describe_component(folder: ModelFolder, variant: Variant | None) -> InspectionResult:
    """Describe the component; `variant` is preferred if its weights exist in several.

    Raises: ModelUnreadable, if a file is missing, damaged, or not supported.
    """
    if (files := adapter_files(folder)) and folder.file(INDEX_FILE) is None:
        headers = [read_header(held) for held in files]
        return describe_lora(*headers) if is_lora(headers[0]) else describe_embedding(*headers)
    config = folder.read_json(_Config, CONFIG_FILE)
    kind = _KINDS.get(config.class_name or "")
    if kind is None:
        raise _unknown(config.class_name or next(iter(config.architectures or ()), None))
    if config.global_pool_conditions:
        raise ModelUnreadable("ControlNets with global pooling (shuffle) are not supported")
    network, describe = kind
    plan = read_part(folder, "", network, variant)
    tensors = {name: entry for header in plan.files for name, entry in header.tensors.items()}
    metadata = {name: text for header in plan.files for name, text in header.metadata.items()}
    inspected = describe(Header(folder.path, tensors, metadata))
    use = check_networks([plan])
    if network is Network.VAE:
        check_latents(plan.config)
    return replace(
        inspected,
        model_base=inspected.model_base or _BASES_BY_SCALE.get(config.scaling_factor or 0.0),
        weights=use.all_weights(),
        memory=profile_of_file(inspected.model_type, use.all_weights()),
        leftovers=use.leftovers,
        warnings=(*(text for header in plan.files for text in header.warnings), *use.warnings()),
    )


def _unknown(name: str | None) -> ModelUnreadable:
    if name in _UNSUPPORTED:
        return ModelUnreadable(f"this is {_UNSUPPORTED[name]}")
    return stranger(f"a folder for {name!r:.80}")
