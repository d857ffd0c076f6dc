"""`spoon presets`, and --preset of the commands that submit jobs, against a server."""

import json

from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, FakeApi

PRESET = {
    "name": "sketch",
    "fields": {"steps": 12, "scheduler": "euler_a", "eta": 0.5, "prompt": "a sketch", "engine": "portraits"},
    "shared": True,
    "created_at": "2026-12-01T02:03:04Z",
    "changed_at": "2026-12-01T02:03:04Z",
}
WAITING = {"job_id": "j1", "status": "waiting", "image_ids": ["i1"], "prompt": "a fox", "progress": None,
           "created_at": "2026-01-31T12:00:05.123Z"}  # fmt: skip


def test_presets_are_listed_shown_and_deleted(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/presets", Answer(body={"items": [PRESET], "next": None}))
    api.on("GET", "/v1/presets/sketch", Answer(body=PRESET))
    api.on("DELETE", "/v1/presets/sketch", Answer(204))
    line = spoon("presets", "list").out.splitlines()[1]
    assert line.split()[:2] == ["sketch", "everybody"]
    assert "steps 12" in line
    assert json.loads(spoon("presets", "show", "sketch", "--json").out) == PRESET
    assert spoon("presets", "delete", "sketch").out == "deleted preset sketch\n"


def test_what_is_said_is_saved_and_nothing_else(spoon: Spoon, api: FakeApi) -> None:
    api.on("PUT", "/v1/presets/my%20sketch", Answer(body=PRESET))
    ended = spoon("presets", "save", "my sketch", "--steps", "12", "--engine", "portraits", "--shared")
    assert ended.out == "saved preset my sketch\n"
    assert api.asked[-1].body == {"steps": 12, "engine": "portraits"}
    assert api.asked[-1].query == {"shared": "true"}


def test_what_belongs_to_one_job_alone_is_not_kept(spoon: Spoon, api: FakeApi) -> None:
    ended = spoon("presets", "save", "sketch", "--like", "i1")
    assert ended.code == 2
    assert "a preset cannot keep --like" in ended.err
    assert api.asked == []


def test_a_job_takes_from_a_preset_what_options_do_not_say(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/presets/sketch", Answer(body=PRESET))
    api.on("GET", "/v1/engines/e2", Answer(body={"engine_id": "e2", "status": "ready"}))
    api.on("POST", "/v1/jobs", Answer(202, WAITING))
    spoon("jobs", "submit", "--preset", "sketch", "--steps", "5")
    assert api.asked[-1].body == PRESET["fields"] | {"steps": 5}
    spoon("jobs", "submit", "a fox", "--preset", "sketch", "--scheduler", "ddim", "--engine", "e2")
    assert api.asked[-1].body == {"steps": 12, "scheduler": "ddim", "prompt": "a fox", "engine_id": "e2"}
