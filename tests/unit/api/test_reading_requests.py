"""Bodies and headers that are not what they should be: the right 4xx, and never a 500."""

import pytest

from kernel.protocol.client import JobAccepted, SubmitJob
from kernel.protocol.ids import JobId
from tests.unit.api.stage import Stage

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"engine_id": "e1"',
        b'{"engine_id": "e1"}}',
        b'{"engine_id": NaN}',
        b'{"cfg": Infinity}',
        b'{"prompt": "\xff"}',
        b'{"prompt": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"engine_id": "e1", "engine_id": "e2"}',
        b'{"scheduler_config": {"a": 1, "a": 2}, "engine_id": "e1"}',
        b'{"unknown": 1, "unknown": 2}',
        b'{"deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 100_000,
        b'{"seed": ' + b"9" * 5_000 + b"}",
        b'{"steps": 0, "cfg": NaN}',
    ],
)
def test_what_is_no_right_json_is_malformed(stage: Stage, body: bytes) -> None:
    result = stage.post("/v1/jobs", body=body, headers=JSON)
    assert (result.status_code, result.json["code"]) == (400, "malformed")
    assert stage.bus.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b'"text"',
        b"7",
        b'{"cfg": 1e999}',
        b'{"seed": ' + b"9" * 4_000 + b"}",
        b'{"steps": 1e400}',
        b'{"scheduler_config": {"a": ' + b"9" * 4_000 + b"}}",
    ],
)
def test_right_json_of_a_wrong_kind_is_invalid(stage: Stage, body: bytes) -> None:
    result = stage.post("/v1/jobs", body=body, headers=JSON)
    assert (result.status_code, result.json["code"]) == (422, "invalid_field")


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "x"],
)
def test_another_type_than_json_is_refused(stage: Stage, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    result = stage.post("/v1/jobs", body=b'{"engine_id": "e1"}', headers=headers)
    assert (result.status_code, result.json["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON", 'application/json; charset="UTF-8"']
)
def test_json_is_json_however_it_is_spelt(stage: Stage, content_type: str) -> None:
    stage.bus.reactions[SubmitJob] = JobAccepted(job_id=JobId("j1"), image_ids=(), created_at_ms=1)
    result = stage.post("/v1/jobs", body=b'{"engine_id": "e1"}', headers={"Content-Type": content_type})
    assert result.status_code == 202


def test_a_compressed_body_is_refused(stage: Stage) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1"}, headers={"Content-Encoding": "gzip"})
    assert result.status_code == 415


def test_parts_beside_a_job_are_not_supported_yet(stage: Stage) -> None:
    result = stage.post(
        "/v1/jobs", body=b"--x--", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert (result.status_code, result.json["code"]) == (422, "not_supported")


def test_a_body_of_a_megabyte_is_too_large(stage: Stage) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1", "prompt": "x" * (1 << 20)})
    assert (result.status_code, result.json["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/v1/jobs"), ("DELETE", "/v1/jobs"), ("POST", "/v1/jobs/j1"), ("PATCH", "/v1/health/live")],
)
def test_a_method_that_a_path_does_not_know_is_told_with_those_it_knows(
    stage: Stage, method: str, path: str
) -> None:
    result = stage.call(method, path)
    assert (result.status_code, result.json["code"]) == (405, "method_not_allowed")
    assert "GET" in result.headers["allow"]


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/jobs", "/v1/jobs/j1/x", "/v1/%00", "/v1/jobs//events/x"])
def test_a_path_that_leads_nowhere_is_not_found(stage: Stage, path: str) -> None:
    result = stage.get(path)
    assert (result.status_code, result.json["code"]) == (404, "no_such_path")


@pytest.mark.parametrize("job_id", ["none", "%00", "%ff", "' OR 1=1 --", "x" * 5_000, "..%2f..%2fetc"])
def test_an_id_of_nothing_is_not_found(stage: Stage, job_id: str) -> None:
    result = stage.get(f"/v1/jobs/{job_id}")
    assert result.status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=1&limit=2",
        "after=x",
        "status=lost",
        "sort=up",
        "limit=",
        "status=null",
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(stage: Stage, query: str) -> None:
    result = stage.get("/v1/jobs", query_string=query)
    assert result.status_code == 422
    assert result.json["fields"][0]["field"] == query.partition("=")[0]


def test_every_answer_is_json_whatever_the_client_would_like(stage: Stage) -> None:
    result = stage.get("/v1/jobs", headers={"Accept": "text/html"})
    assert result.headers["content-type"] == "application/json"


def test_the_callers_request_id_comes_back(stage: Stage) -> None:
    result = stage.get("/v1/jobs/none", headers={"X-Request-ID": "call-7"})
    assert result.json["request_id"] == result.headers["x-request-id"] == "call-7"


def test_a_request_id_that_could_break_a_log_is_replaced(stage: Stage) -> None:
    result = stage.get("/v1/jobs/none", headers={"X-Request-ID": "a b=c"})
    assert result.json["request_id"] != "a b=c"
