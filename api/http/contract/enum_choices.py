"""Words of closed sets, in the spellings that people use: `DPM++ 2M Karras`, `Euler a`, `SDXL`, `LoRA`."""

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Final, TypeVar

from msgspec import Meta

from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.enums import (
    ControlType,
    EngineState,
    ImageFileType,
    ImageFit,
    JobState,
    ModelBase,
    ModelState,
    ModelType,
    PromptTechnique,
    Scheduler,
    Variant,
)
from kernel.protocol.schedulers import KINDS, NEAREST

Word = TypeVar("Word", bound=StrEnum)

MAX_WORD: Final = 100
_EXAMPLES: Final = 3

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
    }
)
"""Other names, both sides folded: lower case, `++` as pp, without blanks, dashes and underscores."""

_NEAREST: Final = MappingProxyType({_plain(text): near for text, near in NEAREST.items()})


def _meta(kind: type[StrEnum]) -> Meta:
    """No enum: a program that is made from the description would refuse the spellings that we take."""
    words = [word.value for word in kind]
    return Meta(
        max_length=MAX_WORD,
        description=f"One of {', '.join(words)}. Case and common spelling variants do not matter.",
        examples=words[:_EXAMPLES],
    )


ModelTypeWord = Annotated[str, _meta(ModelType)]
ModelBaseWord = Annotated[str, _meta(ModelBase)]
ModelStateWord = Annotated[str, _meta(ModelState)]
EngineStateWord = Annotated[str, _meta(EngineState)]
JobStateWord = Annotated[str, _meta(JobState)]
VariantWord = Annotated[str, _meta(Variant)]
SchedulerWord = Annotated[str, _meta(Scheduler)]
ImageFileTypeWord = Annotated[str, _meta(ImageFileType)]
ImageFitWord = Annotated[str, _meta(ImageFit)]
ControlTypeWord = Annotated[str, _meta(ControlType)]
PromptTechniqueWord = Annotated[str, _meta(PromptTechnique)]


def fold(text: str) -> str:
    """The text without what spellings differ in."""
    plain = _plain(text)
    return ALIASES.get(plain, plain)


@lru_cache(maxsize=1_024)
def find_choice(kind: type[Word], text: str) -> Word | None:
    """The word that this text means, or None."""
    wanted = fold(text)
    return next((word for word in kind if fold(word.value) == wanted), None)


def check_choice(kind: type[StrEnum], field: str, text: str | None, faults: ValidationErrors) -> None:
    """Find fault with a text that means no word of the set."""
    if text is not None and find_choice(kind, text) is None:
        faults.wrong(field, f"{hint_of(kind, text)}must be one of {', '.join(kind)}")


def hint_of(kind: type[StrEnum], text: str) -> str:
    """A sentence on what comes near, of a scheduler that is known elsewhere and not here; else nothing."""
    near = _NEAREST.get(_plain(text)) if kind is Scheduler else None
    return f"{text} is not available, the closest are {' and '.join(near)}; " if near else ""


def choice_or_none(kind: type[Word], text: str | None) -> Word | None:
    """The word that an optional text means."""
    return None if text is None else find_choice(kind, text)
