"""Pages that a browser shows cannot use the server on the same machine."""

import pytest

from tests.unit.api.stage import Stage


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:7870",
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]:7870",
        "192.168.1.5:7870",
        "studio:99",
    ],
)
def test_the_servers_own_names_are_answered(stage: Stage, host: str) -> None:
    assert stage.get("/v1/health/live", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.example:7870", "127.0.0.1.evil.example", "[x]", "a@b"],
)
def test_a_foreign_name_is_refused(stage: Stage, host: str) -> None:
    result = stage.get("/v1/health/live", headers={"Host": host})
    assert (result.status_code, result.json["code"]) == (403, "forbidden_host")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9999", "https://localhost:1", "http://[", ""]
)
def test_a_page_of_another_origin_changes_nothing(stage: Stage, origin: str) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1"}, headers={"Host": "localhost:7870", "Origin": origin})
    assert (result.status_code, result.json["code"]) == (403, "forbidden_origin")
    assert stage.bus.asked == []


def test_a_page_of_the_server_itself_may_change_things(stage: Stage) -> None:
    headers = {"Host": "localhost:7870", "Origin": "http://localhost:7870"}
    assert stage.post("/v1/jobs", {}, headers=headers).status_code == 422


def test_a_page_of_another_origin_may_look(stage: Stage) -> None:
    """It may send the request; without CORS headers its browser keeps the answer from it."""
    result = stage.get("/v1/jobs", headers={"Host": "localhost", "Origin": "http://evil.example"})
    assert result.status_code == 200
    assert "access-control-allow-origin" not in result.headers


def test_every_answer_forbids_guessing_its_type(stage: Stage) -> None:
    for path in ("/v1/jobs", "/nowhere", "/docs"):
        assert stage.get(path).headers["x-content-type-options"] == "nosniff"
