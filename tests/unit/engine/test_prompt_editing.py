"""Prompts that change between steps, as A1111 reads them; the texts of each call were written out by hand."""

import pytest

from kernel.protocol.errors import JobRejected
from kernel.protocol.prompt_syntax.prompt_editing import MAX_TEXTS, composed, texts_by_call


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a [cat:dog:0.5]", ["a cat"] * 3 + ["a dog"] * 2),
        ("a [cat:dog:2]", ["a cat"] * 3 + ["a dog"] * 2),
        ("a [dog:2]", ["a "] * 3 + ["a dog"] * 2),
        ("a [cat::2]", ["a cat"] * 3 + ["a "] * 2),
        ("a [cat:dog: 0.25 ]", ["a cat"] * 2 + ["a dog"] * 3),
        ("[cat|dog]", ["cat", "cat", "dog", "cat", "dog"]),
        ("[cat|dog|]", ["cat", "cat", "dog", "", "cat"]),
        ("[a [x|y]:b:3]", ["a x", "a x", "a y", "a x", "b"]),
        ("[[a|b]:[c|d]:2]", ["a", "a", "b", "c", "d"]),
        ("(a [b:c:2]:1.3)", ["(a b:1.3)"] * 3 + ["(a c:1.3)"] * 2),
        ("[a (b:1.2):c:2]", ["a (b:1.2)"] * 3 + ["c"] * 2),
        ("[(a|b)|c]", ["(a|b)", "(a|b)", "c", "(a|b)", "c"]),
        ("[a\\:b:c:2] \\[x|y\\]", ["a\\:b \\[x|y\\]"] * 3 + ["c \\[x|y\\]"] * 2),
    ],
)
def test_each_call_has_the_text_of_its_step(prompt: str, expected: list[str]) -> None:
    assert list(texts_by_call(prompt, 4)) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "a red ball", "[red]", "[a:b]", "[16:9 red]", "[a:b:c:0.5]", "[a:1|b]", "a | b", "[a|b", "a|b]",
        "[a (b|c]", "[a:b:much]", "\\[a|b\\]", "[", "]", "", "\\",
    ],
)  # fmt: skip
def test_other_texts_stay_as_they_stand(prompt: str) -> None:
    assert texts_by_call(prompt, 4) == (prompt,)


def test_a_change_that_never_comes_or_has_come_is_no_change() -> None:
    assert texts_by_call("[a:b:1.0]", 4) == texts_by_call("[a:b:99]", 4) == ("a",)
    assert texts_by_call("[a:b:0]", 4) == texts_by_call("[a:b:-1]", 4) == ("b",)


def test_a_prompt_has_only_so_many_texts() -> None:
    changes = "".join(f"[a{n}:{n}]" for n in range(1, MAX_TEXTS + 1))
    assert len(set(texts_by_call(changes, MAX_TEXTS - 1))) == MAX_TEXTS - 1
    with pytest.raises(JobRejected, match="more than 64 texts"):
        texts_by_call(changes, 200)


@pytest.mark.parametrize("prompt", ["[" * 50_000, "[a|" * 30_000, "[(" * 50_000, "[a|b]" * 20_000 + "]" * 10])
def test_brackets_without_end_take_no_time_without_end(prompt: str) -> None:
    assert texts_by_call(prompt, 2)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", (("a cat", 1.0),)),
        ("ratio 16:9", (("ratio 16:9", 1.0),)),
        ("a SANDY beach", (("a SANDY beach", 1.0),)),
        ("a AND b", (("a ", 1.0), (" b", 1.0))),
        ("a :0.5 AND b:-1 AND c", (("a ", 0.5), (" b", -1.0), (" c", 1.0))),
        ("(a:1.2) AND [b:c:0.5]", (("(a:1.2) ", 1.0), (" [b:c:0.5]", 1.0))),
        ("a AND", (("a ", 1.0), ("", 1.0))),
    ],
)
def test_and_joins_prompts_with_weights(prompt: str, expected: tuple[tuple[str, float], ...]) -> None:
    assert composed(prompt) == expected
