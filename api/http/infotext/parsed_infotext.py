"""What a text says, as fields of a job: values that fit, models to look up, and what is left over."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from api.http.contract.enum_choices import problem_with, respelled
from api.http.contract.job_input import JobInput
from api.http.contract.json_text import cut
from kernel.protocol.enums import ModelType, Scheduler
from kernel.protocol.error_texts import in_words
from kernel.protocol.type_info import analyzed
from kernel.protocol.values import MAX_MODELS

MAX_UNMAPPED: Final = 100
"""Further ones are only counted."""
MAX_VALUE: Final = 200
_TYPES: Final[Mapping[str, object]] = {one.encode_name: one.type for one in msgspec.structs.fields(JobInput)}
UNKNOWN: Final = "this server has no such value"
NEEDS_IMAGE: Final = "needs an input image, which the text does not contain: send {field} as well"


class Unmapped(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the text says and that the job does not have: its name there, and the reason."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Mention:
    """A model that the text names: by its name or file name, by digits of its sha256, or by both."""

    field: str
    model_type: ModelType
    said_as: str
    """Its name in the text, such as `Model`."""
    name: str = ""
    digest: str = ""
    weight: float | None = None
    """Of a LoRA."""


@dataclass(slots=True)
class ParsedInfotext:
    """Collects what a text says. A value that its field does not take is left over, with the reason."""

    source: str
    job: dict[str, object] = field(default_factory=dict)
    models: list[Mention] = field(default_factory=list)
    unmapped: list[Unmapped] = field(default_factory=list)
    uncounted: int = 0
    """Things left over that are not listed."""

    def take(self, name: str, said_as: str, value: object) -> bool:
        """Give the job a value, which may be a text for a number. False, if it is left over."""
        if isinstance(value, float) and not math.isfinite(value):
            self.leave(said_as, value, "must be a number")
            return False
        spelled = respelled(JobInput, {name: value})
        try:
            found = {
                one: msgspec.convert(said, analyzed(_TYPES[one]), strict=False)
                for one, said in spelled.items()
            }
        except msgspec.ValidationError as error:
            is_word = name == "scheduler" and isinstance(value, str)
            reason = problem_with(Scheduler, str(value)) if is_word else in_words(str(error))[1]
            self.leave(said_as, value, reason)
            return False
        if isinstance(found[name], float) and not math.isfinite(found[name]):
            self.leave(said_as, value, "must be a number")
            return False
        self.job.update(found)
        return True

    def take_scheduler(self, said_as: str, sampler: str, spacing_as: str = "", spacing: str = "") -> None:
        """Take a sampler and the spacing of its noise levels, or it alone if they are not known together."""
        told = len(self.unmapped)
        if spacing and self.take("scheduler", said_as, f"{sampler} {spacing}"):
            return
        del self.unmapped[told:]
        if self.take("scheduler", said_as, sampler) and spacing:
            self.leave(spacing_as, spacing, f"is not available for {sampler}")

    def mention(self, model: Mention) -> None:
        """Note a model of the job."""
        if len(self.models) < 3 * MAX_MODELS:
            self.models.append(model)
        else:
            self.leave(model.said_as, model.name, "too many models")

    def leave(self, said_as: str, value: object, reason: str = UNKNOWN) -> None:
        """Note something that the job does not have."""
        if len(self.unmapped) >= MAX_UNMAPPED:
            self.uncounted += 1
            return
        shown = value if isinstance(value, str) else repr(value)[: 2 * MAX_VALUE]
        self.unmapped.append(Unmapped(name=cut(said_as), value=cut(shown, MAX_VALUE), reason=reason))


def weight_of(value: object) -> float:
    """The weight of a LoRA; 1 if there is none."""
    return float(value) if isinstance(value, int | float) and abs(value) < 1e6 else 1.0
