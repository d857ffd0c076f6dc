"""Cuts workers' texts to a storable size, and rejects inspection results that cannot be true."""

import re
from collections.abc import Sequence
from typing import Final

from kernel.core.state.blobs import SHA256_DIGITS
from kernel.core.validation.message_bounds import MAX_NAME, MAX_TAG, MAX_TAGS
from kernel.protocol.memory import MemoryProfile
from kernel.protocol.prompts import MARKS_OF_TAGS
from kernel.protocol.specs import Fingerprint
from kernel.protocol.status import DeviceStatus
from kernel.protocol.worker import EngineReady, ModelInspected

MAX_TEXT: Final = 2_000
"""Characters of a reason that are kept and shown."""
MAX_CODE: Final = 100
MAX_WARNINGS: Final = 100
MAX_CAPACITY: Final = 1_024
"""The most jobs that a worker may hold at once, whatever it reports."""
MAX_BYTES: Final = 1 << 50
"""The largest size of a model, and number of parameters: a pebibyte. Sums and products of it fit into a
column."""
MAX_PARTS: Final = 64
_UNFIT: Final = {
    **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "?"),
    **dict.fromkeys((0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF), "?"),
    **{ord(kept): kept for kept in "\n\t"},
    0: "",
}
"""Control characters of C0 and C1, and invisible ones that change the direction of the text after them."""
_GPU: Final = re.compile(r"(cuda|xpu|mps)(:[0-9]{1,3})?")
_HEX_DIGITS: Final = frozenset("0123456789abcdef")


def cut(text: str, most: int = MAX_TEXT) -> str:
    """The part of a text that is kept. Characters that command a terminal, or that turn the direction of
    writing, may come from names in a model's file; each is replaced by a question mark."""
    return text[:most].translate(_UNFIT)


def cut_warnings(warnings: Sequence[str]) -> tuple[str, ...]:
    """The first warnings of a job or a model, each cut."""
    return tuple(cut(text) for text in warnings[:MAX_WARNINGS])


def cut_trigger_words(words: Sequence[str]) -> tuple[str, ...]:
    """The first of a model's trigger words."""
    return tuple(cut(word, MAX_TAG) for word in words[:MAX_TAGS])


def cut_title(title: str | None) -> str:
    """A model's title as a name: on one line, and without the marks of a prompt's tags."""
    return cut(" ".join((title or "").split()).translate(MARKS_OF_TAGS), MAX_NAME).strip()


def told_device(report: EngineReady) -> DeviceStatus | None:
    """The GPU that a worker says to be on; None, if it says none, or one that cannot be."""
    seen = report.seen
    if seen is None or seen.device != report.device or _GPU.fullmatch(seen.device) is None:
        return None
    total_bytes = min(seen.total_bytes, MAX_BYTES)
    return DeviceStatus(
        device=seen.device,
        name=cut_title(seen.name),
        total_bytes=total_bytes,
        free_bytes=min(seen.free_bytes, total_bytes),
        capability=None if seen.capability is None else cut_title(seen.capability),
    )


def problem_in(report: ModelInspected) -> str | None:
    """Why an inspection result cannot be true; None, if it can."""
    sha256 = report.fingerprint.sha256 or ""
    if len(sha256) != SHA256_DIGITS or not _HEX_DIGITS.issuperset(sha256):
        return "the sha256 is malformed"
    if len(report.revision or "") > MAX_NAME:
        return "the revision is too long"
    return fault_of(report.fingerprint)


def fault_of(found: Fingerprint) -> str | None:
    """Why what was found in a file's header cannot be true; None, if it can."""
    if max(found.size_bytes, found.memory_bytes, found.parameters) > MAX_BYTES:
        return "the model's size is implausible"
    if len(found.prediction_type or "") > MAX_NAME:
        return "the prediction type is too long"
    return None if found.memory is None else _fault_of_profile(found.memory)


def _fault_of_profile(profile: MemoryProfile) -> str | None:
    if len(profile.parts) > MAX_PARTS:
        return "the model has too many parts"
    if any(max(part.parameters, part.stored_bytes) > MAX_BYTES for part in profile.parts):
        return "the size of one of the model's parts is implausible"
    unet = profile.unet
    if unet is not None and len(unet.transformer_depths) != len(unet.channels):
        return "the UNet's transformer depths do not match its levels"
    return None
