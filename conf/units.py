"""Durations and sizes as people write them, converted to seconds and bytes and back."""

import math
import re
from collections.abc import Mapping
from typing import Final

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_BYTES: Final = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_BYTES_IN_ANY_CASE: Final = {unit.lower(): size for unit, size in _BYTES.items()}
_NUMBER: Final = re.compile(r"\d{1,15}", re.ASCII)
_AMOUNT: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([a-z]+)\s*", re.ASCII | re.IGNORECASE)
"""A number and its unit. Fifteen digits are what a float holds exactly."""


def parse_duration_s(text: str) -> float:
    """Seconds in "90s", "1h 30m" or "7d"; a number without a unit is seconds.

    Raises: ValueError, if it is not a duration.
    """
    if _NUMBER.fullmatch(text.strip()):
        return float(text)
    return math.fsum(number * _of(unit, _SECONDS) for number, unit in _amounts(text))


def parse_size_bytes(text: str) -> int:
    """Bytes in "50GB" (powers of 1000) or "1GiB" (powers of 1024); a number without a unit is bytes.

    Raises: ValueError, if it is not a size, or not a whole number of bytes.
    """
    if _NUMBER.fullmatch(text.strip()):
        return int(text)
    amounts = _amounts(text)
    if len(amounts) > 1:
        raise ValueError(f"{text} is not a single amount")
    ((number, unit),) = amounts
    size_bytes = number * _of(unit, _BYTES_IN_ANY_CASE)
    if not size_bytes.is_integer():
        raise ValueError(f"{text} is not a whole number of bytes")
    return int(size_bytes)


def show_duration(seconds: float) -> str:
    """The shortest exact way to write a duration: 604800.0 is "7d"."""
    for unit in ("d", "h", "m", "s"):
        count = seconds / _SECONDS[unit]
        if count.is_integer() and (seconds or unit == "s"):
            return f"{int(count)}{unit}"
    return f"{seconds!r}s"


def show_size(size_bytes: int) -> str:
    """The shortest exact way to write a size: 1073741824 is "1GiB", 50000000000 is "50GB"."""
    for unit, size in sorted(_BYTES.items(), key=lambda item: -item[1]):
        if size_bytes and size_bytes % size == 0:
            return f"{size_bytes // size}{unit}"
    return "0B"


def rounded_size(size_bytes: int) -> str:
    """A size for people, in powers of 1000: 4265380512 is "4.3 GB"."""
    for unit in ("TB", "GB", "MB", "kB"):
        if size_bytes >= _BYTES[unit]:
            return f"{size_bytes / _BYTES[unit]:.1f} {unit}"
    return f"{size_bytes} B"


def _amounts(text: str) -> list[tuple[float, str]]:
    """The numbers with their units in "1h 30m"; only spaces may separate them."""
    text = text.strip()
    matches = list(_AMOUNT.finditer(text))
    if not matches or "".join(match[0] for match in matches) != text:
        raise ValueError(f"{text} is not an amount")
    return [(float(match[1]), match[2].lower()) for match in matches]


def _of(unit: str, units: Mapping[str, float]) -> float:
    if unit not in units:
        raise ValueError(f"{unit} is not a unit")
    return units[unit]
