"""A diffusers folder as a blueprint."""

from pathlib import Path

import msgspec

from engine_worker.engine.blueprint import Blueprint, Config, Network, NetworkPlan, TokenizerPlan
from engine_worker.engine.header import read_header
from engine_worker.engine.ldm_keys import Stored
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.vocabulary import ModelBase, Variant

INDEX_FILE = "model_index.json"

_BASES = {
    "StableDiffusionPipeline": ModelBase.SD,
    "StableDiffusionXLPipeline": ModelBase.SDXL,
}
# Names that the VAE's attention had before diffusers 0.17; many published folders still use them.
_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


class _ShardIndex(msgspec.Struct, frozen=True, kw_only=True):
    weight_map: dict[str, str]


def read_folder(folder: Path, variant: Variant | None) -> Blueprint:
    """How to build the parts of a diffusers folder; `variant` is preferred where weights come in several.

    Raises: ModelUnreadable, if it is no Stable Diffusion folder, or if something in it is missing.
    """
    index = _read_json(folder / INDEX_FILE)
    base = _BASES.get(str(index.get("_class_name")))
    if base is None:
        raise ModelUnreadable(
            f"{folder.name} is made for {index.get('_class_name')}: only SD 1.5 and SDXL work"
        )
    encoders = [_network(folder, "text_encoder", Network.TEXT_ENCODER, variant)]
    tokenizers = [TokenizerPlan(_subfolder(folder, "tokenizer"))]
    if base is ModelBase.SDXL:
        encoders.append(_network(folder, "text_encoder_2", Network.PROJECTING_TEXT_ENCODER, variant))
        tokenizers.append(TokenizerPlan(_subfolder(folder, "tokenizer_2")))
    return Blueprint(
        base=base,
        unet=_network(folder, "unet", Network.UNET, variant),
        vae=_network(folder, "vae", Network.VAE, variant),
        text_encoders=tuple(encoders),
        tokenizers=tuple(tokenizers),
        scheduler_config=_read_json(_subfolder(folder, "scheduler") / "scheduler_config.json"),
        zeroes_empty_negative=bool(index.get("force_zeros_for_empty_prompt", base is ModelBase.SDXL)),
    )


def _network(folder: Path, name: str, network: Network, variant: Variant | None) -> NetworkPlan:
    place = _subfolder(folder, name)
    stem = "diffusion_pytorch_model" if network in (Network.UNET, Network.VAE) else "model"
    locate = _vae_places if network is Network.VAE else _text_places
    return NetworkPlan(
        network=network,
        config=_read_json(place / "config.json"),
        locate=_same_place if network is Network.UNET else locate,
        files=tuple(read_header(path) for path in _weight_files(place, stem, variant)),
    )


def _weight_files(place: Path, stem: str, variant: Variant | None) -> list[Path]:
    """One file or its shards; the preferred variant, else the plain files, else any variant there is."""
    infixes = [f".{variant}"] if variant is not None else []
    infixes += ["", *(f".{other}" for other in Variant if other is not variant)]
    for infix in infixes:
        whole = place / f"{stem}{infix}.safetensors"
        if whole.is_file():
            return [whole]
        shards = place / f"{stem}.safetensors.index{infix}.json"
        if shards.is_file():
            return _shards(shards)
    text = f"{place.name} holds no {stem}.safetensors"
    if any(place.glob("*.bin")):
        text += ", only a pickle (.bin), which is never opened: convert it to safetensors"
    raise ModelUnreadable(text)


def _shards(index: Path) -> list[Path]:
    try:
        names = msgspec.json.decode(index.read_bytes(), type=_ShardIndex).weight_map.values()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelUnreadable(f"{index.name} cannot be read: {error}") from error
    # A shard lies beside its index: a name that leads elsewhere is not followed.
    return [index.parent / Path(name).name for name in sorted(set(names))]


def _read_json(path: Path) -> Config:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except OSError as error:
        raise ModelUnreadable(f"{path.parent.name}/{path.name} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelUnreadable(f"{path.parent.name}/{path.name} is not a JSON object: {error}") from error


def _subfolder(folder: Path, name: str) -> Path:
    place = folder / name
    if not place.is_dir():
        raise ModelUnreadable(f"{folder.name} lacks the folder {name}")
    return place


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
