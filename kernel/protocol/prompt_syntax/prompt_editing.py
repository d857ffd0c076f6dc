r"""Prompts that change between steps or are several, in A1111's syntax; a1111.py reads weights afterwards.

    [from:to:when]   `from` until that step, then `to`     [to:when]   nothing until that step, then `to`
    [a|b|c]          each in turn, step by step            [from::when]   `from` until that step, then nothing

`when` with a decimal point is a fraction of the steps, without one a step. All of these nest, also within
weights. What does not fit is left as it stands: `[red]` and `[16:9 red]` are for the weights.

    a AND b :0.5     both guide each step by themselves, b with half the weight

As there, a step is a call of the UNet, so samplers with two calls per step have twice as many; the first two
calls are of step 1, and `from` holds up to and including step `when`.
Source: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#prompt-editing, and the behavior
of its 1.10.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from kernel.protocol.errors import JobRejected

_NUMBER: Final = re.compile(r"\s*(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))\s*")
_TOKEN: Final = re.compile(r"\\.|[\[\]():|]|[^\\\[\]():|]+|\\", re.DOTALL)
_CLOSING: Final = {"[": "]", "(": ")"}
MAX_NESTED: Final = 20
"""Deeper brackets are left as they stand."""
MAX_TEXTS: Final = 64
"""Texts of one prompt over its steps, each of which is encoded."""
MAX_COMPOSED: Final = 8
"""Prompts joined by AND, each of which takes a row of every UNet call."""
_AND: Final = re.compile(r"\bAND\b")


@dataclass(frozen=True, slots=True)
class _Scheduled:
    before: "_Parts"
    after: "_Parts"
    when: str


@dataclass(frozen=True, slots=True)
class _Alternate:
    options: tuple["_Parts", ...]


_Parts = tuple["str | _Scheduled | _Alternate", ...]


def composed(prompt: str) -> tuple[tuple[str, float], ...]:
    """The prompts that AND joins, each with its weight. Without AND, a number at the end is text."""
    return tuple((text, weight) for text, weight, _ in composed_in_place(prompt))


def composed_in_place(prompt: str) -> tuple[tuple[str, float, int], ...]:
    """As `composed`, and where each stands in the prompt."""
    begins = (0, *(found.end() for found in _AND.finditer(prompt)))
    texts = _AND.split(prompt)
    if len(texts) == 1:
        return ((prompt, 1.0, 0),)
    return tuple((*_composed(text), begin) for text, begin in zip(texts, begins, strict=True))


def _composed(text: str) -> tuple[str, float]:
    head, colon, number = text.rpartition(":")
    found = _NUMBER.fullmatch(number) if colon else None
    return (text, 1.0) if found is None else (head, float(found["number"]))


def texts_by_call(prompt: str, steps: int) -> tuple[str, ...]:
    """The prompt of each call of the UNet, of `steps + 1` calls; a single text if it is always the same.

    Raises: JobRejected, if there are too many texts; its text still lacks the field's name.
    """
    if "[" not in prompt:
        return (prompt,)
    parts = _parse(_TOKEN.findall(prompt), 0)
    known: dict[str, str] = {}
    texts = []
    for call in range(steps + 1):
        text = "".join(_texts(parts, max(call, 1), steps))
        texts.append(known.setdefault(text, text))
        if len(known) > MAX_TEXTS:
            raise JobRejected(f"changes too often: it has more than {MAX_TEXTS} texts over its steps")
    return tuple(texts) if len(known) > 1 else tuple(known)


def _texts(parts: _Parts, step: int, steps: int) -> Iterator[str]:
    for part in parts:
        match part:
            case str():
                yield part
            case _Scheduled(before, after, when):
                last = min(steps, int(float(when) * (steps if "." in when else 1)))
                yield from _texts(before if step <= last else after, step, steps)
            case _Alternate(options):
                yield from _texts(options[(step - 1) % len(options)], step, steps)


def _parse(tokens: Sequence[str], depth: int) -> _Parts:
    """The parts of a text; one without brackets that change it is left as it stands."""
    parts: list[str | _Scheduled | _Alternate] = []
    ends = _ends(tokens) if depth < MAX_NESTED else {}
    position = 0
    while position < len(tokens):
        end = ends.get(position)
        found = None if end is None else _change(tokens[position + 1 : end], depth + 1)
        if end is None or found is None:
            parts.append(tokens[position])
            position += 1
        else:
            parts.append(found)
            position = end + 1
    return tuple(parts)


def _ends(tokens: Sequence[str]) -> dict[int, int]:
    """The place of the bracket that closes each square one. One of the wrong kind closes none, and none
    around it."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    for place, token in enumerate(tokens):
        if token in _CLOSING:
            opened.append(place)
        elif token in _CLOSING.values() and opened:
            if _CLOSING[tokens[opened[-1]]] != token:
                opened.clear()
                continue
            begin = opened.pop()
            if token == "]":
                ends[begin] = place
    return ends


def _change(tokens: Sequence[str], depth: int) -> _Scheduled | _Alternate | None:
    """What stands in a pair of brackets, if it changes between steps."""
    bars, colons = _split(tokens, "|"), _split(tokens, ":")
    if len(bars) > 1 and len(colons) == 1:
        return _Alternate(tuple(_parse(one, depth) for one in bars))
    number = _NUMBER.fullmatch("".join(colons[-1]))
    if len(bars) > 1 or len(colons) not in (2, 3) or number is None:
        return None
    before, after = colons[-3] if len(colons) == 3 else (), colons[-2]
    return _Scheduled(_parse(before, depth), _parse(after, depth), number["number"])


def _split(tokens: Sequence[str], mark: str) -> list[Sequence[str]]:
    """The tokens between marks that are not in brackets."""
    found: list[Sequence[str]] = []
    begin, open_brackets = 0, 0
    for place, token in enumerate(tokens):
        open_brackets += (token in _CLOSING) - (token in _CLOSING.values())
        if token == mark and not open_brackets:
            found.append(tokens[begin:place])
            begin = place + 1
    return [*found, tokens[begin:]]
