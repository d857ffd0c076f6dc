"""Rewords msgspec's validation errors: what a value must be, instead of which type was expected."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kernel.protocol.values import FORMS

MAX_TOLD: Final = 600
"""Longer messages of msgspec contain a name that a client made up: the middle is cut out."""
_PLACE: Final = re.compile(r"(?s)^(?P<problem>.*?)(?: - at `\$(?P<path>.*)`)?$")
"""Groups: the problem, then its path."""
_EXPECTED: Final = re.compile(r"(?s)^Expected `(?P<kinds>[^`]+)`(?P<rest>.*)$")
_GOT: Final = re.compile(r"^, got `(?P<kind>[^`]+)`$")
_LENGTH: Final = re.compile(r"^ of length (?P<sign>[<>]=) (?P<number>\d+)$")
_BOUND: Final = re.compile(r"^ (?P<sign>[<>]=?) (?P<number>\S+)$")
_MULTIPLE: Final = re.compile(r"^ that's a multiple of (?P<number>\S+)$")
_PATTERN: Final = re.compile(r"(?s)^ matching regex '(?P<pattern>.*)'$")
_OF_OBJECT: Final = re.compile(r"^Object (?P<fault>contains unknown|missing required) field `(?P<name>.*)`$")

_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "int": "a whole number",
        "float": "a number",
        "str": "a string",
        "bool": "true or false",
        "array": "a list",
        "object": "an object",
    }
)
TOO_MUCH: Final = "must be at most "
"""How a message begins about a number above its bound."""
_BOUNDS: Final[Mapping[str, str]] = MappingProxyType(
    {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
)


def in_words(told: str) -> tuple[str, str]:
    """The path below the root, such as `.loras[0].weight`, and the problem as a sentence."""
    if len(told) > MAX_TOLD:
        told = f"{told[: MAX_TOLD // 2]}...{told[-MAX_TOLD // 2 :]}"
    place = _PLACE.match(told)
    if place is None:
        return "", told
    problem, path = place["problem"], place["path"] or ""
    if of_object := _OF_OBJECT.match(problem):
        is_missing = of_object["fault"] == "missing required"
        return f"{path}.{of_object['name']}", "is required" if is_missing else "unknown field"
    expected = _EXPECTED.match(problem)
    return path, problem.replace("`", "") if expected is None else _must(expected["kinds"], expected["rest"])


def _must(kinds: str, rest: str) -> str:
    """The sentence for an expected kind, bound or length."""
    if got := _GOT.match(rest):
        return f"must be {_kinds(kinds)}, not {_KINDS.get(got['kind'], got['kind'])}"
    if length := _LENGTH.match(rest):
        return _must_have(kinds, length["sign"], int(length["number"]))
    if bound := _BOUND.match(rest):
        return f"must be {_BOUNDS[bound['sign']]} {bound['number'].removesuffix('.0')}"
    if multiple := _MULTIPLE.match(rest):
        return f"must be a multiple of {multiple['number']}"
    if pattern := _PATTERN.match(rest):
        return f"must be {FORMS.get(pattern['pattern'], 'of the form ' + pattern['pattern'])}"
    return f"must be {_kinds(kinds)}{rest}".replace("`", "")


def _must_have(kinds: str, sign: str, number: int) -> str:
    if (sign, number) == (">=", 1):
        return "must not be empty"
    return f"must have {_BOUNDS[sign]} {number} {'characters' if kinds == 'str' else 'entries'}"


def _kinds(told: str) -> str:
    """The kinds in words. `int
    null` is "a whole number": optionality is left out.
    """
    names = [name for name in told.split(" | ") if name != "null"] or ["null"]
    return " or ".join(_KINDS.get(name, name) for name in names)
