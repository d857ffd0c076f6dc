"""Parses JSON from untrusted clients: its size is checked before objects are built, and names must be unique.

A body of 600 kB can have a hundred thousand names, and one of 32 MiB some millions of values, each of them a
Python object; a valid body has a few hundred. So commas and brackets are counted first, which takes a
millisecond per megabyte; only if there are many, a scan leaves out those in strings.
"""

import json
import re
from typing import Final

from api.http.contract.errors import Malformed, TooLarge

MAX_VALUES: Final = 4_096
"""The most names, entries and brackets of a body."""
MAX_NAMES: Final = 256
"""The most names of one object."""
MAX_DEPTH: Final = 32
MAX_SHOWN: Final = 100
LONG_BYTES: Final = 1 << 20
_KEPT: Final = 1 << 18
"""Characters kept of an image's text where only names and shapes matter: more than any other text has."""

_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)
"""A string, an unpaired quotation mark, or a character that gives structure."""
_IMAGE_TEXT: Final = re.compile(rb'"([A-Za-z0-9+/=_:;,.-]{%d})[A-Za-z0-9+/=_:;,.-]++"' % _KEPT)


def check_shape(body: bytes) -> None:
    """Refuse a body before it is parsed.

    Raises: TooLarge, if it has too many values; Malformed, if it is nested too deeply.
    """
    opened = body.count(b"[") + body.count(b"{")
    if opened > MAX_DEPTH or opened + body.count(b",") > MAX_VALUES:
        _scan(body)


def strict_json(body: bytes) -> object:
    """Parse a JSON text. Slower than msgspec, but it notices duplicate names, which msgspec accepts.

    The text of an image is cut off. Raises: ValueError, RecursionError; TooLarge; Malformed.
    """
    check_shape(body)
    if len(body) > LONG_BYTES:
        body = _IMAGE_TEXT.sub(rb'"\1"', body)
    found: object = _STRICT.decode(body.decode())
    return found


def cut(text: str, most: int = MAX_SHOWN) -> str:
    """A text as a response shows it: a client's own long text is not sent back as a whole."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _scan(body: bytes) -> None:
    values = depth = 0
    for found in _TOKEN.finditer(body):
        match found[0]:
            case b"[" | b"{":
                depth += 1
                values += 1
            case b"]" | b"}":
                depth -= 1
            case b",":
                values += 1
            case b'"':
                return  # it is not JSON, and the parser reports where
        if depth > MAX_DEPTH:
            raise Malformed(f"the JSON must be nested at most {MAX_DEPTH} levels deep")
        if values > MAX_VALUES:
            raise TooLarge(f"the JSON must have at most {MAX_VALUES} values")


def _object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(pairs) > MAX_NAMES:
        raise TooLarge(f"a JSON object must have at most {MAX_NAMES} names")
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"duplicate name {cut(_first_twin(pairs))!r} in an object")
    return found


def _first_twin(pairs: list[tuple[str, object]]) -> str:
    seen = set[str]()
    for name, _ in pairs:
        if name in seen:
            break
        seen.add(name)
    return name


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_object_of, parse_constant=_refuse_constant)
