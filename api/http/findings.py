"""All that is wrong with one request, gathered before it is refused."""

from collections.abc import Iterable
from difflib import get_close_matches

from kernel.protocol.errors import FieldProblem, InvalidField, NotSupported


class Findings:
    """Gathers wrong fields, and fields that are right but not served yet."""

    def __init__(self) -> None:
        self._wrong: dict[str, str] = {}
        self._later: dict[str, str] = {}

    def wrong(self, field: str, problem: str) -> None:
        """A field has a value that it can never have. The first finding about a field stays."""
        self._wrong.setdefault(field, problem)

    def later(self, field: str, problem: str = "is not supported yet") -> None:
        """A field asks for something that this version does not do."""
        self._later.setdefault(field, problem)

    def unknown(self, field: str, known: Iterable[str], our_name: str | None = None) -> None:
        """There is no such field; `our_name` is what another tool's field is called here."""
        if our_name is not None:
            self.wrong(field, f"there is no such field; here it is called {our_name}")
            return
        near = get_close_matches(field, list(known), n=1)
        self.wrong(field, f"there is no such field; is it {near[0]}?" if near else "there is no such field")

    def merge(self, other: "Findings", but_not: frozenset[str]) -> None:
        """Take over what another has found, except about some fields."""
        for field, problem in other._wrong.items():
            if field not in but_not:
                self.wrong(field, problem)
        for field, problem in other._later.items():
            if field not in but_not:
                self.later(field, problem)

    def sharpen(self, other: "Findings", fields: Iterable[str]) -> None:
        """Say of these fields what another has found, where it has: its bounds are the narrower ones."""
        self._wrong |= {field: other._wrong[field] for field in fields if field in other._wrong}

    def raise_if_any(self) -> None:
        """Refuse the request, if anything was found.

        Raises: InvalidField, if any field is wrong; NotSupported, if some are only not served yet.
        """
        fields = tuple(
            FieldProblem(field=field, problem=problem)
            for field, problem in {**self._wrong, **self._later}.items()
        )
        if self._wrong:
            raise InvalidField(_in_words(fields), fields=fields)
        if self._later:
            raise NotSupported(_in_words(fields), fields=fields)


def _in_words(fields: tuple[FieldProblem, ...]) -> str:
    return "; ".join(f"{one.field}: {one.problem}" for one in fields[:10])
