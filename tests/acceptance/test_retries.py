"""Failed and cancelled jobs: the images that they name, and retries."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.orders import PLAIN
from tests.acceptance.patience import PATIENCE_S
from tests.acceptance.server import Server
from tests.unit.api.sample_pictures import PNG

SIDE_PX = 64


@pytest.fixture
def http(server_with_api: Server) -> Iterator[httpx.Client]:
    """A client of a server with a fake engine."""
    server_with_api.start()
    url = f"http://127.0.0.1:{server_with_api.port}/v1"
    with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client:
        engine = {"name": "studio", "checkpoint": PLAIN, "steps": 2, "width": SIDE_PX, "height": SIDE_PX}
        assert client.post("/engines", json=engine).status_code == 201
        yield client


def ended(http: httpx.Client, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = http.get(f"/jobs/{job_id}").json()
    while found["status"] in ("waiting", "processing"):
        with http.stream("GET", f"/jobs/{job_id}/events") as stream:
            stream.read()
        found = http.get(f"/jobs/{job_id}").json()
    return found


def test_a_failed_job_is_retried_with_its_input_images_and_a_key_makes_one(http: httpx.Client) -> None:
    job = {"engine": "studio", "prompt": "a fox [fail]", "count": "2", "priority": "3"}
    failed = ended(http, http.post("/jobs", data=job, files={"reference_image_blob": PNG}).json()["job_id"])
    assert (failed["status"], failed["image_id"], failed["image_ids"]) == ("failed", None, [])
    answers = [
        http.post(f"/jobs/{failed['job_id']}/retry", headers={"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert [one.status_code for one in answers] == [202, 202]
    new_id = answers[0].json()["job_id"]
    assert answers[1].json()["job_id"] == new_id != failed["job_id"]
    retried = ended(http, new_id)
    values = set(failed) - {"job_id", "created_at", "started_at", "finished_at"}
    assert {name: retried[name] for name in values} == {name: failed[name] for name in values}
    listed = http.get("/jobs").json()["items"]
    assert [one["job_id"] for one in listed] == [new_id, failed["job_id"]]


def test_an_ended_job_names_no_image_that_is_not_there(http: httpx.Client) -> None:
    """A cancelled job has its first image; a failed one has none. Lists, events and retries say the same."""
    accepted = http.post("/jobs", json={"engine": "studio", "prompt": "[slow 100ms]", "count": 10}).json()
    job_id = accepted["job_id"]
    with http.stream("GET", f"/jobs/{job_id}/events") as stream:
        assert any(line == "event: image" for line in stream.iter_lines())
    cancelled = http.post(f"/jobs/{job_id}/cancel").json()
    shown = http.get(f"/jobs/{job_id}").json()
    assert cancelled["image_ids"] == shown["image_ids"] == http.get("/jobs").json()["items"][0]["image_ids"]
    assert 0 < len(shown["image_ids"]) < 10
    assert shown["image_id"] == shown["image_ids"][0]
    for index, image_id in enumerate(shown["image_ids"]):
        image = http.get(f"/images/{image_id}")
        assert (image.status_code, image.json()["index"]) == (200, index)
    again = http.post(f"/jobs/{job_id}/retry").json()
    assert len(again["image_ids"]) == 10
    http.post(f"/jobs/{again['job_id']}/cancel")


def test_only_a_failed_or_cancelled_job_is_retried(http: httpx.Client) -> None:
    done = ended(http, http.post("/jobs", json={"engine": "studio", "prompt": "a fox"}).json()["job_id"])
    refused = http.post(f"/jobs/{done['job_id']}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_move")
    assert "like" in refused.json()["detail"]
