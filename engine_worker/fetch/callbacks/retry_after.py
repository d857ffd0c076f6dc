"""How long a receiver asks to be left alone: the header Retry-After, as seconds or as a date (RFC 9110
10.2.3)."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Final

from kernel.protocol.ids import MAX_INTEGER

MAX_DIGITS: Final = 11
MAX_DATE: Final = 50
"""Characters; the longest of the three forms of a date has 33."""


def retry_after_s(headers: Iterable[tuple[bytes, bytes]], now_s: float) -> int | None:
    """The seconds from now on; None, if the receiver does not say, or it cannot be read.

    `now_s`: seconds since 1970 UTC. A date counts from the receiver's own Date, whose clock may be another.
    """
    found: Mapping[str, str] = {
        name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, value in headers
    }
    text = found.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return min(int(text), MAX_INTEGER) if len(text) <= MAX_DIGITS else None
    until_s = _date_s(text)
    if until_s is None:
        return None
    from_s = _date_s(found.get("date", ""))
    return max(0, ceil(until_s - (now_s if from_s is None else from_s)))


def _date_s(text: str) -> float | None:
    """A date in seconds since 1970 UTC; None, if it is none."""
    if not 0 < len(text) <= MAX_DATE:
        return None
    try:
        found = parsedate_to_datetime(text)
        return (found if found.tzinfo else _utc(found)).timestamp()
    except (ValueError, OverflowError):
        return None


def _utc(naive: datetime) -> datetime:
    """HTTP's dates are in UTC, whether or not they say so."""
    return naive.replace(tzinfo=UTC)
