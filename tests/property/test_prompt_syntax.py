"""A1111's prompt syntax holds its rules for whatever is written."""

import math
import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kernel.protocol.prompt_syntax.a1111 import Fragment, Section, parse
from kernel.protocol.prompt_syntax.templates import Options, TemplateFault, expand, is_template

WEIGHTS = st.integers(-300, 300).map(lambda hundredths: hundredths / 100)
TEXTS = st.text(min_size=1, max_size=20).filter(lambda text: "BREAK" not in text)
PLAIN = st.text(st.characters(exclude_characters="\\()[]"), max_size=60).filter(lambda t: "BREAK" not in t)
SYNTAX = st.lists(st.sampled_from([*"()[]\\:. 1ab", "BREAK", ":1.5)"]), max_size=60).map("".join)

TEMPLATES = st.lists(st.sampled_from([*"{}|_\\:1a ", "__a__", "2$$", "0::"]), max_size=40).map("".join)


def escape(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\()[]" else letter for letter in text)


def render(section: Section) -> str:
    return "".join(f"({escape(one.text)}:{one.weight})" for one in section)


@st.composite
def sections(draw: st.DrawFn) -> Section:
    """Neighbours with different weights."""
    fragments = draw(st.lists(st.builds(Fragment, TEXTS, WEIGHTS), min_size=1, max_size=6))
    return tuple(
        one
        for before, one in zip([None, *fragments], fragments, strict=False)
        if before is None or before.weight != one.weight
    )


@given(st.lists(sections(), min_size=1, max_size=4))
def test_what_is_written_out_with_weights_is_read_back(written: list[Section]) -> None:
    assert parse("BREAK".join(map(render, written))) == tuple(written)


@given(st.one_of(st.text(max_size=80), SYNTAX))
def test_every_text_can_be_read_and_gives_sound_fragments(text: str) -> None:
    for section in parse(text):
        assert all(one.text and not math.isnan(one.weight) for one in section)
        assert all(one.weight != other.weight for one, other in pairwise(section))


@given(PLAIN)
def test_text_without_syntax_is_one_fragment_as_it_stands(text: str) -> None:
    assert parse(text) == (((Fragment(text),) if text else ()),)


@given(st.lists(st.one_of(st.sampled_from([None, "["]), WEIGHTS), max_size=8))
def test_weights_of_brackets_within_brackets_multiply(brackets: list[float | str | None]) -> None:
    prompt, expected = "a", 1.0
    for bracket in brackets:
        match bracket:
            case None:
                prompt, expected = f"({prompt})", expected * 1.1
            case "[":
                prompt, expected = f"[{prompt}]", expected / 1.1
            case weight:
                prompt, expected = f"({prompt}:{weight})", expected * float(weight)
    ((fragment,),) = parse(prompt)
    assert fragment.text == "a"
    assert math.isclose(fragment.weight, expected, rel_tol=1e-9)


@given(TEMPLATES, st.integers(0, 2**32))
def test_a_template_becomes_a_prompt_or_is_refused(template: str, seed: int) -> None:
    """Whatever is written: the same for the same seed, and text as it is where nothing is chosen."""
    lists = {"a": Options([(1.0, "x"), (2.0, "{y|__a__}")])}

    def find(name: str) -> Options:
        if name not in lists:
            raise LookupError
        return lists[name]

    try:
        prompt = expand(template, random.Random(seed).random, find)
    except (TemplateFault, LookupError):
        return
    assert prompt == expand(template, random.Random(seed).random, find)
    assert is_template(template) or prompt == template
