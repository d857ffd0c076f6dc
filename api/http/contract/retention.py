"""Durations of a job: how long its images stay, and when it gives up on an engine in error."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from api.http.contract.validation_errors import ValidationErrors
from conf.keys import Key, all_keys
from conf.values import Unfit, read_value

_EXPIRY: Final = "images.expire_after"
_PATIENCE: Final = "engines.keep_alive"
"""The setting with the same bounds, which allow 0."""
_NUMBER: Final = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)

Expiry = (
    Annotated[str, Meta(min_length=1, max_length=100, description='A duration such as "12h" or "7d".')]
    | Annotated[float, Meta(gt=0, description="Seconds.")]
)
Patience = (
    Annotated[str, Meta(min_length=1, max_length=100, description='A duration such as "90s" or "10m".')]
    | Annotated[float, Meta(ge=0, description="Seconds.")]
)


def check_expiry(field: str, said: str | float | None, faults: ValidationErrors) -> None:
    """Check a duration that the configuration could have for all images."""
    try:
        expiry_s(said)
    except Unfit as error:
        faults.wrong(field, str(error))


def expiry_s(said: str | float | None) -> float | None:
    """The duration in seconds.

    Raises: Unfit, if it is invalid.
    """
    return _seconds(said, _EXPIRY)


def check_patience(field: str, said: str | float | None, faults: ValidationErrors) -> None:
    """Check a give-up time."""
    try:
        patience_s(said)
    except Unfit as error:
        faults.wrong(field, str(error))


def patience_s(said: str | float | None) -> float | None:
    """The give-up time in seconds.

    Raises: Unfit, if it is invalid.
    """
    return _seconds(said, _PATIENCE)


def _seconds(said: str | float | None, setting: str) -> float | None:
    if said is None:
        return None
    is_number = isinstance(said, str) and _NUMBER.fullmatch(said.strip()) is not None  # as forms send it
    value = read_value(_key(setting), float(said) if is_number else said, Path())
    assert isinstance(value, float), "a key that is no option has a value, and durations are seconds"
    return value


@cache
def _key(setting: str) -> Key:
    """The setting with the same bounds. Only the configuration may say "never"."""
    return replace(next(key for key in all_keys() if key.path == setting), is_optional=False)
