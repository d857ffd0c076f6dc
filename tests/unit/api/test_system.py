"""Health, devices, capabilities, metrics and the documents."""

import msgspec
import pytest

from kernel.protocol.enums import Phase
from kernel.protocol.errors import ManagerUnreachable
from kernel.protocol.status import ApiLife
from tests.unit.api.fake_bus import STATUS
from tests.unit.api.stage import Stage


def test_a_process_that_answers_is_alive(stage: Stage) -> None:
    stage.bus.status_answer = ManagerUnreachable()
    assert stage.get("/v1/health/live").json == {"status": "alive"}


def test_a_server_where_all_is_well_is_ready(stage: Stage) -> None:
    result = stage.get("/v1/health/ready")
    assert (result.status_code, result.json["status"]) == (200, "ready")


@pytest.mark.parametrize(
    ("status", "unwell"),
    [
        (ManagerUnreachable(), {"manager", "disk"}),
        (msgspec.structs.replace(STATUS, phase=Phase.DRAINING), {"manager"}),
        (msgspec.structs.replace(STATUS, is_disk_low=True), {"disk"}),
    ],
)
def test_what_keeps_a_server_from_being_ready_is_named(
    stage: Stage, status: object, unwell: set[str]
) -> None:
    stage.bus.status_answer = status  # type: ignore[assignment]
    result = stage.get("/v1/health/ready")
    assert (result.status_code, result.json["status"]) == (503, "not_ready")
    assert {name for name in ("manager", "database", "disk") if not result.json[name]["ok"]} == unwell


def test_readiness_says_how_often_the_api_was_started_again_and_why(stage: Stage) -> None:
    assert stage.get("/v1/health/ready").json["api_restarts"] == 0
    life = ApiLife(is_running=True, restarts=7, last_failure="signal SIGKILL")
    stage.bus.status_answer = msgspec.structs.replace(STATUS, api=life)
    result = stage.get("/v1/health/ready")
    assert (result.status_code, result.json["status"]) == (200, "ready")
    assert (result.json["api_restarts"], result.json["api_last_failure"]) == (7, "signal SIGKILL")


def test_a_database_that_cannot_be_read_keeps_it_from_being_ready(stage: Stage) -> None:
    stage.database.connection.execute("DROP TABLE event")
    result = stage.get("/v1/health/ready")
    assert (result.status_code, result.json["database"]["ok"]) == (503, False)


def test_devices_are_listed(stage: Stage) -> None:
    assert stage.get("/v1/devices").json == {
        "items": [
            {
                "device": "cpu",
                "name": "CPU",
                "total_bytes": 8,
                "free_bytes": 4,
                "promised_bytes": 2,
                "available_bytes": 1,
                "capability": None,
            }
        ]
    }
    stage.bus.status_answer = ManagerUnreachable(retry_after_s=2.0)
    result = stage.get("/v1/devices")
    assert (result.status_code, result.headers["retry-after"]) == (503, "2")


def test_capabilities_name_limits_words_and_versions(stage: Stage) -> None:
    found = stage.get("/v1/capabilities").json
    assert found["limits"]["max_steps"] == stage.settings.server.max_steps
    assert found["limits"]["max_input_pixels"] == 4 * stage.settings.server.max_pixels
    assert "dpmpp_2m_karras" in found["schedulers"]
    assert found["scheduler_labels"]["dpmpp_2m_karras"] == "DPM++ 2M Karras"
    assert set(found["scheduler_labels"]) == set(found["schedulers"])
    assert found["control_types"] == ["openpose", "midas", "mediapipe", "canny", "depth"]
    assert found["prompt_techniques"] == ["none", "compel", "sd_embed"]
    assert found["versions"]["protocol"].startswith("ASB/2.")


def test_metrics_count_by_status(stage: Stage) -> None:
    stage.database.add_job(1, status="failed")
    text = stage.get("/metrics").text
    assert 'spoon_jobs{status="failed"} 1.0' in text
    assert 'spoon_jobs{status="waiting"} 0.0' in text
    assert "spoon_bus_resent_total 2.0" in text


def test_the_page_of_documents_needs_nothing_from_elsewhere(stage: Stage) -> None:
    result = stage.get("/docs")
    assert result.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in result.headers["content-security-policy"]
    assert "openapi.json" in result.text
    assert "http://" not in result.text.replace("http://localhost", "")
    assert "https://" not in result.text
