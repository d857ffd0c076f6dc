"""Converts typed outputs to HTTP responses."""

from datetime import UTC, datetime

import falcon
import msgspec

from kernel.protocol.errors import SpoonError


class StoredError(msgspec.Struct, frozen=True, kw_only=True):
    """The reason why a model, an engine or a job failed."""

    code: str
    detail: str


def encoded(output: msgspec.Struct) -> bytes:
    """The body of a response with JSON."""
    return msgspec.json.encode(output)


def send(resp: falcon.Response, status: int, output: msgspec.Struct) -> None:
    """Respond with JSON."""
    resp.status = status
    resp.data = encoded(output)


def send_nothing(resp: falcon.Response) -> None:
    """Respond without content (204)."""
    resp.status = 204


def moment(at_ms: int) -> datetime:
    """A time of the database as RFC 3339."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC)


def moment_or_none(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else moment(at_ms)


def stored_error(code: str | None, detail: str | None) -> StoredError | None:
    """The error of a row; None, if it has none."""
    if code is None and detail is None:
        return None
    return StoredError(code=code or SpoonError.code, detail=detail or "")
