"""JSON of strangers: how much it holds is known before anything is built of it, and names come once.

A body of 600 kB can hold a hundred thousand names, and one of 32 MiB some millions of values, each of them
an object of Python; what a right body holds is a few hundred. So commas and brackets are counted first,
which takes a millisecond for a megabyte; only where there are many a scan tells those that stand in texts.
"""

import json
import re
from typing import Final

from api.http.contract.errors import Malformed, TooLarge

MAX_VALUES: Final = 4_096
"""Of a body, at most: names, entries and brackets."""
MAX_NAMES: Final = 256
"""Of one object."""
MAX_DEPTH: Final = 32
MAX_SHOWN: Final = 100
LONG_BYTES: Final = 1 << 20
_KEPT: Final = 1 << 18
"""What is left of a picture's text where only names and shapes are looked at: longer than any other text."""

_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)
"""A text, a quotation mark without its other half, or a sign that has to do with shape."""
_PICTURE: Final = re.compile(rb'"([A-Za-z0-9+/=_:;,.-]{%d})[A-Za-z0-9+/=_:;,.-]++"' % _KEPT)


def check_shape(body: bytes) -> None:
    """Refuse what no reader should even begin with.

    Raises: TooLarge, if it holds too many values; Malformed, if it is nested too deeply.
    """
    opened = body.count(b"[") + body.count(b"{")
    if opened > MAX_DEPTH or opened + body.count(b",") > MAX_VALUES:
        _scan(body)


def strict_json(body: bytes) -> object:
    """What a JSON text says. Slower than msgspec, but it sees what that takes without a word: equal names.

    The text of a picture is cut off. Raises: ValueError, RecursionError; TooLarge; Malformed.
    """
    check_shape(body)
    if len(body) > LONG_BYTES:
        body = _PICTURE.sub(rb'"\1"', body)
    found: object = _STRICT.decode(body.decode())
    return found


def cut(text: str, most: int = MAX_SHOWN) -> str:
    """The text as an answer shows it: what a client sends it need not be sent again as a whole."""
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
                return  # it is no JSON, and its reader says where
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
