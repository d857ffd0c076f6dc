"""Errors as RFC 9457 problem documents: the one table from error to status code."""

import logging
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from math import ceil
from types import MappingProxyType
from typing import Final

import falcon
import msgspec
from msgspec import UNSET, UnsetType

from api.audit import refusals
from api.http.contract import errors as http
from api.http.contract.a1111_errors import a1111_error, is_of_a1111
from api.http.contract.caller import CALLER, Caller
from api.http.contract.credentials import challenge
from api.http.contract.json_text import cut
from api.http.contract.openai_errors import (
    OpenAiError,
    OpenAiRefusal,
    is_for_both,
    is_of_openai,
    openai_error,
    openai_status,
)
from api.http.contract.validation_errors import MAX_FAULTS
from kernel.process.log import line
from kernel.protocol import errors
from kernel.protocol.errors import FieldProblem, SpoonError, title_of
from kernel.protocol.memory import MemoryShortage

CONTENT_TYPE: Final = "application/problem+json"
DEFAULT_RETRY_AFTER_S: Final = 1.0
RETRIED: Final = frozenset({429, 503})
"""Statuses whose responses have Retry-After."""
MAX_REQUEST_ID: Final = 100
MAX_DETAIL: Final = 4_000
"""Characters of a detail: a response stays small, because names and texts from a client are cut."""
MAX_FIELD: Final = 200
MAX_PROBLEM: Final = 1_000

STATUS: Final[Mapping[type[SpoonError], int]] = MappingProxyType(
    {
        SpoonError: 500,
        # Errors in the request.
        http.Malformed: 400,
        errors.KeyMissing: 401,
        errors.KeyUnknown: 401,
        errors.KeyExpired: 401,
        errors.KeyRevoked: 401,
        errors.KeyNotAllowed: 403,
        http.ForbiddenHost: 403,
        http.ForbiddenOrigin: 403,
        http.BadSignature: 403,
        errors.NotFound: 404,
        http.MethodNotAllowed: 405,
        http.RequestTimeout: 408,
        errors.Conflict: 409,
        errors.ImageGone: 410,
        http.InputGone: 410,
        http.LinkExpired: 410,
        http.NoInfotext: 422,
        http.TooLarge: 413,
        http.UnsupportedMediaType: 415,
        http.RangeNotSatisfiable: 416,
        errors.InvalidField: 422,
        errors.NotSupported: 422,
        errors.ModelUnreadable: 422,
        errors.JobRejected: 422,
        errors.NotInstalled: 422,
        # Parts of HTTP that this server does not support.
        http.CodingNotSupported: 501,
        http.VersionNotSupported: 505,
        # Conditions that pass.
        errors.QueueFull: 429,
        errors.TooManyRequests: 429,
        errors.KeyLimitReached: 429,
        http.TooManyStreams: 429,
        http.TooManyWaits: 429,
        errors.Unavailable: 503,
        errors.DatabaseUnusable: 503,
        errors.DiskFull: 507,
        # Errors that a worker reported.
        errors.EngineFailed: 503,
        errors.WorkerCrashed: 503,
        errors.DownloadFailed: 503,
        errors.JobBroke: 503,
        errors.InputsLost: 503,
        errors.OutOfMemory: 503,
        errors.DeviceUnavailable: 503,
        # Errors of the bus protocol between the Manager and this process.
        errors.BadMessage: 502,
        errors.NotPermitted: 502,
        # Defects of the Manager.
        errors.InternalError: 500,
        # Errors at the start of a process, which no response ever has.
        errors.AlreadyRunning: 500,
        errors.BadConfiguration: 500,
    }
)
"""An error that is not in the table has the status of its nearest ancestor."""

_PLAIN: Final = frozenset(string.ascii_letters + string.digits + "-_.:")

_log = logging.getLogger("spoon.api.http")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error (RFC 9457). `code` is stable; `fields` names each invalid field of the request."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    fields: tuple[FieldProblem, ...] = ()
    memory: MemoryShortage | UnsetType = UNSET
    """With `not_enough_memory`: the bytes needed and available, and the remedies."""
    request_id: str
    error: OpenAiError | UnsetType = UNSET
    """The same for OpenAI's clients, on the routes that they call, too."""


@dataclass(frozen=True, slots=True)
class Document:
    """An error in the shape of its route."""

    status: int
    content_type: str
    body: bytes


def status_of(kind: type[SpoonError]) -> int:
    """The HTTP status of an error class."""
    return next(STATUS[ancestor] for ancestor in kind.__mro__ if ancestor in STATUS)


