"""A wrong value is told in plain words, not in those of the library that found it."""

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from kernel.protocol.error_texts import in_words
from kernel.protocol.values import Color


class Part(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Whole(msgspec.Struct, forbid_unknown_fields=True):
    number: Annotated[int, Meta(ge=1, le=8, multiple_of=2)] | None = None
    share: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    text: Annotated[str, Meta(min_length=1, max_length=3, pattern="^[a-z]*$")] = "a"
    flag: bool = False
    parts: Annotated[tuple[str | Part, ...], Meta(min_length=2, max_length=3)] = ("a", "b")
    color: Color = "#ffffff"
    mix: float | tuple[float, ...] | None = None


@pytest.mark.parametrize(
    ("body", "path", "problem"),
    [
        ('{"number": "7"}', ".number", "must be a whole number, not a string"),
        ('{"number": 1.5}', ".number", "must be a whole number, not a number"),
        ('{"number": 0}', ".number", "must be at least 1"),
        ('{"number": 10}', ".number", "must be at most 8"),
        ('{"number": 3}', ".number", "must be a multiple of 2"),
        ('{"share": 0}', ".share", "must be more than 0"),
        ('{"share": 1}', ".share", "must be less than 1"),
        ('{"share": null}', ".share", "must be a number, not null"),
        ('{"text": ""}', ".text", "must not be empty"),
        ('{"text": "abcd"}', ".text", "must have at most 3 characters"),
        ('{"text": "A"}', ".text", "must be of the form ^[a-z]*$"),
        ('{"color": "red"}', ".color", "must be a color written #rrggbb, such as #ff0000 for red"),
        ('{"flag": "yes"}', ".flag", "must be true or false, not a string"),
        ('{"parts": ["a"]}', ".parts", "must have at least 2 entries"),
        ('{"parts": ["a", 5]}', ".parts[1]", "must be a string or an object, not a whole number"),
        ('{"parts": ["a", {}]}', ".parts[1].name", "is required"),
        ('{"parts": ["a", {"name": "b", "size": 1}]}', ".parts[1].size", "unknown field"),
        ('{"mix": "x"}', ".mix", "must be a number or a list, not a string"),
        ("[]", "", "must be an object, not a list"),
    ],
)
def test_a_problem_is_a_sentence_of_ours(body: str, path: str, problem: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(body, type=Whole)
    assert in_words(str(caught.value)) == (path, problem)


def test_what_nobody_foresaw_is_passed_on_without_its_quotes() -> None:
    assert in_words("Invalid `thing` - at `$.x`") == (".x", "Invalid thing")
