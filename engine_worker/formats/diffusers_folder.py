"""Checkpoints in diffusers folders: inspection and layout, by index, configurations and headers."""

from collections.abc import Mapping
from typing import Final

import msgspec

from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.checkpoint import check_unet_inputs
from engine_worker.formats.checkpoint_layout import (
    CheckpointLayout,
    Config,
    Locate,
    Network,
    NetworkPlan,
    TokenizerPlan,
)
from engine_worker.formats.diffusers_index import FolderIndex, read_index
from engine_worker.formats.inspection_result import (
    InspectionResult,
    base_of_text_width,
    believable_size_px,
)
from engine_worker.formats.layout_check import check_layout, warnings_of
from engine_worker.formats.ldm_keys import Stored
from engine_worker.formats.memory_profile import profile_of_layout
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.safetensors_header import read_header
from engine_worker.formats.scheduler_config import check_scheduler, without_nulls
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
_LATENT_CHANNELS: Final = 4
_PIXELS_PER_LATENT: Final = 8


class _UNetConfig(msgspec.Struct, frozen=True, kw_only=True):
    in_channels: int = _LATENT_CHANNELS
    cross_attention_dim: int | list[int] | None = None
    sample_size: int | list[int] | None = None


class _ShardIndex(msgspec.Struct, frozen=True, kw_only=True):
    weight_map: dict[str, str]


# Names that the VAE's attention had before diffusers 0.17; many published folders still use them.
_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def same_place(name: str) -> tuple[Stored, ...]:
    """The parameter's own name."""
    return (Stored(name),)


def text_encoder_places(name: str) -> tuple[Stored, ...]:
    """Files written by transformers 5 may lack the prefix that all others have."""
    plain = name.removeprefix("text_model.")
    return (Stored(name), Stored(f"text_model.{plain}"), Stored(plain))


def autoencoder_places(name: str) -> tuple[Stored, ...]:
    """The keys of a VAE's parameter: the current name, then the one before diffusers 0.17."""
    old = name
    for word, former in _OLD_ATTENTION.items():
        old = old.replace(f".attentions.0.{word}.", f".attentions.0.{former}.")
    return (Stored(name), Stored(old))


_PLACES: Final[Mapping[Network, Locate]] = {
    Network.UNET: same_place,
    Network.VAE: autoencoder_places,
    Network.TEXT_ENCODER: text_encoder_places,
    Network.PROJECTING_TEXT_ENCODER: text_encoder_places,
    Network.CONTROLNET: same_place,
}
_TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_ALL_TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""The files that transformers looks for."""


def describe_folder(folder: ModelFolder, variant: Variant | None) -> InspectionResult:
    """Describe the checkpoint in this folder; `variant` is preferred if weights exist in several.

    Raises: ModelUnreadable, if a file is missing, damaged, or not supported.
    """
    index = read_index(folder)
    unet = folder.read_json(_UNetConfig, "unet", "config.json")
    _check_unet(unet)
    layout = read_folder(folder, index, variant)
    use = check_layout(layout)
    headers = {header.path: header for plan in layout.networks for header in plan.files}.values()
    return InspectionResult(
        model_type=ModelType.CHECKPOINT,
        model_base=index.base,
        weights=use.all_weights(),
        prediction_type=check_scheduler(index.scheduler, layout.scheduler_config),
        native_size_px=_native_size_px(unet),
        memory=profile_of_layout(layout, use.weights),
        leftovers=use.leftovers,
        warnings=(
            *(text for header in headers for text in header.warnings),
            *warnings_of(layout, use),
        ),
    )


def _check_unet(config: _UNetConfig) -> None:
    width = config.cross_attention_dim
    base_of_text_width(width if isinstance(width, int) else None)
    check_unet_inputs(config.in_channels)


def _native_size_px(config: _UNetConfig) -> int | None:
    size = config.sample_size
    return believable_size_px(size * _PIXELS_PER_LATENT) if isinstance(size, int) else None


def read_folder(folder: ModelFolder, index: FolderIndex, variant: Variant | None) -> CheckpointLayout:
    """How to build the networks of a diffusers folder; `variant` is preferred if weights exist in several.

    Raises: ModelUnreadable, if a file is missing or damaged.
    """
    encoders = [read_part(folder, "text_encoder", Network.TEXT_ENCODER, variant)]
    tokenizers = [_tokenizer(folder, "tokenizer")]
    if index.base is ModelBase.SDXL:
        encoders.append(read_part(folder, "text_encoder_2", Network.PROJECTING_TEXT_ENCODER, variant))
        tokenizers.append(_tokenizer(folder, "tokenizer_2"))
    return CheckpointLayout(
        base=index.base,
        unet=read_part(folder, "unet", Network.UNET, variant),
        vae=read_part(folder, "vae", Network.VAE, variant) if index.has_vae else None,
        text_encoders=tuple(encoders),
        tokenizers=tuple(tokenizers),
        scheduler_config=without_nulls(_config(folder, "scheduler", "scheduler_config.json")),
        zeroes_empty_negative=index.zeroes_empty_negative,
    )


def read_part(folder: ModelFolder, part: str, network: Network, variant: Variant | None) -> NetworkPlan:
    """How to build one network of a folder; `part` is empty if the folder contains nothing else.

    Raises: ModelUnreadable, if a file is missing or damaged, or the configuration asks for code.
    """
    config = _config(folder, part, "config.json")
    if config.get("auto_map") is not None:
        raise ModelUnreadable(
            f"{_in(part, 'config.json')} asks for custom code (auto_map), which is never run"
        )
    files = tuple(read_header(held) for held in weight_files(folder, part, variant))
    return NetworkPlan(network=network, config=config, locate=_PLACES[network], files=files)


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
        for index in index_names(stem, infix):
            if folder.file(part, index) is not None:
                return _shards(folder, part, index)
    infixes = ("", *(f".{other}" for other in Variant))
    pickles = [f"{name}{infix}.bin" for name in (stem, f"pytorch_{stem}") for infix in infixes]
    if any(folder.file(part, name) for name in pickles):
        raise ModelUnreadable(
            f"the weights of {part or 'the model'} are pickles, which are not supported: use safetensors"
        )
    raise ModelUnreadable(f"{folder.path.name} lacks the file {_in(part, f'{stem}.safetensors')}")


def index_names(stem: str, infix: str) -> tuple[str, ...]:
    """The index of shards, as the versions of diffusers have named that of a variant."""
    names = (
        f".safetensors.index{infix}.json",
        f"{infix}.safetensors.index.json",
        f".safetensors{infix}.index.json",
    )
    return tuple(f"{stem}{name}" for name in (names if infix else names[:1]))


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


def _tokenizer(folder: ModelFolder, part: str) -> TokenizerPlan:
    # Without these files transformers would make a tokenizer with an empty vocabulary.
    if not any(all(folder.file(part, name) for name in names) for names in _TOKENIZER_FILES):
        raise ModelUnreadable(f"{folder.path.name}/{part} has no CLIP tokenizer")
    files = {name: folder.file(part, name) for name in _ALL_TOKENIZER_FILES}
    return TokenizerPlan({name: held for name, held in files.items() if held is not None})


def _config(folder: ModelFolder, *names: str) -> Config:
    return folder.read_json(dict[str, object], *names)
