"""The types of request fields, with the limits of any installation; one's own are in its settings."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final

from msgspec import Meta

from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.enums import PromptTechnique
from kernel.protocol.prompts import LONGEST_PROMPT, MAX_CHARACTERS
from kernel.views.page import MAX_LIMIT

MAX_PRIORITY: Final = 1_000
MAX_WAIT_S: Final = 300.0
MAX_SIZE_PX: Final = 8_192
MAX_INT: Final = 2**63 - 1
"""What SQLite and msgpack hold."""
MAX_OPTIONS: Final = 64

_SHA256: Final = "^[0-9a-fA-F]{64}$"
_DEVICE: Final = "^(auto|cpu|cuda:[0-9]{1,3})$"
_COLOR: Final = "^#[0-9a-fA-F]{6}$"
FORMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        _SHA256: "64 hexadecimal digits",
        _DEVICE: "auto, cpu or cuda:N",
        _COLOR: "a color written #rrggbb, such as #ff0000 for red",
    }
)
"""What the patterns stand for, in words."""

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Id = Annotated[str, Meta(min_length=1, max_length=100)]
Uri = Annotated[str, Meta(min_length=1, max_length=4_096)]
Tag = Annotated[str, Meta(min_length=1, max_length=100)]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=64)]
# In Python `$` lets a last line break through, in JSON Schema it does not: `check_line` refuses it.
Sha256 = Annotated[str, Meta(pattern=_SHA256)]
Prompt = Annotated[
    str,
    Meta(
        max_length=LONGEST_PROMPT,
        description=f"At most {MAX_CHARACTERS[PromptTechnique.COMPEL]} characters if the engine's "
        "long_prompt_technique is compel.",
    ),
]
Steps = Annotated[int, Meta(ge=1, le=10_000)]
Cfg = Annotated[float, Meta(ge=0, le=100)]
SizePx = Annotated[int, Meta(ge=64, le=MAX_SIZE_PX, multiple_of=8)]
Seed = Annotated[int, Meta(ge=0, le=MAX_INT)]
Count = Annotated[int, Meta(ge=1, le=10_000)]
Quality = Annotated[int, Meta(ge=1, le=100)]
Priority = Annotated[int, Meta(ge=-MAX_PRIORITY, le=MAX_PRIORITY)]
Device = Annotated[str, Meta(pattern=_DEVICE)]
KeepAlive = Annotated[float, Meta(ge=0, le=31_536_000)]
Replicas = Annotated[int, Meta(ge=1, le=64)]
MaxBatch = Annotated[int, Meta(ge=1, le=1_024)]
OptionValue = bool | int | float | str
SchedulerOptions = dict[str, OptionValue]
Wait = Annotated[float, Meta(ge=0, le=MAX_WAIT_S)]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
ModelRef = Annotated[str, Meta(min_length=1, max_length=200, description="Model id or name.")]
VaeRef = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        description="VAE id or name; `checkpoint` selects the checkpoint's own VAE.",
    ),
]
ModelRefs = Annotated[tuple[ModelRef, ...], Meta(max_length=32)]
Removers = Annotated[tuple[ModelRef, ...], Meta(max_length=8)]
Weight = Annotated[float, Meta(ge=-10, le=10)]
ClipSkip = Annotated[int, Meta(ge=1, le=12)]
Strength = Annotated[float, Meta(ge=0, le=1)]
ControlScale = Annotated[float, Meta(ge=0, le=10)]
ControlPart = Annotated[float, Meta(ge=0, le=1)]
Color = Annotated[str, Meta(pattern=_COLOR)]
Downloads = Annotated[int, Meta(ge=1, le=MAX_INT)]

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def check_line(field: str, text: str | None, faults: ValidationErrors) -> None:
    """Find fault with a name that is blank or would break a line of a listing."""
    if text is None:
        return
    if not text.strip():
        faults.wrong(field, "must not be blank")
    elif _CONTROL.search(text):
        faults.wrong(field, "must not contain control characters")


def check_text(field: str, text: str, faults: ValidationErrors) -> None:
    """Find fault with a text that holds a NUL, where C libraries and SQLite would cut it off."""
    if "\x00" in text:
        faults.wrong(field, "must not contain the character NUL")


def check_size(
    width_px: int | None, height_px: int | None, max_pixels: int, faults: ValidationErrors
) -> None:
    """Find fault with a picture of too many pixels; an unknown side counts as the shortest."""
    shortest_px = 64
    if (width_px or shortest_px) * (height_px or shortest_px) > max_pixels:
        field = "width" if width_px is not None else "height"
        faults.wrong(field, f"width x height must be at most {max_pixels} pixels")


def check_at_most(field: str, value: int | None, limit: int, faults: ValidationErrors) -> None:
    """Find fault with a number above this installation's limit."""
    if value is not None and value > limit:
        faults.wrong(field, f"must be at most {limit}")


def check_options(field: str, options: Mapping[str, OptionValue] | None, faults: ValidationErrors) -> None:
    """Find fault with scheduler options that could not be stored or sent."""
    if options is None:
        return
    if len(options) > MAX_OPTIONS:
        faults.wrong(field, f"must have at most {MAX_OPTIONS} options")
    for name, value in options.items():
        if not name or len(name) > 100 or _CONTROL.search(name):
            faults.wrong(field, "option names must have 1 to 100 printable characters")
        elif isinstance(value, str) and (len(value) > 1_000 or "\x00" in value):
            faults.wrong(f"{field}.{name}", "must have at most 1000 characters, without NUL")
        elif isinstance(value, int) and abs(value) > MAX_INT:
            faults.wrong(f"{field}.{name}", "must fit in 64 bits")
