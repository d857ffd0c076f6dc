"""A diffusers folder as a blueprint."""

from engine_worker.engine.blueprint import Blueprint, Config, Network, NetworkPlan, TokenizerPlan
from engine_worker.engine.ldm_keys import Stored
from engine_worker.fetch.diffusers_folder import weight_files
from engine_worker.fetch.diffusers_index import INDEX_FILE
from engine_worker.fetch.model_folder import ModelFolder
from engine_worker.header import read_header
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.vocabulary import ModelBase, Variant

# Names that the VAE's attention had before diffusers 0.17; many published folders still use them.
_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
_TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))


def read_folder(folder: ModelFolder, base: ModelBase, variant: Variant | None) -> Blueprint:
    """How to build the parts of a diffusers folder; `variant` is preferred where weights come in several.

    Raises: ModelUnreadable, if something in it is missing or damaged.
    """
    encoders = [_network(folder, "text_encoder", Network.TEXT_ENCODER, variant)]
    tokenizers = [_tokenizer(folder, "tokenizer")]
    if base is ModelBase.SDXL:
        encoders.append(_network(folder, "text_encoder_2", Network.PROJECTING_TEXT_ENCODER, variant))
        tokenizers.append(_tokenizer(folder, "tokenizer_2"))
    index = _config(folder, INDEX_FILE)
    return Blueprint(
        base=base,
        unet=_network(folder, "unet", Network.UNET, variant),
        vae=_network(folder, "vae", Network.VAE, variant),
        text_encoders=tuple(encoders),
        tokenizers=tuple(tokenizers),
        scheduler_config=_config(folder, "scheduler", "scheduler_config.json"),
        zeroes_empty_negative=bool(index.get("force_zeros_for_empty_prompt", base is ModelBase.SDXL)),
    )


def _network(folder: ModelFolder, part: str, network: Network, variant: Variant | None) -> NetworkPlan:
    places = {Network.UNET: _same_place, Network.VAE: _vae_places}
    return NetworkPlan(
        network=network,
        config=_config(folder, part, "config.json"),
        locate=places.get(network, _text_places),
        files=tuple(read_header(path) for path in weight_files(folder, part, variant)),
    )


def _tokenizer(folder: ModelFolder, part: str) -> TokenizerPlan:
    # Without its files transformers would make a tokenizer that knows no words.
    if not any(all(folder.file(part, name) for name in names) for names in _TOKENIZER_FILES):
        raise ModelUnreadable(f"{folder.path.name}/{part} holds no CLIP tokenizer")
    return TokenizerPlan(folder.path / part)


def _config(folder: ModelFolder, *names: str) -> Config:
    return folder.read_json(dict[str, object], *names)


def _same_place(name: str) -> tuple[Stored, ...]:
    return (Stored(name),)


def _text_places(name: str) -> tuple[Stored, ...]:
    """Files written by transformers 5 may lack the prefix that all others have."""
    plain = name.removeprefix("text_model.")
    return (Stored(name), Stored(f"text_model.{plain}"), Stored(plain))


def _vae_places(name: str) -> tuple[Stored, ...]:
    old = name
    for word, former in _OLD_ATTENTION.items():
        old = old.replace(f".attentions.0.{word}.", f".attentions.0.{former}.")
    return (Stored(name), Stored(old))
