"""A1111's prompt syntax, by example."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.protocol.prompt_syntax.a1111 import Fragment, parse, written

UP = 1.1
DOWN = 1 / 1.1

EXAMPLES = {
    "a red cat": [("a red cat", 1.0)],
    "": [],
    "a (red) cat": [("a ", 1.0), ("red", UP), (" cat", 1.0)],
    "a ((red)) cat": [("a ", 1.0), ("red", UP * UP), (" cat", 1.0)],
    "a [red] cat": [("a ", 1.0), ("red", DOWN), (" cat", 1.0)],
    "a (red:1.3) cat": [("a ", 1.0), ("red", 1.3), (" cat", 1.0)],
    "(red : 1.3 )": [("red ", 1.3)],
    "(red:.5)": [("red", 0.5)],
    "(red:-1)": [("red", -1.0)],
    "(a (red:1.5) cat:2)": [("a ", 2.0), ("red", 3.0), (" cat", 2.0)],
    "([red])": [("red", UP * DOWN)],
    "(a [b) c]": [("a ", UP), ("b", UP * DOWN), (" c", DOWN)],
    "a (red cat": [("a ", 1.0), ("red cat", UP)],
    "a [red cat": [("a ", 1.0), ("red cat", DOWN)],
    "a red) cat]": [("a red) cat]", 1.0)],
    "a red:1.3) cat": [("a red:1.3) cat", 1.0)],
    "at 10:30": [("at 10:30", 1.0)],
    "(a:b:2)": [("a:b", 2.0)],
    "(a:1.2.3)": [("a:1.2.3", UP)],
    "[red:1.3]": [("red:1.3", DOWN)],
    r"\(red\)": [("(red)", 1.0)],
    r"(\(red\):1.5)": [("(red)", 1.5)],
    r"a \[b\] \\ c": [(r"a [b] \ c", 1.0)],
    r"a \b": [("a b", 1.0)],
    "()": [],
    "(a)(b)": [("ab", UP)],
}


@pytest.mark.parametrize("prompt", list(EXAMPLES))
def test_weights_are_read_as_in_the_web_ui(prompt: str) -> None:
    (section,) = parse(prompt)
    assert [one.text for one in section] == [text for text, _ in EXAMPLES[prompt]]
    assert [one.weight for one in section] == pytest.approx([weight for _, weight in EXAMPLES[prompt]])


def test_break_in_capitals_begins_a_section_and_other_words_do_not() -> None:
    assert parse("a BREAK b") == ((Fragment("a "),), (Fragment(" b"),))
    assert parse("a break, BREAKFAST") == ((Fragment("a break, BREAKFAST"),),)
    assert parse("BREAK BREAK") == ((), (Fragment(" "),), ())


def test_a_break_within_brackets_takes_nothing_of_their_weight() -> None:
    assert parse("(a BREAK b:1.5)") == ((Fragment("a ", 1.5),), (Fragment(" b", 1.5),))


def test_a_hundred_thousand_brackets_are_read_as_quickly_as_letters() -> None:
    ((fragment,),) = parse("(" * 50_000 + "a" + ")" * 50_000)
    assert fragment.weight == float("inf")
    assert parse(" " * 100_000) == ((Fragment(" " * 100_000),),)


SYMBOLS = ["a", "b", " ", "(", ")", "[", "]", "\\", ":", "1.3", ".5", ":1.2)", " BREAK ", ":-0.5)"]


@given(st.lists(st.sampled_from(SYMBOLS), max_size=14).map("".join))
def test_what_was_read_is_read_again_from_the_plainest_syntax(prompt: str) -> None:
    for section in parse(prompt):
        assert parse(written(section)) == (section,)
