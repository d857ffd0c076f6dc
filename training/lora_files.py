"""Writes LoRAs as users have them: in the format of kohya's trainer, and in that of diffusers and peft.

kohya's names of SD modules are diffusers' names with underscores; of SDXL modules, the original (LDM) names.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, tensor

from engine_worker.formats.ldm_keys import UNET_PREFIX, unet_places
from kernel.protocol.enums import ModelBase
from training.families import Family
from training.networks import architecture

KOHYA_VERSIONS = {ModelBase.SD: "sd_v1", ModelBase.SDXL: "sdxl_base_v1-0"}
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


def save_kohya(path: Path, family: Family, lora: Mapping[str, Tensor]) -> None:
    """Write a LoRA in kohya's format, in half precision."""
    tensors: dict[str, Tensor] = {}
    for name, weight in lora.items():
        module, suffix = (
            (name.removesuffix(DOWN), DOWN) if name.endswith(DOWN) else (name.removesuffix(UP), UP)
        )
        stem = "lora_unet_" + _original(module, family).replace(".", "_")
        kind = "lora_down" if suffix == DOWN else "lora_up"
        tensors[f"{stem}.{kind}.weight"] = weight.half().contiguous()
        if suffix == DOWN:
            tensors[f"{stem}.alpha"] = tensor(float(weight.shape[0])).half()
    metadata = {"ss_base_model_version": KOHYA_VERSIONS[family.base], "ss_network_module": "networks.lora"}
    save_file(tensors, path, metadata=metadata)


def save_diffusers(path: Path, lora: Mapping[str, Tensor]) -> None:
    """Write a LoRA in the format of diffusers, in half precision."""
    tensors = {f"unet.{name}": weight.half().contiguous() for name, weight in lora.items()}
    save_file(tensors, path, metadata={"format": "pt"})


def _original(module: str, family: Family) -> str:
    """Name a module as kohya's trainer does for this family."""
    if family.base is ModelBase.SD:
        return module
    places = partial(unet_places, shape=architecture(family.base).unet)
    (place,) = places(f"{module}.weight")
    return place.key.removeprefix(UNET_PREFIX).removesuffix(".weight")
