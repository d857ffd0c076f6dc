"""Errors in OpenAI's shape, on the routes that its clients call, which show nothing of a problem document."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from kernel.protocol.errors import FieldProblem

IMAGES: Final = "/v1/images"
GENERATIONS: Final = f"{IMAGES}/generations"
EDITS: Final = f"{IMAGES}/edits"
VARIATIONS: Final = f"{IMAGES}/variations"
PATHS: Final = frozenset({GENERATIONS, EDITS, VARIATIONS})
"""Whose errors have this shape alone."""

_MODELS: Final = re.compile(r"/v1/models(/[^/]+)?/?")
_STATUSES: Final[Mapping[int, int]] = MappingProxyType({409: 400, 422: 400})
"""Their clients take 409 for a lock and send the request again; OpenAI says 400 for wrong fields."""
_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
)


class OpenAiError(msgspec.Struct, frozen=True, kw_only=True):
    """An error as OpenAI's clients show it; `code` is that of a problem document, `param` a wrong field."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAiRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """An error of the routes that OpenAI's clients call."""

    error: OpenAiError


def is_of_openai(path: str) -> bool:
    """True for a route that only OpenAI's clients call."""
    return path.rstrip("/") in PATHS


def is_for_both(path: str) -> bool:
    """True for a route that OpenAI's clients call, and ours."""
    return _MODELS.fullmatch(path) is not None


def openai_status(status: int) -> int:
    """The status on these routes of an error that has this one elsewhere."""
    return _STATUSES.get(status, status)


def openai_error(status: int, code: str, detail: str, fields: tuple[FieldProblem, ...]) -> OpenAiError:
    """An error with this status."""
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    return OpenAiError(message=detail, type=kind, param=fields[0].field if fields else None, code=code)
