"""Errors on the routes that OpenAI's clients call have the shape that these show."""

import pytest

from api.http.contract.openai_errors import EDITS, GENERATIONS, VARIATIONS
from api.http.contract.problems import document_of
from kernel.protocol.errors import (
    FieldProblem,
    ImageGone,
    InvalidField,
    ModelMissing,
    ModelNotFound,
    QueueFull,
    ShuttingDown,
    SpoonError,
)
from tests.unit.api.stage import Stage

STEPS = InvalidField("steps: too many", fields=(FieldProblem(field="steps", problem="too many"),))


@pytest.mark.parametrize("path", [GENERATIONS, EDITS, VARIATIONS, f"{EDITS}/"])
def test_a_wrong_field_is_their_param(path: str) -> None:
    document = document_of(STEPS, "r1", path)
    assert (document.status, document.content_type) == (400, "application/json")
    assert document.body == (
        b'{"error":{"message":"steps: too many","type":"invalid_request_error","param":"steps",'
        b'"code":"invalid_field"}}'
    )


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ModelMissing(), 400, "invalid_request_error"),
        (ModelNotFound(), 404, "invalid_request_error"),
        (ImageGone(), 410, "invalid_request_error"),
        (QueueFull(), 429, "rate_limit_error"),
        (ShuttingDown(), 503, "server_error"),
    ],
)
def test_an_error_has_a_status_and_a_type_that_their_clients_know(
    error: SpoonError, status: int, kind: str
) -> None:
    """They would send a request again that was answered with 409."""
    document = document_of(error, "r1", GENERATIONS)
    assert document.status == status
    assert f'"type":"{kind}","param":null,"code":"{error.code}"'.encode() in document.body


def test_what_was_refused_before_the_application_keeps_its_status() -> None:
    assert document_of(STEPS, "r1", GENERATIONS, status=431).status == 431


def test_routes_for_both_have_both_shapes(stage: Stage) -> None:
    for path in ("/v1/models/none", "/v1/models?limit=0"):
        result = stage.get(path)
        problem = result.json
        assert result.headers["content-type"] == "application/problem+json"
        assert problem["error"]["message"] == problem["detail"]
        assert problem["error"]["code"] == problem["code"]


def test_other_routes_have_no_second_shape(stage: Stage) -> None:
    assert "error" not in stage.get("/v1/jobs/none").json
