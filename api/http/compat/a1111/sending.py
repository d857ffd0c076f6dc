"""Answers in A1111's shapes, with what has no effect in a header."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import falcon
import msgspec

from api.http.compat.job_end import tell_in_header


def send_told(
    resp: falcon.Response,
    output: msgspec.Struct | Sequence[msgspec.Struct] | dict[str, object],
    told: Iterable[str] = (),
) -> None:
    """Respond with JSON: an object or a list."""
    resp.status = 200
    resp.data = msgspec.json.encode(output)
    tell_in_header(resp, told)


def send_null(resp: falcon.Response, told: Iterable[str] = ()) -> None:
    """Respond with null, as A1111 does where it has nothing to say."""
    resp.status = 200
    resp.data = b"null"
    tell_in_header(resp, told)


def stamp(at_ms: int) -> str:
    """A time as A1111 writes it."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y%m%d%H%M%S")
