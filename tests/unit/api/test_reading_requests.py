"""Bodies and headers that are not what they should be: the right 4xx, and never a 500."""

import pytest

from kernel.protocol.client import DeleteJob, Done, SubmitJob
from tests.unit.api.fake_bus import accepted
from tests.unit.api.stage import Stage, fields_of

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
        b'{"cfg": 100.5}',
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
    stage.bus.reactions[SubmitJob] = accepted()
    result = stage.post("/v1/jobs", body=b'{"engine_id": "e1"}', headers={"Content-Type": content_type})
    assert result.status_code == 202


def test_a_compressed_body_is_refused(stage: Stage) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1"}, headers={"Content-Encoding": "gzip"})
    assert result.status_code == 415


def test_a_body_of_a_megabyte_is_too_large(stage: Stage) -> None:
    result = stage.post("/v1/engines", {"checkpoint": "m1", "name": "x" * (1 << 20)})
    assert (result.status_code, result.json["code"]) == (413, "too_large")


def test_a_job_may_be_as_long_as_the_configuration_allows(stage: Stage) -> None:
    length = str(stage.settings.server.max_body_bytes + 1)
    for content_type in ("application/json", "multipart/form-data; boundary=x"):
        headers = {"Content-Type": content_type, "Content-Length": length}
        result = stage.post("/v1/jobs", body=b"{}", headers=headers)
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


@pytest.mark.parametrize("path", ["/v1", "/v2/jobs", "/v1/jobs/j1/x", "/v1/%00", "/v1/jobs//events/x"])
def test_a_path_that_leads_nowhere_is_not_found(stage: Stage, path: str) -> None:
    result = stage.get(path)
    assert (result.status_code, result.json["code"]) == (404, "no_such_path")


def test_the_bare_address_is_the_web_page(stage: Stage) -> None:
    result = stage.get("/")
    assert (result.status_code, result.headers["content-type"]) == (200, "text/html; charset=utf-8")


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


@pytest.mark.parametrize("path", ["models", "engines", "images", "jobs"])
@pytest.mark.parametrize("cursor", ["garbage", "~", "0", "0197C5F2-8A51-7C31-9C7E-2B1F6D2F8E11", "null"])
def test_what_no_list_gave_is_no_cursor(stage: Stage, path: str, cursor: str) -> None:
    if path == "jobs" and cursor == "0":
        return
    result = stage.get(f"/v1/{path}", query_string=f"after={cursor}")
    assert (result.status_code, list(fields_of(result))) == (422, ["after"])


@pytest.mark.parametrize("path", ["models", "images"])
def test_a_pruning_takes_no_idempotency_key(stage: Stage, path: str) -> None:
    result = stage.post(f"/v1/{path}/prune", {"dry_run": True}, headers={"Idempotency-Key": "k"})
    assert (result.status_code, list(fields_of(result))) == (422, ["Idempotency-Key"])
    assert stage.bus.asked == []


def test_a_flag_that_is_none_is_told_what_it_may_be(stage: Stage) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1"}, query_string="validate_only=yes")
    assert fields_of(result) == {"validate_only": "must be true or false, not a string"}


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("DELETE", "/v1/jobs/j1", "fource=true"),
        ("DELETE", "/v1/engines/e1", "files"),
        ("PATCH", "/v1/engines/e1/start", "now=true"),
        ("POST", "/v1/engines", "dry_run=true"),
        ("POST", "/v1/jobs/j1/cancel", "now=true"),
        ("GET", "/v1/jobs/j1", "fields=prompt"),
        ("HEAD", "/v1/jobs/j1", "fields=prompt"),
        ("GET", "/metrics", "name=x"),
    ],
)
def test_a_parameter_of_a_route_that_takes_none_is_refused_by_its_name(
    stage: Stage, method: str, path: str, query: str
) -> None:
    result = stage.call(method, path, {"checkpoint": "m1"} if method == "POST" else None, query_string=query)
    assert result.status_code == 422
    if method != "HEAD":
        assert list(fields_of(result)) == [query.partition("=")[0]]
    assert stage.bus.asked == []


@pytest.mark.parametrize("body", [b'{"now": true}', b"[]", b"null", b"x" * 1_100_000])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/jobs/j1/cancel"),
        ("POST", "/v1/models/m1/retry"),
        ("PATCH", "/v1/engines/e1/stop"),
        ("DELETE", "/v1/models/m1"),
        ("GET", "/v1/jobs"),
    ],
)
def test_a_body_where_none_is_read_is_refused(stage: Stage, method: str, path: str, body: bytes) -> None:
    result = stage.call(method, path, body=body, headers=JSON)
    assert (result.status_code, fields_of(result)) == (422, {"$": "this call does not accept a body"})
    assert stage.bus.asked == []


@pytest.mark.parametrize("body", [b"", b"{}", b" {}\n"])
def test_a_body_with_nothing_in_it_is_none(stage: Stage, body: bytes) -> None:
    stage.bus.reactions[DeleteJob] = Done()
    assert stage.call("DELETE", "/v1/jobs/j1", body=body, headers=JSON).status_code == 204


def test_every_answer_is_json_whatever_the_client_would_like(stage: Stage) -> None:
    result = stage.get("/v1/jobs", headers={"Accept": "text/html"})
    assert result.headers["content-type"] == "application/json"


def test_the_callers_request_id_comes_back(stage: Stage) -> None:
    result = stage.get("/v1/jobs/none", headers={"X-Request-ID": "call-7"})
    assert result.json["request_id"] == result.headers["x-request-id"] == "call-7"


def test_a_request_id_that_could_break_a_log_is_replaced(stage: Stage) -> None:
    result = stage.get("/v1/jobs/none", headers={"X-Request-ID": "a b=c"})
    assert result.json["request_id"] != "a b=c"