def problem_of(error: SpoonError, request_id: str) -> Problem:
    """The problem document of one error."""
    return Problem(
        type=f"{http.PROBLEM_TYPE}{error.code}",
        title=title_of(type(error)),
        status=status_of(type(error)),
        detail=cut(error.detail, MAX_DETAIL),
        code=error.code,
        fields=tuple(_short(one) for one in error.fields[:MAX_FAULTS]),
        memory=_shortage(error) or UNSET,
        request_id=request_id,
    )


def document_of(error: SpoonError, request_id: str, path: str, status: int | None = None) -> Document:
    """The document of an error on a path; `status` in place of the error's own."""
    problem = problem_of(error, request_id)
    if status is not None:
        problem = msgspec.structs.replace(problem, status=status)
    if is_of_openai(path):
        status = openai_status(problem.status)
        refusal = OpenAiRefusal(error=_for_openai(problem, status))
        return Document(status, falcon.MEDIA_JSON, msgspec.json.encode(refusal))
    if is_of_a1111(path):
        found = a1111_error(problem.code, problem.detail, problem.fields)
        return Document(problem.status, falcon.MEDIA_JSON, msgspec.json.encode(found))
    if is_for_both(path):
        problem = msgspec.structs.replace(problem, error=_for_openai(problem, problem.status))
    return Document(problem.status, CONTENT_TYPE, msgspec.json.encode(problem))


def _for_openai(problem: Problem, status: int) -> OpenAiError:
    return openai_error(status, problem.code, problem.detail, problem.fields)


def _short(one: FieldProblem) -> FieldProblem:
    return FieldProblem(field=cut(one.field, MAX_FIELD), problem=cut(one.problem, MAX_PROBLEM))


def _shortage(error: SpoonError) -> MemoryShortage | None:
    return error.shortage if isinstance(error, errors.NotEnoughMemory) else None


def install(app: "falcon.App[falcon.Request, falcon.Response]") -> None:
    """Turn every error that leaves a responder into a problem document."""
    app.add_error_handler(Exception, _answer_surprise)
    app.add_error_handler(falcon.HTTPError, _answer_falcon)
    app.add_error_handler(SpoonError, _answer_spoon)


def _answer_spoon(
    req: falcon.Request, resp: falcon.Response, error: SpoonError, params: dict[str, object]
) -> None:
    _answer(req, resp, error)


def _answer_falcon(
    req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, params: dict[str, object]
) -> None:
    """Errors of Falcon itself: an unknown path or method, an unreadable header."""
    for name, value in dict(error.headers or {}).items():
        resp.set_header(name, value)
    _answer(req, resp, _translate(req, error))


def _answer_surprise(
    req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, object]
) -> None:
    request_id = _request_id(req)
    _log.error(line("request_failed", request_id=request_id, path=req.path), exc_info=error)
    _answer(req, resp, SpoonError("internal server error; see the server log"), request_id)


def _translate(req: falcon.Request, error: falcon.HTTPError) -> SpoonError:
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return http.NoSuchPath(f"no such path: {req.path}; see /docs")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return http.MethodNotAllowed(f"{req.path} does not support {req.method}: see the Allow header")
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return http.TooLarge()
        case _:
            return http.Malformed(error.description or error.title)


def _answer(
    req: falcon.Request, resp: falcon.Response, error: SpoonError, request_id: str | None = None
) -> None:
    request_id = request_id or _request_id(req)
    document = document_of(error, request_id, req.path)
    caller: Caller | None = req.env.get(CALLER)
    key_id = None if caller is None else caller.key_id
    refusals.note(document.status, error.code, req.method, req.path, str(req.remote_addr), key_id)
    resp.status = document.status
    resp.stream = None
    resp.data = document.body
    resp.content_type = document.content_type
    resp.set_header("X-Request-ID", request_id)
    asked = {name: env_value for name in ("SEC_FETCH_DEST",) if (env_value := req.env.get(f"HTTP_{name}"))}
    for name, value in headers_of(document.status, error, asked):
        resp.set_header(name, value)


def headers_of(status: int, error: SpoonError, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers of a refusal with this status: when to come back, or how to say who asks.

    `headers` are those of the request, named as in `api.http.framework.request_head.Head`.
    """
    if status in RETRIED:
        return [("Retry-After", str(ceil(error.retry_after_s or DEFAULT_RETRY_AFTER_S)))]
    return [("WWW-Authenticate", challenge(headers))] if status == HTTPStatus.UNAUTHORIZED else []


def _request_id(req: falcon.Request) -> str:
    """The caller's own id if it is a plain word, else a new one."""
    given = req.get_header("X-Request-ID") or ""
    is_plain = 0 < len(given) <= MAX_REQUEST_ID and not set(given) - _PLAIN
    return given if is_plain else secrets.token_hex(8)
