"""What the exit codes of `spoon` mean, and which error ends with which code."""

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
    DETACHED = 130


MEANINGS: Final = {
    ExitCode.OK: "done",
    ExitCode.FAILURE: "something else went wrong; the sentence on stderr says what",
    ExitCode.USAGE: "the command line or the configuration is wrong",
    ExitCode.NOT_FOUND: "there is no such thing, or it is gone",
    ExitCode.CONFLICT: "it does not fit the present state, such as deleting an engine that runs",
    ExitCode.UNREACHABLE: "the server does not answer",
    ExitCode.AWAITED_FAILED: "the job, model or engine that was waited for failed or was cancelled",
    ExitCode.INVALID: "the server refused a value; stderr names the fields",
    ExitCode.TRY_LATER: "the server cannot take it now: the queue or the disk is full, or it is stopping",
    ExitCode.TIMED_OUT: "the time given with --timeout, or 15 minutes for an engine to start, is over",
    ExitCode.DETACHED: "interrupted with Ctrl-C; what was watched goes on",
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An RFC 9457 problem document, as far as the command line speaks of it."""

    status: int
    title: str = ""
    detail: str = ""
    code: str = "error"
    fields: tuple[FieldProblem, ...] = ()


class Refusal(SpoonError):
    """The server refused."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title or None, fields=problem.fields)
        self.problem = problem

    def reworded(self, words: Callable[[str], str]) -> "Refusal":
        """The same refusal, its sentences and fields said in other words."""
        fields = tuple(
            FieldProblem(field=words(one.field), problem=words(one.problem)) for one in self.problem.fields
        )
        return Refusal(replace(self.problem, detail=words(self.problem.detail), fields=fields))


class ServerUnreachable(SpoonError):
    """The server does not answer."""

    code = "server_unreachable"


class AwaitedFailed(SpoonError):
    """What was waited for has failed."""

    code = "failed"


class TimedOut(SpoonError):
    """It took longer than it may."""

    code = "timed_out"


class Detached(SpoonError):
    """Detached: what was watched goes on."""

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
    (BadConfiguration, ExitCode.USAGE),
)
"""The first that fits: subclasses stand before their parents."""

_EXIT_OF_STATUS: Final = {
    400: ExitCode.INVALID,
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
    """How a command ends that was stopped by this error."""
    if isinstance(error, Refusal):
        return _EXIT_OF_STATUS.get(error.problem.status, ExitCode.FAILURE)
    return next((code for kind, code in _EXIT_OF_ERROR if isinstance(error, kind)), ExitCode.FAILURE)


def code_of(error: SpoonError) -> str:
    """The stable code of an error, as the server gave it where it was the server's."""
    return error.problem.code if isinstance(error, Refusal) else error.code
