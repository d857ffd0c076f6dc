"""The layout of a checkpoint that is a diffusers folder, and the keys under which it stores parameters."""

from collections.abc import Mapping

from engine_worker.formats.checkpoint_layout import (
    CheckpointLayout,
    Config,
    Locate,
    Network,
    NetworkPlan,
    TokenizerPlan,
)
from engine_worker.formats.diffusers_folder import weight_files
from engine_worker.formats.diffusers_index import INDEX_FILE
from engine_worker.formats.ldm_keys import Stored
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.safetensors_header import read_header
from kernel.protocol.enums import ModelBase, Variant
from kernel.protocol.errors import ModelUnreadable

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


_PLACES: Mapping[Network, Locate] = {
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


def read_folder(folder: ModelFolder, base: ModelBase, variant: Variant | None) -> CheckpointLayout:
    """How to build the networks of a diffusers folder; `variant` is preferred if weights exist in several.

    Raises: ModelUnreadable, if a file is missing or damaged.
    """
    encoders = [read_part(folder, "text_encoder", Network.TEXT_ENCODER, variant)]
    tokenizers = [_tokenizer(folder, "tokenizer")]
    if base is ModelBase.SDXL:
        encoders.append(read_part(folder, "text_encoder_2", Network.PROJECTING_TEXT_ENCODER, variant))
        tokenizers.append(_tokenizer(folder, "tokenizer_2"))
    index = _config(folder, INDEX_FILE)
    return CheckpointLayout(
        base=base,
        unet=read_part(folder, "unet", Network.UNET, variant),
        vae=read_part(folder, "vae", Network.VAE, variant),
        text_encoders=tuple(encoders),
        tokenizers=tuple(tokenizers),
        scheduler_config=_config(folder, "scheduler", "scheduler_config.json"),
        zeroes_empty_negative=bool(index.get("force_zeros_for_empty_prompt", base is ModelBase.SDXL)),
    )


def read_part(folder: ModelFolder, part: str, network: Network, variant: Variant | None) -> NetworkPlan:
    """How to build one network of a folder; `part` is empty if the folder contains nothing else.

    Raises: ModelUnreadable.
    """
    return NetworkPlan(
        network=network,
        config=_config(folder, part, "config.json"),
        locate=_PLACES[network],
        files=tuple(read_header(held) for held in weight_files(folder, part, variant)),
    )


def _tokenizer(folder: ModelFolder, part: str) -> TokenizerPlan:
    # Without these files transformers would make a tokenizer with an empty vocabulary.
    if not any(all(folder.file(part, name) for name in names) for names in _TOKENIZER_FILES):
        raise ModelUnreadable(f"{folder.path.name}/{part} has no CLIP tokenizer")
    files = {name: folder.file(part, name) for name in _ALL_TOKENIZER_FILES}
    return TokenizerPlan({name: held for name, held in files.items() if held is not None})


def _config(folder: ModelFolder, *names: str) -> Config:
    return folder.read_json(dict[str, object], *names)
