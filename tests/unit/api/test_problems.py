"""Errors as problem documents, and their one table of status codes."""

import pytest

import api.http.contract.errors as http_errors
from api.http.contract.problems import STATUS, problem_of, status_of
from api.hub import Hub
from kernel.protocol.errors import (
    DiskFull,
    FieldProblem,
    ImageGone,
    InvalidField,
    JobNotFound,
    ModelInUse,
    NotSupported,
    QueueFull,
    ShuttingDown,
    SpoonError,
    TooManyRequests,
)
from kernel.protocol.refusals import all_errors
from tests.unit.api.stage import Stage

OURS = {"error", "internal_error", "already_running", "bad_configuration"}
"""What stands for a mistake of ours, and what never answers a request."""


@pytest.mark.parametrize("code", sorted(all_errors(http_errors.__name__)))
def test_every_error_has_a_status_that_is_no_accident(code: str) -> None:
    status = status_of(all_errors(http_errors.__name__)[code])
    assert 400 <= status < 600
    assert (status == 500) == (code in OURS)


def test_the_table_names_only_errors_that_exist() -> None:
    assert set(STATUS) <= set(all_errors(http_errors.__name__).values())
    assert http_errors.Malformed in STATUS


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidField, 422),
        (NotSupported, 422),
        (JobNotFound, 404),
        (ModelInUse, 409),
        (ImageGone, 410),
        (QueueFull, 429),
        (TooManyRequests, 429),
        (ShuttingDown, 503),
        (DiskFull, 507),
    ],
)
def test_an_error_has_the_status_of_its_kind(error: type[SpoonError], status: int) -> None:
    assert status_of(error) == status


def test_a_problem_document_says_all_that_the_error_says() -> None:
    error = InvalidField("steps: too many", fields=(FieldProblem(field="steps", problem="too many"),))
    problem = problem_of(error, "r1")
    assert problem.type == "urn:automatic-spoon:problem:invalid_field"
    assert problem.title == "Invalid field"
    assert (problem.status, problem.code, problem.detail) == (422, "invalid_field", "steps: too many")
    assert (problem.fields, problem.request_id) == (error.fields, "r1")


class BrokenHub(Hub):
    """A hub with a mistake in it."""

    def job_progress(self, job_id: str) -> None:
        raise RuntimeError("a secret of the server")


def test_a_mistake_of_the_server_is_logged_and_not_shown(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.database.add_job(1, "j1")
    stage.hub.__class__ = BrokenHub
    result = stage.get("/v1/jobs/j1")
    assert (result.status_code, result.json["code"]) == (500, "error")
    assert "secret" not in result.text
    assert f"request_id={result.json['request_id']}" in caplog.text
    assert "a secret of the server" in caplog.text


def test_a_database_that_cannot_be_read_is_unavailable(stage: Stage) -> None:
    stage.database.connection.execute("DROP TABLE job")
    result = stage.get("/v1/jobs/j1")
    assert (result.status_code, result.json["code"]) == (503, "database_unusable")
