"""Templates of prompts: what is chosen, what is text, and what is too much."""

import random
from collections import Counter

import pytest

from kernel.protocol.prompt_syntax.templates import (
    Options,
    TemplateFault,
    expand,
    is_list_name,
    is_template,
    weighed_line,
)

LISTS = {
    "cats": Options([(1, "tiger"), (1, "lynx")]),
    "colors": Options([(1, "{dark|light} red"), (1, "blue")]),
    "loop": Options([(1, "__loop__")]),
    "empty": Options([]),
    "wide": Options([(1, "x" * 4_000)]),
}


def results(template: str, seeds: int = 400) -> set[str]:
    """All that a template becomes."""
    return {expand(template, random.Random(seed).random, LISTS.__getitem__) for seed in range(seeds)}


@pytest.mark.parametrize(
    "text",
    [
        "", "a cat", "(red:1.3) [cat|dog]", "[cat:dog:0.5]", "{masterpiece}", "{{a}}", "{a|b", "a|b}",
        "a}|{b", r"\(a\)", r"{a\|b}", "snake_case __init", "__", "____", "__ a __", "_a_", "<lora:a:0.5>",
        "a \\", "{0.5::a}", "{a|{b}",
    ],
)  # fmt: skip
def test_what_is_no_choice_stays_as_it_is(text: str) -> None:
    assert results(text, 3) == {text}
    assert not is_template(text)


@pytest.mark.parametrize(
    ("template", "prompts"),
    [
        ("{red|green} ball", {"red ball", "green ball"}),
        ("{ a | {b|c} }", {"a", "b", "c"}),
        ("{|a}", {"", "a"}),
        ("a __cats__!", {"a tiger!", "a lynx!"}),
        ("__colors__", {"dark red", "light red", "blue"}),
        ("{__cats__|dog}", {"tiger", "lynx", "dog"}),
        ("{2$$a|b|c}", {"a, b", "b, a", "a, c", "c, a", "b, c", "c, b"}),
        ("{2$$ and $$a|b}", {"a and b", "b and a"}),
        ("{9$$a|b}", {"a, b", "b, a"}),
        ("{0-1$$a|b}", {"", "a", "b"}),
        ("{-2$$a|b}", {"a", "b", "a, b", "b, a"}),
        ("{2-$$a|b}", {"a, b", "b, a"}),
        ("{2$$__cats__}", {"tiger, lynx", "lynx, tiger"}),
        ("{0::a|b|.5::c}", {"b", "c"}),
        (r"\{a|b\}", {"{a|b}"}),
        (r"{a\|b|c}", {"a|b", "c"}),
        (r"\__cats__", {"__cats__"}),
        (r"\\{a|b}", {r"\\a", r"\\b"}),
        (r"({red|blue}:1.2) \(x\)", {r"(red:1.2) \(x\)", r"(blue:1.2) \(x\)"}),
    ],
)
def test_a_template_becomes_each_of_its_prompts(template: str, prompts: set[str]) -> None:
    assert results(template) == prompts
    assert is_template(template)


def test_all_of_many_are_chosen_once_also_if_some_are_far_likelier() -> None:
    words = [f"w{number}" for number in range(60)]
    template = "{60$$" + "|".join(f"{10 ** (number % 7)}::{word}" for number, word in enumerate(words)) + "}"
    chosen = expand(template, random.Random(1).random, LISTS.__getitem__).split(", ")
    assert sorted(chosen) == sorted(words)
    many = Options((1.0, str(number)) for number in range(1_000))
    lines = expand("{500$$__many__}", random.Random(1).random, lambda name: many).split(", ")
    assert len(set(lines)) == len(lines) == 500


def test_weights_are_how_often_something_is_chosen() -> None:
    found = Counter(
        expand("{3::a|b}", random.Random(seed).random, LISTS.__getitem__) for seed in range(4_000)
    )
    assert found["a"] / found["b"] == pytest.approx(3, rel=0.15)
    assert weighed_line("2.5:: a red fox") == (2.5, "a red fox")
    assert weighed_line("1:2 ratio") == (1.0, "1:2 ratio")


@pytest.mark.parametrize(
    "template",
    [
        "__loop__", "__empty__", "{0::a|0::b}", "${a=b} {c|d}", "{" * 21 + "a|b" + "}" * 21, "{a|b}" * 501,
        "__wide__" * 30, "{a|b}" + "x" * 30_000,
    ],
    ids=["loop", "empty", "weights", "variable", "deep", "many", "wide", "long"],
)  # fmt: skip
def test_too_much_is_refused(template: str) -> None:
    with pytest.raises(TemplateFault):
        results(template, 1)


def test_a_name_is_one_that_a_template_can_have() -> None:
    assert all(map(is_list_name, ("cats", "animals/big cats", "hair-color.v2", "B\u00e4ume")))
    assert not any(map(is_list_name, ("", "a__b", "_a", "a_", " a", "a*", "a|b", "a" * 201)))
