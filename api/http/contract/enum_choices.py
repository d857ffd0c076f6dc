"""Enum values in the spellings that people use: `DPM++ 2M Karras`, `Euler a`, `SDXL`, `LoRA`."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeVar

from msgspec import Struct, inspect

from api.http.contract.json_text import cut
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.enums import ImageFit, ModelType, Scheduler
from kernel.protocol.schedulers import KINDS, LEVELS, NEAREST, problem_with_levels

Word = TypeVar("Word", bound=StrEnum)

MAX_WORD: Final = 100
MAX_LISTED: Final = 12
"""Of an enum with more words, an error names only those that are near."""
MAX_ALIKE: Final = 3
LATER_TYPES: Final = frozenset({"ipadapter", "upscaler"})

_PLACE: Final = re.compile(r"\[(?P<index>\d+)\]", re.ASCII)
_FOLD: Final = str.maketrans("", "", " _-")


def _plain(text: str) -> str:
    return text.lower().replace("++", "pp").translate(_FOLD)


ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        _plain(text): _plain(scheduler.value)
        for scheduler, kind in KINDS.items()
        for text in (kind.label, *kind.others)
    }
    | {
        "jpg": "jpeg",
        "textualinversion": "embedding",
        "sd1": "sd",
        "sd15": "sd",
        "sd1.5": "sd",
        "float16": "fp16",
        "half": "fp16",
        "float32": "fp32",
        "full": "fp32",
        "bfloat16": "bf16",
        "midaspose": "midas",
        "mediapipepose": "mediapipe",
        "justresize": "stretch",
        "cropandresize": "crop",
        "resizeandfill": "pad",
        "wholepicture": "whole",
        "onlymasked": "masked",
        "inpaintmasked": "luminance",
        "inpaintnotmasked": "inverted",
    }
)
"""Other names, both sides folded: lower case, `++` as pp, without spaces, dashes and underscores."""

_NEAREST: Final[Mapping[type[StrEnum], Mapping[str, tuple[str, ...]]]] = MappingProxyType(
    {
        Scheduler: {_plain(text): near for text, near in NEAREST.items()},
        ImageFit: {"justresize(latentupscale)": (ImageFit.STRETCH,)},
    }
)


def fold(text: str) -> str:
    """The text in a form that is equal for all spellings."""
    plain = _plain(text)
    return ALIASES.get(plain, plain)


@lru_cache(maxsize=1_024)
def find_choice(kind: type[Word], text: str) -> Word | None:
    """The enum value that this text means; None, if it means none."""
    wanted = fold(text)
    return next((word for word in kind if fold(word.value) == wanted), None)


@lru_cache(maxsize=1_024)
def find_levels(text: str) -> tuple[Scheduler, str] | None:
    """The sampler and the noise levels that a text names together, such as `Euler a SGM Uniform`; None if it
    does not, or the sampler cannot have them."""
    found = _sampler_with_levels(text)
    return found if found is not None and problem_with_levels(*found) is None else None


def _sampler_with_levels(text: str) -> tuple[Scheduler, str] | None:
    plain = _plain(text)
    for levels, others in LEVELS.items():
        for ending in (_plain(levels), *others):
            found = find_choice(Scheduler, plain.removesuffix(ending)) if plain.endswith(ending) else None
            if found is not None and KINDS[found].spacing is None:
                return found, levels
    return None


def _without_levels(text: str) -> str:
    """The folded text without the noise levels that it ends with."""
    plain = _plain(text)
    endings = [_plain(levels) for levels in LEVELS] + ["uniform"]  # "ddim" is a sampler's name
    return next((plain.removesuffix(one) for one in endings if plain.endswith(one)), plain)


def problem_with(kind: type[StrEnum], text: str) -> str:
    """Why a text is refused that means none of an enum's words, and which words are the nearest.

    A few words are all listed; of many, only those that are spelled like it.
    """
    if kind is Scheduler and (both := _sampler_with_levels(text)) is not None:
        return problem_with_levels(*both) or ""
    plain = _without_levels(text) if kind is Scheduler else _plain(text)
    if kind is Scheduler and not plain and text.strip():
        return f"{cut(text)} is no scheduler: write a sampler before it, as in euler {cut(text)}"
    if near := _NEAREST.get(kind, {}).get(plain, ()):
        verb = "is" if len(near) == 1 else "are"
        return f"{text} is not available, the closest {verb} {' and '.join(near)}"
    if len(kind) <= MAX_LISTED:
        return f"must be one of {', '.join(kind)}"
    alike = ", ".join(_alike(kind, text))
    guess = f"did you mean {alike}? " if alike else ""
    return f"{cut(text)!r} is unknown; {guess}GET /v1/capabilities lists all {len(kind)}"


def _alike(kind: type[StrEnum], text: str) -> list[StrEnum]:
    """The words of which one spelling is nearly this text, the nearest first."""
    spellings = {_plain(word.value): word for word in kind}
    words = {fold(word.value): word for word in kind}
    spellings |= {other: words[meant] for other, meant in ALIASES.items() if meant in words}
    near = get_close_matches(_plain(text), list(spellings), n=len(spellings)) if len(text) <= MAX_WORD else []
    return list(dict.fromkeys(spellings[one] for one in near))[:MAX_ALIKE]


def respelled(kind: type[Struct], raw: Mapping[str, object]) -> dict[str, object]:
    """The fields of an object, with enum values in our spelling where they are recognized.

    A scheduler that is named together with its noise levels becomes a scheduler and an option, which does not
    replace what the object says of the same option.
    """
    choices = _choices(kind)
    found = {name: _respelled(choices.get(name), value) for name, value in raw.items()}
    for name in [name for name in found if choices.get(name) is Scheduler]:
        value, config = found[name], found.get(f"{name}_config")
        if isinstance(value, str) and len(value) <= MAX_WORD and (both := find_levels(value)) is not None:
            found[name] = both[0]
            if config is None or isinstance(config, dict):
                found[f"{name}_config"] = {"timestep_spacing": both[1], **(config or {})}
    return found


def wrong_choice(kind: type[Struct], field: str, path: str, value: object, faults: ValidationErrors) -> bool:
    """Report a value that is none of its enum; False, if something else is wrong with the field.

    `path` is the place in the field: nothing, or `[n]` in a list.
    """
    choice = _choices(kind).get(field)
    if isinstance(value, list) and (place := _PLACE.fullmatch(path)):
        value = value[int(place["index"])]
    if choice is None or not isinstance(value, str):
        return False
    if choice is ModelType and fold(value) in LATER_TYPES:
        faults.later(field, f"{value} models are not supported yet")
    else:
        faults.wrong(f"{field}{path}", problem_with(choice, value))
    return True


def _respelled(kind: type[StrEnum] | None, value: object) -> object:
    if kind is not None and isinstance(value, list):
        return [_respelled(kind, one) for one in value]
    if kind is None or not isinstance(value, str) or len(value) > MAX_WORD:
        return value
    return find_choice(kind, value) or value


@lru_cache
def _choices(kind: type[Struct]) -> dict[str, type[StrEnum]]:
    """The fields with enum values, single or in a list."""
    found = inspect.type_info(kind)
    assert isinstance(found, inspect.StructType)
    return {one.encode_name: choice for one in found.fields if (choice := _choice(one.type)) is not None}


def _choice(kind: inspect.Type) -> type[StrEnum] | None:
    match kind:
        case inspect.EnumType():
            return kind.cls if issubclass(kind.cls, StrEnum) else None
        case inspect.Metadata():
            return _choice(kind.type)
        case inspect.VarTupleType():
            return _choice(kind.item_type)
        case inspect.UnionType():
            return next((choice for one in kind.types if (choice := _choice(one)) is not None), None)
        case _:
            return None
