"""Checkpoints as diffusers folders: what the index, the configs and the headers of the weights tell."""

from pathlib import Path
from typing import Final

import msgspec

from engine_worker.fetch.diffusers_index import INDEX_FILE, read_index
from engine_worker.fetch.families import base_of_text_width
from engine_worker.fetch.finding import Finding, believable_size_px
from engine_worker.fetch.model_folder import ModelFolder
from engine_worker.header import Entry, read_header
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.vocabulary import ModelBase, ModelType, Variant

_STEMS: Final = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
"""The parts whose weights are loaded, and what their files are called."""
_LATENT_CHANNELS: Final = 4
_PIXELS_PER_LATENT: Final = 8


class _PartConfig(msgspec.Struct, frozen=True, kw_only=True):
    auto_map: object = None
    """Where transformers would find code to run."""


class _UNetConfig(msgspec.Struct, frozen=True, kw_only=True):
    in_channels: int = _LATENT_CHANNELS
    cross_attention_dim: int | list[int] | None = None
    sample_size: int | list[int] | None = None


class _SchedulerConfig(msgspec.Struct, frozen=True, kw_only=True):
    prediction_type: str | None = None


class _ShardIndex(msgspec.Struct, frozen=True, kw_only=True):
    weight_map: dict[str, str]


def describe_folder(folder: ModelFolder, variant: Variant | None) -> Finding:
    """What the checkpoint in this folder is; `variant` is preferred where weights come in several.

    Raises: ModelUnreadable, if anything in it is missing, damaged, or not known here.
    """
    if folder.file(INDEX_FILE) is None and (part := _lone_weights(folder)) is not None:
        raise ModelUnreadable(f"{folder.path.name} holds one part of a model: register its file {part}")
    base = read_index(folder)
    unet = folder.read_json(_UNetConfig, "unet", "config.json")
    _check_unet(unet)
    parts = [part for part in _STEMS if base is ModelBase.SDXL or part != "text_encoder_2"]
    scheduler = folder.read_json(_SchedulerConfig, "scheduler", "scheduler_config.json")
    return Finding(
        model_type=ModelType.CHECKPOINT,
        model_base=base,
        weights=tuple(entry for part in parts for entry in _weights_of(folder, part, variant)),
        prediction_type=scheduler.prediction_type,
        native_size_px=_native_size_px(unet),
    )


def _lone_weights(folder: ModelFolder) -> str | None:
    """The file to register instead, where a folder holds a VAE or a ControlNet alone."""
    names = [f"diffusion_pytorch_model{infix}.safetensors" for infix in ("", ".fp16")]
    return next((name for name in names if folder.file(name) is not None), None)


def _check_unet(config: _UNetConfig) -> None:
    width = config.cross_attention_dim
    base_of_text_width(width if isinstance(width, int) else None)
    if config.in_channels != _LATENT_CHANNELS:
        raise ModelUnreadable(
            f"this checkpoint's UNet takes {config.in_channels} channels, as those for inpainting do: "
            "only text to image works"
        )


def _native_size_px(config: _UNetConfig) -> int | None:
    size = config.sample_size
    return believable_size_px(size * _PIXELS_PER_LATENT) if isinstance(size, int) else None


def _weights_of(folder: ModelFolder, part: str, variant: Variant | None) -> list[Entry]:
    if folder.read_json(_PartConfig, part, "config.json").auto_map is not None:
        raise ModelUnreadable(f"{part}/config.json asks for code, which is never run")
    headers = [read_header(path) for path in weight_files(folder, part, variant)]
    return [entry for header in headers for entry in header.tensors.values()]


def weight_files(folder: ModelFolder, part: str, variant: Variant | None) -> list[Path]:
    """One file or its shards: of the preferred variant, else without a variant's name, else of any."""
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
        raise ModelUnreadable(f"the weights of {part} are pickles, never opened here: convert to safetensors")
    raise ModelUnreadable(f"{folder.path.name} lacks the file {part}/{stem}.safetensors")


def _shards(folder: ModelFolder, part: str, index: str) -> list[Path]:
    """A shard lies beside its index, and nowhere else."""
    names = sorted(set(folder.read_json(_ShardIndex, part, index).weight_map.values()))
    if any("/" in name or "\0" in name or not name.endswith(".safetensors") for name in names):
        raise ModelUnreadable(f"{part}/{index} points outside its folder, or at something else than weights")
    paths = [folder.file(part, name) for name in names]
    found = [path for path in paths if path is not None]
    if len(found) < len(paths):
        raise ModelUnreadable(f"{folder.path.name} is not complete: shards of {part} are missing")
    return found
