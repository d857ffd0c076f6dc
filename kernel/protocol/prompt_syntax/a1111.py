r"""Prompts in the syntax of AUTOMATIC1111's web UI: weights in brackets, and BREAK.

    (word)          1.1 times as strong        ((word))   1.1 times 1.1
    [word]          1.1 times weaker           \( \) \[ \] \\   the character itself
    (word:1.3)      1.3 times as strong        BREAK      what follows begins a chunk of its own

Brackets nest, and their weights multiply. What is never closed goes on to the end, what was never opened is a
character like any other. There are no errors: every text means something.
Source: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#attentionemphasis
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, assert_never

ROUND: Final = "("
SQUARE: Final = "["
WEIGHTS: Final = {ROUND: 1.1, SQUARE: 1 / 1.1}
_OPENING: Final = {")": ROUND, "]": SQUARE}

_SYMBOL: Final = re.compile(
    r"""
      \\(?P<escaped>[\\()\[\]])
    | (?P<lone>\\)
    | :\s*(?P<weight>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))\s*(?P<end>\))
    | (?P<bracket>[()\[\]])
    | (?P<text>[^\\()\[\]:]+|:)
    """,
    re.VERBOSE,
)
_SPECIAL: Final = re.compile(r"[\\()\[\]]")
BREAK: Final = re.compile(r"\bBREAK\b")


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a prompt with one weight."""

    text: str
    weight: float = 1.0
    runs: tuple["Run", ...] = field(default=(), compare=False)
    """Where its text stands in the prompt."""

    def place_of(self, index: int) -> int:
        """The place in the prompt of a character of `text`."""
        run = self.runs[bisect_right(self.runs, index, key=lambda one: one.index) - 1]
        return run.place + index - run.index


@dataclass(frozen=True, slots=True)
class Run:
    """From `index` on, a fragment's text is that of the prompt from `place` on, up to the next run."""

    index: int
    place: int


Section = tuple[Fragment, ...]
"""The fragments between two BREAKs."""


def parse(prompt: str) -> tuple[Section, ...]:
    """Parse a prompt into at least one section. Adjacent fragments differ in weight, and none is empty."""
    reading = _Reading()
    for symbol in _SYMBOL.finditer(prompt):
        reading.take(symbol)
    return _sections(reading.parts)


def written(section: Section) -> str:
    """A section in the plainest syntax: each fragment with a weight has brackets and a number of its own."""
    return "".join(_written(fragment) for fragment in section)


def _written(fragment: Fragment) -> str:
    text = _SPECIAL.sub(r"\\\g<0>", fragment.text)
    return text if fragment.weight == 1.0 else f"({text}:{fragment.weight:.17f})"


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    place: int


@dataclass(slots=True)
class _Opened:
    """An opening bracket, with the weight that applies if it is never closed."""

    kind: str
    weight: float


@dataclass(frozen=True, slots=True)
class _Closed:
    kind: str


@dataclass(frozen=True, slots=True)
class _Break:
    pass


@dataclass(slots=True)
class _Growing:
    """A fragment to which more text may be added."""

    weight: float
    parts: list[_Text] = field(default_factory=list)

    def fragment(self) -> Fragment:
        lengths = accumulate((len(one.text) for one in self.parts), initial=0)
        runs = tuple(Run(index, one.place) for index, one in zip(lengths, self.parts, strict=False))
        return Fragment("".join(one.text for one in self.parts), self.weight, runs)


class _Reading:
    """The state while a prompt is parsed."""

    def __init__(self) -> None:
        self.parts: list[_Text | _Opened | _Closed | _Break] = []
        self._open: dict[str, list[_Opened]] = {ROUND: [], SQUARE: []}

    def take(self, symbol: re.Match[str]) -> None:
        """Process the next symbol."""
        bracket = symbol["bracket"]
        if symbol["escaped"]:
            self.parts.append(_Text(symbol["escaped"], symbol.start("escaped")))
        elif symbol["weight"] and self._open[ROUND]:
            self._close(ROUND, float(symbol["weight"]))
        elif bracket in (ROUND, SQUARE):
            opened = _Opened(bracket, WEIGHTS[bracket])
            self._open[bracket].append(opened)
            self.parts.append(opened)
        elif bracket and self._open[_OPENING[bracket]]:
            self._close(_OPENING[bracket])
        elif not symbol["lone"]:  # which is dropped, as there
            self._write(symbol[0], symbol.start())

    def _write(self, text: str, place: int) -> None:
        begin = 0
        for found in BREAK.finditer(text):
            self.parts += (_Text(text[begin : found.start()], place + begin), _Break())
            begin = found.end()
        self.parts.append(_Text(text[begin:], place + begin))

    def _close(self, kind: str, weight: float | None = None) -> None:
        opened = self._open[kind].pop()
        if weight is not None:
            opened.weight = weight
        self.parts.append(_Closed(kind))


def _sections(parts: Iterable[_Text | _Opened | _Closed | _Break]) -> tuple[Section, ...]:
    """The fragments with their weights. The two kinds of brackets may overlap, so each has its own
    products."""
    products = {ROUND: [1.0], SQUARE: [1.0]}
    sections: list[list[_Growing]] = [[]]
    for part in parts:
        match part:
            case _Opened(kind, weight):
                products[kind].append(products[kind][-1] * weight)
            case _Closed(kind):
                products[kind].pop()
            case _Break():
                sections.append([])
            case _Text():
                _add(sections[-1], part, products[ROUND][-1] * products[SQUARE][-1])
            case _:
                assert_never(part)
    return tuple(tuple(one.fragment() for one in section) for section in sections)


def _add(section: list[_Growing], part: _Text, weight: float) -> None:
    """Adjacent fragments of the same weight are joined, because the tokenizer must see words as they were
    written."""
    if not part.text:
        return
    if not section or section[-1].weight != weight:
        section.append(_Growing(weight))
    section[-1].parts.append(part)
