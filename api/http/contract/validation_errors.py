"""Collects all errors of one request before it is refused."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from api.http.contract.json_text import cut
from kernel.protocol.errors import FieldProblem, InvalidField, NotSupported

MAX_FAULTS: Final = 20
"""Errors listed in one response; the others are counted."""
MAX_GUESSED: Final = 40
"""Longer names are not compared: no field has one, and the comparison takes longer for long names."""
_IN_WORDS: Final = 10


class ValidationErrors:
    """Collects invalid fields, and fields that are valid but not supported yet."""

    def __init__(self) -> None:
        self._wrong: dict[str, str] = {}
        self._later: dict[str, str] = {}

    @property
    def is_full(self) -> bool:
        """True if further errors are only counted, so that hints need not be computed."""
        return len(self._wrong) >= MAX_FAULTS

    def wrong(self, field: str, problem: str) -> None:
        """Report an invalid field. The first error of a field is kept."""
        self._wrong.setdefault(cut(field), problem)

    def later(self, field: str, problem: str = "is not supported yet") -> None:
        """Report a field that this version does not support."""
        self._later.setdefault(cut(field), problem)

    def unknown(self, field: str, known: Iterable[str], our_name: str | None = None) -> None:
        """Report an unknown field; `our_name` is our name for another tool's field."""
        if our_name is not None:
            self.wrong(field, f"unknown field; use {our_name}")
            return
        is_guessed = not self.is_full and len(field) <= MAX_GUESSED
        near = get_close_matches(field, list(known), n=1) if is_guessed else ()
        self.wrong(field, f"unknown field; did you mean {near[0]}?" if near else "unknown field")

    def merge(self, other: "ValidationErrors", but_not: frozenset[str]) -> None:
        """Add the errors of `other`, except those of some fields."""
        for field, problem in other._wrong.items():
            if field not in but_not:
                self.wrong(field, problem)
        for field, problem in other._later.items():
            if field not in but_not:
                self.later(field, problem)

    def sharpen(self, other: "ValidationErrors", fields: Iterable[str]) -> None:
        """Replace the errors of these fields by those of `other`, whose bounds are narrower."""
        self._wrong |= {field: other._wrong[field] for field in fields if field in other._wrong}

    def raise_if_any(self) -> None:
        """Refuse the request, if there are errors.

        Raises: InvalidField, if any field is wrong; NotSupported, if some are only not supported yet.
        """
        if not self._wrong and not self._later:
            return
        found = {**self._wrong, **self._later}
        shown = list(found.items())[:MAX_FAULTS]
        fields = tuple(FieldProblem(field=field, problem=problem) for field, problem in shown)
        if self._wrong:
            raise InvalidField(_in_words(fields, len(found)), fields=fields)
        if self._later:
            raise NotSupported(_in_words(fields, len(found)), fields=fields)


def _in_words(fields: tuple[FieldProblem, ...], found: int) -> str:
    told = [f"{one.field}: {one.problem}" for one in fields[:_IN_WORDS]]
    more = found - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")
