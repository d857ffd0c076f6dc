"""Which prompts are said to be in a syntax that their technique does not read."""

import pytest

from engine_worker.engine.prompts.syntaxes import foreign_syntax
from kernel.protocol.enums import PromptTechnique

NONE, COMPEL, SD_EMBED = PromptTechnique.NONE, PromptTechnique.COMPEL, PromptTechnique.SD_EMBED

A1111 = ["a (red:1.3) cat", "((masterpiece)), a cat", "[[blurry]]", "a cat BREAK a dog", "(a, b:.8)"]
COMPELS = ["a cat++", "(red cat)1.3", "(red)-", '("a cat", "a dog").blend(1, 1)', '("a", "b").and()']
EDITED = ["a [cat:dog:0.5]", "a [cat|dog]", "[a photo:0.25]"]
NOBODYS = ["<lora:dusk:0.8>", "<hypernet:dusk:1>", "a cat AND a dog"]
ESCAPED = ["a cat \\(at home\\)", "\\[x\\]"]
PLAIN = [
    "a red cat",
    "a cat (at home), 16:9",
    "ratio (16:9), at 10:30 :)",
    "C++ and C#, well-known",
    "take a break, a breakfast (with eggs)",
    "1+1=2",
    ":-( and :-)",
]


@pytest.mark.parametrize("technique", list(PromptTechnique))
@pytest.mark.parametrize("text", PLAIN)
def test_plain_words_give_no_warning(text: str, technique: PromptTechnique) -> None:
    assert list(foreign_syntax(text, technique)) == []


@pytest.mark.parametrize("text", A1111 + EDITED)
def test_a1111s_weights_are_for_sd_embed(text: str) -> None:
    for technique in (NONE, COMPEL):
        (remark,) = foreign_syntax(text, technique)
        assert "long_prompt_technique sd_embed" in remark
    assert list(foreign_syntax(text, SD_EMBED)) == []


@pytest.mark.parametrize("text", ESCAPED)
def test_escapes_are_for_techniques_with_brackets(text: str) -> None:
    (remark,) = foreign_syntax(text, NONE)
    assert "leave the backslash out" in remark
    assert [list(foreign_syntax(text, technique)) for technique in (SD_EMBED, COMPEL)] == [[], []]


@pytest.mark.parametrize("text", COMPELS)
def test_compels_weights_are_for_compel(text: str) -> None:
    for technique in (NONE, SD_EMBED):
        (remark,) = foreign_syntax(text, technique)
        assert "long_prompt_technique compel" in remark
    assert list(foreign_syntax(text, COMPEL)) == []


@pytest.mark.parametrize("technique", list(PromptTechnique))
@pytest.mark.parametrize("text", NOBODYS)
def test_what_no_technique_reads_is_said_to_be_plain_text(text: str, technique: PromptTechnique) -> None:
    (remark,) = foreign_syntax(text, technique)
    assert "is treated as plain text" in remark
