"""Detects syntax in a prompt that its technique does not support, so that a warning can tell its author."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kernel.protocol.enums import PromptTechnique


@dataclass(frozen=True, slots=True)
class _Mark:
    """A pattern that hardly occurs in plain text."""

    pattern: re.Pattern[str]
    name: str
    read_by: tuple[PromptTechnique, ...]
    """The techniques that support it."""
    instead: str = ""


_SHOWN_CHARACTERS: Final = 60
_MARKS: Final = (
    _Mark(
        re.compile(
            r"\([^()\n]{0,200}[A-Za-z][^()\n]{0,200}:\s?-?(?:[0-2](?:\.[0-9]+)?|\.[0-9]+)\s?\)"  # (word:1.3)
            r"|\(\([^()\n]{1,200}\)\)|\[\[[^\[\]\n]{1,200}\]\]"  # ((word)), [[word]]
            r"|\bBREAK\b"
        ),
        "A1111 weights",
        (PromptTechnique.SD_EMBED,),
    ),
    _Mark(
        re.compile(
            r"(?<![A-Za-z0-9])[A-Za-z0-9]{2,40}\+{2,8}(?![\w+])"  # word++
            r"|\)(?:[+-]{1,8}(?!\w)|[0-9]?\.[0-9]+)"  # (two words)1.3
            r"|\)\.(?:and|blend|swap)\("
        ),
        "compel weights",
        (PromptTechnique.COMPEL,),
    ),
    _Mark(
        re.compile(r"<(?:lora|lyco):[^<>\n]{1,400}>", re.IGNORECASE),
        "an A1111 LoRA tag",
        (),
        "set `lora_tags`, or name LoRAs in `loras`",
    ),
    _Mark(
        re.compile(r"<hypernet:[^<>\n]{1,400}>", re.IGNORECASE),
        "an A1111 hypernetwork",
        (),
        "hypernetworks are not supported",
    ),
    _Mark(
        re.compile(
            r"(?<!\\)\[(?:[^\[\]\n]{0,200}:\s?[0-9]{0,4}\.?[0-9]+\s?|[^\[\]|\n]{1,200}\|[^\[\]\n]{1,200})\]"
        ),  # [a:b:0.5], [a|b]
        "A1111 prompt editing",
        (PromptTechnique.SD_EMBED,),
    ),
    _Mark(
        re.compile(r"\bAND\b"),  # a cat AND a dog
        "A1111 composition",
        (),
        "it composes prompts in `prompt` with long_prompt_technique sd_embed",
    ),
    _Mark(
        re.compile(r"\\[()\[\]]"),  # \(
        "an escaped bracket",
        (PromptTechnique.SD_EMBED, PromptTechnique.COMPEL),
        "leave the backslash out; no bracket has a meaning here",
    ),
)


def foreign_syntax(text: str, technique: PromptTechnique) -> Iterator[str]:
    """For each syntax that is treated as plain text, a sentence without its subject ("The prompt")."""
    for mark in _MARKS:
        found = mark.pattern.search(text)
        if found is not None and technique not in mark.read_by:
            instead = mark.instead or f"use long_prompt_technique {mark.read_by[0]} for it"
            shown = found[0][:_SHOWN_CHARACTERS]
            yield f"seems to contain {mark.name}, but {shown!r} is treated as plain text: {instead}"
