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
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:7870",
        "127.0.0.1.evil.example",
        "[x]",
        "a@b",
        "[::1]evil.example",
        "localhost:7870:evil.example",
        "localhost:evil.example",
        "localhost/",
    ],
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
    assert stage.post("/v1/jobs", {"steps": 0}, headers=headers).status_code == 422


def test_a_page_of_another_origin_may_look(stage: Stage) -> None:
    """It may send the request; without CORS headers its browser keeps the answer from it."""
    result = stage.get("/v1/jobs", headers={"Host": "localhost", "Origin": "http://evil.example"})
    assert result.status_code == 200
    assert "access-control-allow-origin" not in result.headers


def test_every_answer_forbids_guessing_its_type(stage: Stage) -> None:
    for path in ("/v1/jobs", "/nowhere", "/docs"):
        assert stage.get(path).headers["x-content-type-options"] == "nosniff"


def fetched(stage: Stage, path: str, site: str, mode: str, dest: str) -> int:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    return stage.get(path, headers=headers).status_code


@pytest.mark.parametrize(
    ("site", "mode", "dest", "status"),
    [
        ("cross-site", "no-cors", "image", 403),
        ("cross-site", "cors", "empty", 403),
        ("cross-site", "navigate", "iframe", 403),
        ("cross-site", "websocket", "websocket", 403),
        ("CROSS-SITE, none", "no-cors", "image", 403),
        ("cross-site", "navigate", "document", 200),
        ("same-site", "no-cors", "image", 200),
        ("same-origin", "cors", "empty", 200),
        ("none", "navigate", "document", 200),
    ],
)
def test_a_page_of_another_site_may_lead_here_and_reads_nothing(
    stage: Stage, site: str, mode: str, dest: str, status: int
) -> None:
    assert fetched(stage, "/v1/jobs", site, mode, dest) == status


def test_a_page_of_another_site_takes_no_slot_of_the_streams(stage: Stage) -> None:
    for _ in range(20):
        assert fetched(stage, "/v1/events", "cross-site", "cors", "empty") == 403
    page = stage.get("/metrics").text
    assert "spoon_api_streams 0.0" in page


def test_a_form_of_another_site_that_leads_here_changes_nothing(stage: Stage) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert stage.post("/v1/jobs", {"engine_id": "e1"}, headers=headers).status_code == 403
    assert stage.bus.asked == []
