"""Reads a file's metadata beside its tensors: trusted only where it is harmless, and limited in size."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from kernel.protocol.enums import ControlType

MAX_WORDS: Final = 32
MAX_WORD: Final = 100
MAX_TAGS_BYTES: Final = 4 << 20
_PHRASES: Final = ("modelspec.trigger_phrase", "ssmd_keywords")
_TAGS: Final = "ss_tag_frequency"
_COMMON: Final = 0.5
"""A tag that at least half of the most frequent tag's images have is taken as a trigger word."""
_NAMES: Final = ("modelspec.title", "modelspec.description", "ss_output_name", "modelspec.usage_hint")
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
"""A word of a name such as `dreamXLTurbo_v2`."""
_FEW_STEPS: Final = frozenset({"turbo", "lightning"})
_HYPER: Final = re.compile(r"(?<![a-z])hyper[-_ ]?sd")
_ALIASES: Final = {
    "openpose": ControlType.OPENPOSE,
    "open pose": ControlType.OPENPOSE,
    "midas": ControlType.MIDAS,
    "mediapipe": ControlType.MEDIAPIPE,
    "canny": ControlType.CANNY,
    "depth": ControlType.DEPTH,
}


def trigger_words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The trigger words: the declared ones, else the tags of most captions.

    Source: https://github.com/Stability-AI/ModelSpec for the phrase; the tag counts are written by the kohya
    trainer, `{folder: {tag: count}}`.
    """
    for key in _PHRASES:
        if found := words_of(metadata.get(key, "").split(",")):
            return found
    return words_of(_common_tags(metadata.get(_TAGS, "")))


def words_of(found: Iterable[str]) -> tuple[str, ...]:
    """Each once, stripped; empty, too long and unprintable ones are dropped."""
    words = dict.fromkeys(word.strip() for word in found)
    good = [word for word in words if 0 < len(word) <= MAX_WORD and word.isprintable()]
    return tuple(good[:MAX_WORDS])


def control_type(metadata: Mapping[str, str]) -> ControlType | None:
    """The control type that a ControlNet's metadata mentions; None, if it mentions none or several."""
    text = " ".join(metadata.get(key, "")[:1000] for key in _NAMES).lower()
    found = {kind for word, kind in _ALIASES.items() if word in text}
    return found.pop() if len(found) == 1 else None


def is_for_few_steps(metadata: Mapping[str, str], *names: str) -> bool:
    """True if a checkpoint's names or metadata say that it was distilled for a few steps.

    Turbo (arXiv:2311.17042), Lightning (arXiv:2402.13929) and Hyper-SD (arXiv:2404.13686) were trained on
    timesteps that begin at the last one, as diffusers' spacing `trailing`; nothing in the weights tells.
    """
    text = " ".join([metadata.get("modelspec.title", "")[:1000], *names])
    words = {word.lower() for word in _WORD.findall(text)}
    return bool(words & _FEW_STEPS) or _HYPER.search(text.lower()) is not None


def _common_tags(text: str) -> list[str]:
    if len(text) > MAX_TAGS_BYTES:
        return []
    try:
        folders = msgspec.json.decode(text, type=dict[str, dict[str, int]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    counts: dict[str, int] = {}
    for tags in folders.values():
        for tag, count in tags.items():
            counts[tag] = counts.get(tag, 0) + count
    most = max(counts.values(), default=0)
    return sorted(
        (tag for tag, count in counts.items() if count > most * _COMMON), key=lambda tag: -counts[tag]
    )
