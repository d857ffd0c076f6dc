"""Selects the files of a repository that make up a model: only those that are loaded, in the wanted
precision."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from engine_worker.formats.diffusers_folder import index_names
from engine_worker.formats.embedding_keys import PAIR
from engine_worker.formats.lora_keys import LORA_FILES
from engine_worker.formats.lora_scales import CONFIG_FILE
from kernel.protocol.enums import ModelType, Variant
from kernel.protocol.errors import DownloadFailed
from kernel.protocol.sources import is_inside

INDEX_FILE: Final = "model_index.json"
MAX_FILES: Final = 500
MAX_LISTED: Final = 8
"""File names listed in an error message."""
_STEMS: Final = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
"""The parts with weights, and the stems of their files."""
_PLAIN_PARTS: Final = ("scheduler", "tokenizer", "tokenizer_2", *_STEMS)
_PLAIN_ENDINGS: Final = (".json", ".txt")
_TOGETHER: Final = {
    ModelType.LORA: ((LORA_FILES[0], CONFIG_FILE),),
    ModelType.EMBEDDING: (PAIR,),
}
"""Files that are one model together: a LoRA of peft, whose alpha is in a file of its own, and the two files
of an SDXL embedding."""
_PICKLES: Final = (".ckpt", ".pt", ".pth", ".bin")


def choose_files(
    names: Sequence[str], model_type: ModelType, variant: Variant | None, file: str | None
) -> tuple[str, ...]:
    """The names to download: one file, or those of a whole diffusers folder.

    Raises: DownloadFailed, if none fits, or several do.
    """
    safe = [name for name in names if is_inside(name) and not name.startswith(".")]
    if file is not None:
        if file not in safe:
            raise DownloadFailed(f"the repository has no file {file}: {_listed(_weights(safe, model_type))}")
        return (file,)
    if INDEX_FILE in safe and model_type is ModelType.CHECKPOINT:
        return _folder(safe, variant)
    for several in _TOGETHER.get(model_type, ()):
        if all(name in safe for name in several):
            return several
    return (_only(safe, model_type, variant),)


def _folder(names: Sequence[str], variant: Variant | None) -> tuple[str, ...]:
    chosen = [INDEX_FILE]
    for part in _PLAIN_PARTS:
        chosen += [
            name
            for name in names
            if _parent(name) == part and name.endswith(_PLAIN_ENDINGS) and _is_plain(name)
        ]
    for part, stem in _STEMS.items():
        inside = [name for name in names if _parent(name) == part]
        if inside:
            chosen += _weights_of_part(part, stem, inside, variant)
    if len(chosen) > MAX_FILES:
        raise DownloadFailed(f"the repository has more than {MAX_FILES} files for one model")
    return tuple(dict.fromkeys(chosen))


def _is_plain(name: str) -> bool:
    """True unless it is an index of shards, which is downloaded with them."""
    return ".index." not in name


def _weights_of_part(part: str, stem: str, inside: list[str], variant: Variant | None) -> list[str]:
    """The weights in the wanted precision, else those without a precision in their name, else any; whole or
    in shards."""
    for infix in _infixes(variant):
        whole = f"{part}/{stem}{infix}.safetensors"
        if whole in inside:
            return [whole]
        index = next((name for name in index_names(f"{part}/{stem}", infix) if name in inside), None)
        shards = [name for name in inside if _is_shard(name, f"{part}/{stem}{infix}-")]
        if index is not None and shards:
            return [index, *shards]
    raise DownloadFailed(
        f"the repository has no safetensors weights for {part}, and pickles are not supported"
    )


def _is_shard(name: str, beginning: str) -> bool:
    return name.startswith(beginning) and name.endswith(".safetensors")


def _infixes(variant: Variant | None) -> list[str]:
    preferred = [f".{variant}"] if variant is not None else []
    return [*preferred, "", *(f".{other}" for other in Variant if other is not variant)]


def _only(names: Sequence[str], model_type: ModelType, variant: Variant | None) -> str:
    """The one file with weights; if it exists in several precisions, the wanted one."""
    found = _weights(names, model_type)
    if not found:
        if any(name.endswith(_PICKLES) for name in names):
            raise DownloadFailed("the repository has only pickled weights: name a file, hf://owner/name/file")
        raise DownloadFailed("the repository has no weights")
    if len(found) == 1:
        return found[0]
    of_diffusers = [name for name in found if PurePosixPath(name).name.startswith("diffusion_pytorch_model")]
    chosen = _of_precision(of_diffusers or found, variant)
    if chosen is None:
        raise DownloadFailed(f"the repository has several files: {_listed(found)}")
    return chosen


def _of_precision(found: Sequence[str], variant: Variant | None) -> str | None:
    """The file whose name equals all the others' except for the precision; None, if the names differ
    otherwise."""
    words = {name: _precision(name) for name in found}
    if len({stem for stem, _ in words.values()}) != 1:
        return None
    wanted = [*([variant] if variant is not None else []), None, *Variant]
    return next(name for word in wanted for name in found if words[name][1] == word)


def _precision(name: str) -> tuple[str, Variant | None]:
    path = PurePosixPath(name)
    for variant in Variant:
        for mark in (f".{variant}", f"_{variant}", f"-{variant}"):
            if path.stem.endswith(mark):
                return str(path.with_name(path.stem.removesuffix(mark) + path.suffix)), variant
    return name, None


def _weights(names: Sequence[str], model_type: ModelType) -> list[str]:
    ending = ".onnx" if model_type is ModelType.BACKGROUND else ".safetensors"
    return sorted(name for name in names if name.endswith(ending))


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "it has no weights at all"
    more = ", ..." if len(names) > MAX_LISTED else ""
    return f"name one, such as hf://owner/name/{names[0]}; it has {', '.join(names[:MAX_LISTED])}{more}"


def _parent(name: str) -> str:
    return name.rpartition("/")[0]
