"""Reads requests of A1111's clients: null is not given, numbers may be texts, and what is unknown is told.

Its own API (pydantic's models) reads them so.
"""

from collections.abc import Iterable
from math import isfinite
from typing import Generic, TypeVar

import falcon
import msgspec

from api.http.contract.json_text import cut
from api.http.contract.request_parsing import BodyReader, find_nothing, read_fields
from api.http.contract.validation_errors import ValidationErrors

Input = TypeVar("Input", bound=msgspec.Struct)


class LenientReader(Generic[Input]):
    """Reads JSON bodies of one type."""

    def __init__(self, kind: type[Input], max_bytes: int) -> None:
        self._kind = kind
        self._known = frozenset(kind.__struct_encode_fields__)
        self._body = BodyReader(kind, frozenset(), find_nothing, max_bytes)

    def read(self, req: falcon.Request) -> tuple[Input, list[str]]:
        """The input in a request, and what is to be told of it.

        Raises: as BodyReader.
        """
        body = self._body.body_of(req)
        self._body.fields_of(body)  # strictly: names must be unique
        raw = msgspec.json.decode(body)
        said = {name: value for name, value in raw.items() if value is not None}
        known = {name: value for name, value in said.items() if name in self._known}
        found = read_fields(self._kind, known, frozenset(), _check_numbers, strict=False)
        return found, [told_of(name) for name in said if name not in self._known]


def told_of(name: str) -> str:
    """What is told of a name that means nothing here."""
    return f"{cut(name)} is unknown and has no effect"


def strange_parameters(req: falcon.Request, known: Iterable[str] = ()) -> list[str]:
    """What is told of the parameters of a query."""
    return [told_of(name) for name in req.params if name not in frozenset(known)]


def _check_numbers(found: msgspec.Struct, faults: ValidationErrors) -> None:
    for name, value in msgspec.structs.asdict(found).items():
        if isinstance(value, float) and not isfinite(value):
            faults.wrong(name, "must be a number")
