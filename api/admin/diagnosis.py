"""What `spoon doctor` finds: one line for each thing that it looks at."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing that is needed is missing."""
    MISSING = "missing"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at: how it is, and what to do about it."""

    subject: str
    verdict: Verdict
    found: str
    remedy: str | None = None
