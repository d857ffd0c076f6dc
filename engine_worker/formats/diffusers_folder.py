"""Inspects checkpoints in diffusers folders by their index, configurations and headers."""

from typing import Final

import msgspec

from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.checkpoint import check_unet_inputs
from engine_worker.formats.diffusers_index import read_index
from engine_worker.formats.inspection_result import InspectionResult, base_of_text_width, believable_size_px
from engine_worker.formats.memory_profile import profile_of_folder
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.safetensors_header import Header, read_header
from kernel.protocol.enums import ModelBase, ModelType, Variant
from kernel.protocol.errors import ModelUnreadable

_STEMS: Final = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
    "": "diffusion_pytorch_model",
}
"""The components whose weights are loaded, and the names of their files; "" is a folder that is one
component."""
_CHECKPOINT_PARTS: Final = ("unet", "vae", "text_encoder", "text_encoder_2")
_LATENT_CHANNELS: Final = 4
_PIXELS_PER_LATENT: Final = 8


class _PartConfig(msgspec.Struct, frozen=True, kw_only=True):
    auto_map: object = None
    """The code that transformers would run."""


class _UNetConfig(msgspec.Struct, frozen=True, kw_only=True):
    in_channels: int = _LATENT_CHANNELS
    cross_attention_dim: int | list[int] | None = None
    sample_size: int | list[int] | None = None


class _SchedulerConfig(msgspec.Struct, frozen=True, kw_only=True):
    prediction_type: str | None = None


class _ShardIndex(msgspec.Struct, frozen=True, kw_only=True):
    weight_map: dict[str, str]


def describe_folder(folder: ModelFolder, variant: Variant | None) -> InspectionResult:
    """Describe the checkpoint in this folder; `variant` is preferred if weights exist in several.

    Raises: ModelUnreadable, if a file is missing, damaged, or not supported.
    """
    base = read_index(folder)
    unet = folder.read_json(_UNetConfig, "unet", "config.json")
    _check_unet(unet)
    parts = [part for part in _CHECKPOINT_PARTS if base is ModelBase.SDXL or part != "text_encoder_2"]
    weights = {
        part: [entry for header in part_headers(folder, part, variant) for entry in header.tensors.values()]
        for part in parts
    }
    scheduler = folder.read_json(_SchedulerConfig, "scheduler", "scheduler_config.json")
    return InspectionResult(
        model_type=ModelType.CHECKPOINT,
        model_base=base,
        weights=tuple(entry for entries in weights.values() for entry in entries),
        prediction_type=scheduler.prediction_type,
        native_size_px=_native_size_px(unet),
        memory=profile_of_folder(folder, weights),
    )


def _check_unet(config: _UNetConfig) -> None:
    width = config.cross_attention_dim
    base_of_text_width(width if isinstance(width, int) else None)
    check_unet_inputs(config.in_channels)


def _native_size_px(config: _UNetConfig) -> int | None:
    size = config.sample_size
    return believable_size_px(size * _PIXELS_PER_LATENT) if isinstance(size, int) else None


def part_headers(folder: ModelFolder, part: str, variant: Variant | None) -> list[Header]:
    """The headers of one component's weights; the component is "" in a folder that contains nothing else.

    Raises: ModelUnreadable, if a file is missing or damaged, or the configuration asks for code.
    """
    if folder.read_json(_PartConfig, part, "config.json").auto_map is not None:
        raise ModelUnreadable(
            f"{_in(part, 'config.json')} asks for custom code (auto_map), which is never run"
        )
    return [read_header(held) for held in weight_files(folder, part, variant)]


def weight_files(folder: ModelFolder, part: str, variant: Variant | None) -> list[ModelFile]:
    """One file or its shards: of the preferred variant, else of none, else of any.

    Raises: ModelUnreadable, if there are none, or only pickles.
    """
    stem = _STEMS[part]
    preferred = [f".{variant}"] if variant is not None else []
    for infix in (*preferred, "", *(f".{other}" for other in Variant)):
        whole = folder.file(part, f"{stem}{infix}.safetensors")
        if whole is not None:
            return [whole]
        index = f"{stem}.safetensors.index{infix}.json"
        if folder.file(part, index) is not None:
            return _shards(folder, part, index)
    if any(folder.file(part, name) for name in (f"{stem}.bin", f"pytorch_{stem}.bin")):
        raise ModelUnreadable(
            f"the weights of {part or 'the model'} are pickles, which are not supported: use safetensors"
        )
    raise ModelUnreadable(f"{folder.path.name} lacks the file {_in(part, f'{stem}.safetensors')}")


def _shards(folder: ModelFolder, part: str, index: str) -> list[ModelFile]:
    """A shard lies beside its index, and nowhere else."""
    names = sorted(set(folder.read_json(_ShardIndex, part, index).weight_map.values()))
    if any("/" in name or "\0" in name or not name.endswith(".safetensors") for name in names):
        raise ModelUnreadable(f"{_in(part, index)} must list only .safetensors files in its folder")
    files = [folder.file(part, name) for name in names]
    found = [held for held in files if held is not None]
    if len(found) < len(files):
        raise ModelUnreadable(
            f"{folder.path.name} is incomplete: shards of {part or 'the model'} are missing"
        )
    return found


def _in(part: str, name: str) -> str:
    return f"{part}/{name}" if part else name
