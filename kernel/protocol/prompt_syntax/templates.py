"""Templates of prompts: `{red|green}` is one of these, `__animals/cats__` a line of that list.

A template is read in one pass into parts; then choices are made, from left to right, each with the next
number of `draw`. The syntax is that of Dynamic Prompts, without its variables, samplers and comments
(docs/prompts.md, adr/0078). Source: https://github.com/adieyal/sd-dynamic-prompts/blob/main/docs/SYNTAX.md
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from kernel.protocol.prompts import LONGEST_PROMPT

MAX_TEMPLATE: Final = 30_000
"""Characters of a template in which choices are made."""
MAX_DEPTH: Final = 20
"""Choices in choices, and lists in the lines of lists."""
MAX_DRAWS: Final = 500
"""Choices made for one prompt."""
MAX_WEIGHT: Final = 1e6
_NAME: Final = r"(?![_ ])(?:(?!__)[\w*./ -]){1,200}(?<![_ ])"
_TOKEN: Final = re.compile(
    rf"\\(?P<plain>[{{}}]|_(?=_))|\\.|__(?P<name>{_NAME})__|(?P<mark>\$?\{{|[|}}])", re.DOTALL
)
_WEIGHT: Final = re.compile(r"\s*(?P<weight>\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})::")
_COUNT: Final = re.compile(
    r"\s*(?P<low>\d{0,4})(?P<dash>-?)(?P<high>\d{0,4})(?<=[\d-])\$\$(?:(?P<between>[^{}|$]{0,100})\$\$)?"
)
_MOST_MISSES: Final = 16
"""In a row, until what was drawn is taken out, which takes as long as there are options."""
_BETWEEN: Final = ", "
_BAR: Final = r"\|"

Draw = Callable[[], float]
"""The next number, from 0 up to but not including 1."""


class TemplateFault(Exception):
    """Why no prompt can be made of a template, without the name of its field."""


class Options:
    """What one is drawn from: templates with their weights."""

    def __init__(self, weighed: Iterable[tuple[float, str]]) -> None:
        pairs = tuple(weighed)
        self.texts = tuple(text for _, text in pairs)
        self.weights = tuple(weight for weight, _ in pairs)
        self.sums = tuple(accumulate(self.weights))


FindOptions = Callable[[str], Options]
"""The lines of the list with a name. Raises: whatever is to be raised if there is none."""


def is_list_name(name: str) -> bool:
    """True if a template can name a list so."""
    return re.fullmatch(_NAME, name) is not None and "*" not in name


def may_be_template(prompt: str) -> bool:
    """False: nothing in it is a choice."""
    return "__" in prompt or "{" in prompt


def is_template(prompt: str) -> bool:
    """True if something would be chosen, or an escaped character is to lose its backslash.

    Raises: TemplateFault.
    """
    return may_be_template(prompt) and _parts(prompt) != [prompt]


def weighed_line(line: str) -> tuple[float, str]:
    """A line of a list, as in `2::a red fox`: its weight, which is 1 if it has none, and its text."""
    found = _WEIGHT.match(line)
    if found is None:
        return 1.0, line
    return min(float(found["weight"]), MAX_WEIGHT), line[found.end() :].strip()


def expand(template: str, draw: Draw, find: FindOptions) -> str:
    """A prompt with every choice made.

    Raises: TemplateFault, as `find` does.
    """
    if not may_be_template(template):
        return template
    expansion = _Expansion(draw, find)
    return "".join(expansion.texts(_parts(template), 0))


@dataclass(frozen=True, slots=True)
class _Wildcard:
    name: str


@dataclass(frozen=True, slots=True)
class _Choice:
    options: "tuple[tuple[_Part, ...], ...]"
    weights: tuple[float, ...]
    low: int = 1
    high: int | None = 1
    """None: as many as there are."""
    between: str = _BETWEEN


_Part = str | _Wildcard | _Choice


@dataclass(slots=True)
class _Open:
    """A brace whose end was not met yet."""

    opening: str
    """As written, with the number of options."""
    count: "re.Match[str] | None" = None
    options: list[list[_Part]] = field(default_factory=lambda: [[]])
    weighing: list[str] = field(default_factory=list)
    """The weight of each option, as written."""

    def as_text(self, ending: str) -> list[_Part]:
        """What is no choice is text."""
        found: list[_Part] = [self.opening]
        for number, (weighing, option) in enumerate(zip(self.weighing, self.options, strict=True)):
            found += ["|"] * (number > 0) + [weighing] * (weighing != "") + option
        return [*found, ending] if ending else found

    def as_choice(self) -> _Choice:
        options = tuple(tuple(_stripped(option)) for option in self.options)
        weights = tuple(
            min(float(text.strip().removesuffix("::")), MAX_WEIGHT) if text else 1.0 for text in self.weighing
        )
        if self.count is None:
            return _Choice(options, weights)
        low, high = self.count["low"], self.count["high"]
        least = int(low) if low else 1
        most = (int(high) if high else None) if self.count["dash"] else least
        between = self.count["between"]
        return _Choice(options, weights, least, most, _BETWEEN if between is None else between)


def _parts(template: str) -> list[_Part]:
    """The parts of a template; texts beside each other are one.

    Raises: TemplateFault.
    """
    if len(template) > MAX_TEMPLATE:
        raise TemplateFault(
            f"must have at most {MAX_TEMPLATE:,} characters with choices, not {len(template):,}"
        )
    done: list[_Part] = []
    opened: list[_Open] = []
    at = 0
    while at < len(template):
        token = _TOKEN.search(template, at)
        parts = opened[-1].options[-1] if opened else done
        parts.append(template[at : len(template) if token is None else token.start()])
        if token is None:
            break
        at = token.end()
        mark = token["mark"]
        if mark == "${":
            raise TemplateFault(r"has a variable (${...}), which is not supported: write $\{ if it is text")
        if mark == "{":
            if len(opened) == MAX_DEPTH:
                raise TemplateFault(f"has choices nested more than {MAX_DEPTH} deep")
            at = _open(opened, template, at)
        elif mark == "|" and opened:
            opened[-1].options.append([])
            at = _weigh(opened[-1], template, at)
        elif mark == "}" and opened:
            _close(opened, done)
        else:
            parts.append(token["plain"] or (_Wildcard(token["name"]) if token["name"] else token[0]))
    for one in reversed(opened):  # what was never closed is text
        inner = one.as_text("")
        opened.pop()
        (opened[-1].options[-1] if opened else done).extend(inner)
    return _joined(done)


def _open(opened: list[_Open], template: str, at: int) -> int:
    """Begin a choice. Returns: where its first option begins."""
    count = _COUNT.match(template, at)
    opened.append(_Open("{" if count is None else "{" + count[0], count))
    return _weigh(opened[-1], template, at if count is None else count.end())


def _weigh(one: _Open, template: str, at: int) -> int:
    found = _WEIGHT.match(template, at)
    one.weighing.append("" if found is None else found[0])
    return at if found is None else found.end()


def _close(opened: list[_Open], done: list[_Part]) -> None:
    """End the last choice. Braces around one thing are text, unless they say how many."""
    one = opened.pop()
    outer = opened[-1].options[-1] if opened else done
    if one.count is None and len(one.options) == 1:
        outer.extend(one.as_text("}"))
    else:
        outer.append(one.as_choice())


def _joined(parts: Sequence[_Part]) -> list[_Part]:
    found: list[_Part] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        elif part != "":
            found.append(part)
    return found


def _stripped(option: Sequence[_Part]) -> list[_Part]:
    """An option without the blanks around it, and with its escaped bars as they are meant."""
    parts = _joined(["|" if part == _BAR else part for part in option])
    if parts and isinstance(parts[0], str):
        parts[0] = parts[0].lstrip()
    if parts and isinstance(parts[-1], str):
        parts[-1] = parts[-1].rstrip()
    return parts


@dataclass(slots=True)
class _Expansion:
    """One prompt in the making, and what has been spent on it."""

    draw: Draw
    find: FindOptions
    draws: int = 0
    characters: int = 0

    def texts(self, parts: Iterable[_Part], depth: int) -> Iterator[str]:
        if depth > MAX_DEPTH:
            raise TemplateFault(f"has choices nested more than {MAX_DEPTH} deep: a list may name itself")
        for part in parts:
            match part:
                case str():
                    self.characters += len(part)
                    if self.characters > LONGEST_PROMPT:
                        raise TemplateFault(f"becomes longer than {LONGEST_PROMPT:,} characters")
                    yield part
                case _Wildcard():
                    options = self.find(part.name)
                    yield self._line(options, self._one(options.sums), depth)
                case _Choice():
                    yield self._chosen(part, depth)

    def _line(self, options: Options, index: int, depth: int) -> str:
        return "".join(self.texts(_parts(options.texts[index]), depth + 1))

    def _chosen(self, choice: _Choice, depth: int) -> str:
        match choice.options:
            case ((_Wildcard() as only,),):
                options = self.find(only.name)
                indices = self._some(choice, options.weights, options.sums)
                chosen = [self._line(options, one, depth) for one in indices]
            case options_of:
                indices = self._some(choice, choice.weights, tuple(accumulate(choice.weights)))
                chosen = ["".join(self.texts(options_of[one], depth + 1)) for one in indices]
        return choice.between.join(chosen)

    def _some(self, choice: _Choice, weights: Sequence[float], sums: Sequence[float]) -> list[int]:
        """The options that are chosen, each at most once, in the order in which they were drawn.

        What was drawn before is drawn again, which is as if it were no longer there; when that has happened
        often, it is taken out.
        """
        most = len(weights) if choice.high is None else min(choice.high, len(weights))
        least = min(choice.low, most)
        wanted = least + (int(self.draw() * (most - least + 1)) if most > least else 0)
        chosen, misses = dict[int, None](), 0
        while len(chosen) < wanted and (sums[-1] or not chosen):
            index = self._one(sums, is_again=misses > 0)
            misses = misses + 1 if index in chosen else 0
            chosen[index] = None
            if misses == _MOST_MISSES:
                sums = tuple(accumulate(0.0 if n in chosen else one for n, one in enumerate(weights)))
        return list(chosen)

    def _one(self, sums: Sequence[float], *, is_again: bool = False) -> int:
        """An option, by the sums of the weights up to each."""
        if not sums or not sums[-1]:
            raise TemplateFault("has a choice without any option of a weight above 0")
        self.draws += not is_again
        if self.draws > MAX_DRAWS:
            raise TemplateFault(f"needs more than {MAX_DRAWS} choices")
        return min(bisect_right(sums, self.draw() * sums[-1]), len(sums) - 1)
