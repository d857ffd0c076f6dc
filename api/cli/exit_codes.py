"""The exit codes of `spoon`, their meanings, and the errors that map to them."""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

import msgspec
from msgspec.structs import replace

from kernel.protocol.errors import (
    BadConfiguration,
    Conflict,
    FieldProblem,
    InvalidField,
    ManagerUnreachable,
    NotFound,
    NotSupported,
    SpoonError,
    Unavailable,
)


class ExitCode(IntEnum):
    """How a command ended; scripts may rely on these numbers."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNREACHABLE = 5
    AWAITED_FAILED = 6
    INVALID = 7
    TRY_LATER = 8
    TIMED_OUT = 9
    NOT_ALLOWED = 10
    MISCONFIGURED = 78
    """EX_CONFIG of sysexits.h, which a service manager need not restart."""
    DETACHED = 130


MEANINGS: Final = {
    ExitCode.OK: "success",
    ExitCode.FAILURE: "any other error; stderr has the message",
    ExitCode.USAGE: "the command line is invalid",
    ExitCode.NOT_FOUND: "not found, or no longer available",
    ExitCode.CONFLICT: "conflict with the current state, such as deleting a running engine",
    ExitCode.UNREACHABLE: "the server is unreachable",
    ExitCode.AWAITED_FAILED: "the awaited job, model or engine failed or was cancelled",
    ExitCode.INVALID: "the server rejected a value; stderr names the fields",
    ExitCode.TRY_LATER: "temporarily unavailable: the queue or the disk is full, or the server is stopping",
    ExitCode.TIMED_OUT: "timed out: --timeout has passed, or an engine took longer than 15 minutes to start",
    ExitCode.NOT_ALLOWED: "the server asks for an API key, or the role of the key does not allow this",
    ExitCode.MISCONFIGURED: "the configuration or its keys cannot be used; stderr names every mistake",
    ExitCode.DETACHED: "interrupted with Ctrl-C; work on the server continues",
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The members of an RFC 9457 problem document that the command line uses."""

    status: int
    title: str = ""
    detail: str = ""
    code: str = "error"
    fields: tuple[FieldProblem, ...] = ()


class Refusal(SpoonError):
    """The server rejected the request."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title or None, fields=problem.fields)
        self.problem = problem

    def reworded(self, words: Callable[[str], str]) -> "Refusal":
        """The same refusal with its texts passed through `words`."""
        fields = tuple(
            FieldProblem(field=words(one.field), problem=words(one.problem)) for one in self.problem.fields
        )
        return Refusal(replace(self.problem, detail=words(self.problem.detail), fields=fields))


class ServerUnreachable(SpoonError):
    """The server is unreachable."""

    code = "server_unreachable"


class AwaitedFailed(SpoonError):
    """The awaited job, model or engine failed."""

    code = "failed"


class TimedOut(SpoonError):
    """Timed out."""

    code = "timed_out"


class Detached(SpoonError):
    """Interrupted; work on the server continues."""

    code = "detached"


_EXIT_OF_ERROR: Final[tuple[tuple[type[SpoonError], ExitCode], ...]] = (
    (ServerUnreachable, ExitCode.UNREACHABLE),
    (ManagerUnreachable, ExitCode.UNREACHABLE),
    (AwaitedFailed, ExitCode.AWAITED_FAILED),
    (TimedOut, ExitCode.TIMED_OUT),
    (Detached, ExitCode.DETACHED),
    (NotFound, ExitCode.NOT_FOUND),
    (Conflict, ExitCode.CONFLICT),
    (Unavailable, ExitCode.TRY_LATER),
    (InvalidField, ExitCode.INVALID),
    (NotSupported, ExitCode.INVALID),
    (BadConfiguration, ExitCode.MISCONFIGURED),
)
"""The first match counts, so subclasses come before their parents."""

_EXIT_OF_STATUS: Final = {
    400: ExitCode.INVALID,
    401: ExitCode.NOT_ALLOWED,
    403: ExitCode.NOT_ALLOWED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    410: ExitCode.NOT_FOUND,
    413: ExitCode.INVALID,
    415: ExitCode.INVALID,
    422: ExitCode.INVALID,
    429: ExitCode.TRY_LATER,
    503: ExitCode.TRY_LATER,
    507: ExitCode.TRY_LATER,
}


def exit_of(error: SpoonError) -> ExitCode:
    """The exit code for this error."""
    if isinstance(error, Refusal):
        return _EXIT_OF_STATUS.get(error.problem.status, ExitCode.FAILURE)
    return next((code for kind, code in _EXIT_OF_ERROR if isinstance(error, kind)), ExitCode.FAILURE)


def code_of(error: SpoonError) -> str:
    """The stable code of an error; for a Refusal, the server's."""
    return error.problem.code if isinstance(error, Refusal) else error.code
