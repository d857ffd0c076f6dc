"""Every error has an exit code, and every exit code a meaning."""

import pytest

from api.cli.exit_codes import MEANINGS, Detached, ExitCode, Problem, Refusal, TimedOut, code_of, exit_of
from kernel.protocol.errors import (
    BadConfiguration,
    DatabaseUnusable,
    EngineNotFound,
    ManagerUnreachable,
    QueueFull,
    SpoonError,
)


def test_every_exit_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EngineNotFound(), ExitCode.NOT_FOUND),
        (ManagerUnreachable(), ExitCode.UNREACHABLE),
        (QueueFull(), ExitCode.TRY_LATER),
        (BadConfiguration(), ExitCode.MISCONFIGURED),
        (DatabaseUnusable(), ExitCode.FAILURE),
        (Detached(), ExitCode.DETACHED),
        (TimedOut(), ExitCode.TIMED_OUT),
    ],
)
def test_an_error_ends_with_the_code_of_its_kind(error: SpoonError, code: ExitCode) -> None:
    assert exit_of(error) is code


def test_a_refusal_ends_with_the_code_of_its_status_and_keeps_its_own_code() -> None:
    refusal = Refusal(Problem(status=409, title="Conflict", code="name_taken"))
    assert (exit_of(refusal), code_of(refusal), str(refusal)) == (ExitCode.CONFLICT, "name_taken", "Conflict")
    assert exit_of(Refusal(Problem(status=500))) is ExitCode.FAILURE
