"""The results of `spoon doctor`: one line per check."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How much a result matters."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing required is missing."""
    MISSING = "missing"


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check, and how to fix it."""

    subject: str
    verdict: Verdict
    found: str
    remedy: str | None = None
