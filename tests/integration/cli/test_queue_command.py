"""`spoon queue`, and `spoon jobs edit`, against a server."""

import json

import pytest

from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, FakeApi

QUEUE = {"waiting": 3, "processing": 1, "paused": True, "paused_since": "2026-01-31T12:00:00Z"}
ENGINE = {"engine_id": "e1", "name": "portraits", "status": "ready"}


@pytest.mark.parametrize(
    ("verb", "is_paused", "state"), [("pause", True, "paused"), ("resume", False, "running")]
)
def test_all_queues_or_one_are_paused_and_resumed(
    spoon: Spoon, api: FakeApi, verb: str, is_paused: bool, state: str
) -> None:
    queue = QUEUE | {"paused": is_paused}
    api.on("PATCH", f"/v1/queue/{verb}", Answer(body=queue))
    api.on("GET", "/v1/engines/portraits", Answer(body=ENGINE))
    api.on("PATCH", f"/v1/engines/e1/{verb}", Answer(body=ENGINE | {"queue": queue}))
    assert spoon("queue", verb).out == f"all queues: {state} (3 waiting, 1 running)\n"
    assert spoon("queue", verb, "portraits").out == f"portraits: {state} (3 waiting, 1 running)\n"


def test_the_queue_is_shown(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/queue", Answer(body=QUEUE))
    assert spoon("queue", "show").out == "all queues: paused (3 waiting, 1 running)\n"
    assert json.loads(spoon("queue", "show", "--json").out) == QUEUE


def test_an_engine_that_is_not_there_is_named(spoon: Spoon, api: FakeApi) -> None:
    ended = spoon("queue", "pause", "landscapes")
    assert (ended.code, api.sent("PATCH", "/v1/queue/pause")) == (3, [])
    assert "no engine with id or name landscapes" in ended.err


def test_the_priority_of_a_job_is_changed(spoon: Spoon, api: FakeApi) -> None:
    api.on("PATCH", "/v1/jobs/j1", Answer(body={"job_id": "j1", "status": "waiting", "queue_position": 1}))
    assert spoon("jobs", "edit", "j1", "--priority", "10").out == "j1  priority 10, position 1\n"
    assert api.asked[-1].body == {"priority": 10}
    assert spoon("jobs", "edit", "j1").code == 2
