"""Parses the prompts of jobs, beside the steps of others, and caches the latest ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, assert_never

from engine_worker.engine.prompts.encoded import Encode, Technique
from engine_worker.engine.prompts.plain import Plain
from engine_worker.engine.prompts.sd_embed_package import find_sd_embed
from engine_worker.engine.prompts.syntaxes import foreign_syntax
from engine_worker.engine.runtime.late_import import late_import
from engine_worker.engine.runtime.lru_cache import LruCache
from kernel.protocol.enums import PromptTechnique
from kernel.protocol.errors import JobRejected
from kernel.protocol.prompt_syntax.prompt_editing import texts_by_call
from kernel.protocol.prompts import fault_of_length

MAX_REMEMBERED: Final = 64
_AT_ONCE: Final = 5_000
"""A text of this many characters is parsed in 2 ms by every technique except compel: not worth another
thread."""


@dataclass(frozen=True, slots=True)
class ParsedPrompt:
    """A parsed prompt."""

    text: str
    technique: PromptTechnique
    encode: Encode
    remarks: tuple[str, ...]
    """Sentences without their subject, as those of `Encoded`."""


ParsedByCall = tuple[ParsedPrompt, ...]
"""A prompt as it is at each UNet call; a single one, if it is always the same."""


class ParsedPromptCache:
    """Parses prompts. All methods may be called from any thread, and no thread waits for another one's
    parsing."""

    def __init__(self) -> None:
        none = PromptTechnique.NONE
        self._techniques = {none: _make_technique(none)}
        self._parsed: LruCache[tuple[str, PromptTechnique, int], ParsedByCall] = LruCache(
            max_count=MAX_REMEMBERED
        )

    def has(self, text: str, technique: PromptTechnique, steps: int) -> bool:
        """True if parsing it takes no time."""
        if self._parsed.has((text, technique, steps)):
            return True
        is_quick = technique is not PromptTechnique.COMPEL and len(text) <= _AT_ONCE
        return is_quick and technique in self._techniques and not _may_change(text, technique)

    def read(self, text: str, technique: PromptTechnique, steps: int) -> ParsedByCall:
        """Parse a prompt, unless it is cached. `steps` is the number of UNet calls.

        Raises: JobRejected, if it is too long or cannot be parsed; its text still lacks the field's name.
        NotInstalled, if the technique needs a package that is not installed.
        """
        parsed = self._parsed.find((text, technique, steps))
        if parsed is not None:
            return parsed
        fault = fault_of_length(text, technique)
        if fault is not None:
            raise JobRejected(fault)
        texts = texts_by_call(text, steps) if _may_change(text, technique) else (text,)
        known = {one: self._parse(one, technique) for one in dict.fromkeys(texts)}
        return self._parsed.keep((text, technique, steps), tuple(known[one] for one in texts))

    def _parse(self, text: str, technique: PromptTechnique) -> ParsedPrompt:
        encode = self._technique(technique).read(text)
        return ParsedPrompt(text, technique, encode, tuple(foreign_syntax(text, technique)))

    def _technique(self, name: PromptTechnique) -> Technique:
        """Created on first use, because compel and sd_embed take long to import. If two threads create it,
        one is used."""
        if name not in self._techniques:
            self._techniques.setdefault(name, _make_technique(name))
        return self._techniques[name]


def _may_change(text: str, technique: PromptTechnique) -> bool:
    """True if a prompt may change between steps, which is a part of A1111's syntax."""
    return technique is PromptTechnique.SD_EMBED and "[" in text


@contextmanager
def naming(field: str) -> Iterator[None]:
    """A context in which the error of a prompt is prefixed by its field."""
    try:
        yield
    except JobRejected as error:
        raise JobRejected(f"{field}: {error.detail}") from error


def _make_technique(name: PromptTechnique) -> Technique:
    match name:
        case PromptTechnique.NONE:
            return Plain()
        case PromptTechnique.SD_EMBED:
            return find_sd_embed()
        case PromptTechnique.COMPEL:
            return _make_compel()
        case _:
            assert_never(name)


def _make_compel() -> Technique:
    with late_import("long_prompt_technique compel", "worker"):
        from engine_worker.engine.prompts.compel_prompts import CompelPrompts
    return CompelPrompts()
