"""The types of request fields that only HTTP has, and checks that types cannot declare.

The bounds of the values themselves are in `kernel/protocol/values.py`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.ids import MAX_INTEGER
from kernel.protocol.values import MAX_MODELS, MAX_REMOVERS
from kernel.views.page import MAX_LIMIT

MAX_PRIORITY: Final = 1_000
MAX_WAIT_S: Final = 300.0
MAX_OPTIONS: Final = 64

Id = Annotated[str, Meta(min_length=1, max_length=100)]
Priority = Annotated[int, Meta(ge=-MAX_PRIORITY, le=MAX_PRIORITY)]
OptionValue = bool | int | float | str
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
ModelRefs = Annotated[tuple[ModelRef, ...], Meta(max_length=MAX_MODELS)]
RemoverRefs = Annotated[tuple[ModelRef, ...], Meta(max_length=MAX_REMOVERS)]


class WaitQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds to wait until there is nothing more to wait for."""

    wait: Wait | None = None


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def check_line(field: str, text: str | None, faults: ValidationErrors) -> None:
    """Check that a name is not blank and would not break a line of a listing."""
    if text is None:
        return
    if not text.strip():
        faults.wrong(field, "must not be blank")
    elif _CONTROL.search(text):
        faults.wrong(field, "must not contain control characters")


def check_text(field: str, text: str, faults: ValidationErrors) -> None:
    """Check that a text has no NUL, where C libraries and SQLite would cut it off."""
    if "\x00" in text:
        faults.wrong(field, "must not contain the character NUL")


def check_size(
    width_px: int | None, height_px: int | None, max_pixels: int, faults: ValidationErrors
) -> None:
    """Check the number of pixels of an image; an unknown side counts as the shortest."""
    shortest_px = 64
    if (width_px or shortest_px) * (height_px or shortest_px) > max_pixels:
        field = "width" if width_px is not None else "height"
        faults.wrong(field, f"width x height must be at most {max_pixels} pixels")


def check_at_most(field: str, value: int | None, limit: int, faults: ValidationErrors) -> None:
    """Check a number against this installation's limit."""
    if value is not None and value > limit:
        faults.wrong(field, f"must be at most {limit}")


def check_options(field: str, options: Mapping[str, OptionValue] | None, faults: ValidationErrors) -> None:
    """Check that scheduler options can be stored and sent."""
    if options is None:
        return
    if len(options) > MAX_OPTIONS:
        faults.wrong(field, f"must have at most {MAX_OPTIONS} options")
    for name, value in options.items():
        if not name or len(name) > 100 or _CONTROL.search(name):
            faults.wrong(field, "option names must have 1 to 100 printable characters")
        elif isinstance(value, str) and (len(value) > 1_000 or "\x00" in value):
            faults.wrong(f"{field}.{name}", "must have at most 1000 characters, without NUL")
        elif isinstance(value, int) and abs(value) > MAX_INTEGER:
            faults.wrong(f"{field}.{name}", "must fit in 64 bits")
