"""/v1/presets: what may be kept, and who sees, changes and deletes which."""

from typing import Any

import falcon.testing
import pytest

from kernel.protocol.client import Done, SubmitJob
from kernel.protocol.presets import DeletePreset, SavePreset
from tests.unit.api.stage import Stage, fields_of
from tests.unit.api.test_access import bearer


def save(
    stage: Stage, fields: object, path: str = "/v1/presets/sketch", **more: Any
) -> falcon.testing.Result:
    """What the Manager is asked, and what it is answered with is in the database."""

    def keep(ask: SavePreset) -> Done:
        owner = None if ask.shared else ask.key_id
        stage.database.add_preset(ask.name, owner, ask.fields)
        return Done()

    stage.bus.reactions[SavePreset] = keep
    return stage.call("PUT", path, fields, **more)


def test_a_preset_keeps_the_fields_that_were_said_in_our_spelling(stage: Stage) -> None:
    said = {"scheduler": "Euler a", "cfg": 5, "count": 1, "steps": None, "loras": [{"model_id": "detail"}]}
    result = save(stage, said)
    kept = {"scheduler": "euler_a", "cfg": 5.0, "count": 1, "loras": [{"model_id": "detail", "weight": 1.0}]}
    assert result.status_code == 200, result.text
    assert (result.json["name"], result.json["fields"], result.json["shared"]) == ("sketch", kept, True)
    assert stage.get("/v1/presets/sketch").json == result.json
    assert stage.get("/v1/presets").json == {"items": [result.json], "next": None}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"stepz": 3}, "stepz"),
        ({"steps": "many"}, "steps"),
        ({"width": 100_000}, "width"),
        ({"engine": "a", "engine_id": "b"}, "engine"),
        ({"like": "i1"}, "like"),
        ({"reference_image_blob": "AAAA"}, "reference_image_blob"),
        ({"callback_url": "https://a.example/?token=secret"}, "callback_url"),
        ({"prompt": "a" * 40_000}, "$"),
        ([], "$"),
    ],
)
def test_a_field_that_no_job_has_or_no_preset_keeps_is_refused_by_its_name(
    stage: Stage, fields: object, wrong: str
) -> None:
    result = save(stage, fields)
    assert (result.status_code, [*fields_of(result)]) == (422, [wrong])
    assert "secret" not in result.text
    assert stage.bus.asked == []


def test_fields_of_input_images_are_kept_although_the_images_are_not(stage: Stage) -> None:
    said = {"strength": 0.5, "mask_blur": 8, "image_fit": "stretch", "type_pose": "canny"}
    assert save(stage, said).json["fields"] == said


@pytest.mark.parametrize("name", ["%20a", "a%0A", "a" * 101, "%2E%2E"])
def test_a_name_that_would_break_a_path_or_a_line_is_refused(stage: Stage, name: str) -> None:
    result = save(stage, {"steps": 3}, f"/v1/presets/{name}")
    assert (result.status_code, [*fields_of(result)]) == (422, ["name"])


def test_a_name_may_have_any_other_character(stage: Stage) -> None:
    result = save(stage, {"steps": 3}, "/v1/presets/a%20%C3%BC%3F")
    assert result.json["name"] == "a ü?"
    assert stage.get("/v1/presets/a%20%C3%BC%3F").json == result.json


def test_a_caller_sees_its_own_and_everybodys_and_its_own_first(stage: Stage) -> None:
    alice, bob = (bearer(stage.add_key(name, "user")) for name in ("alice", "bob"))
    viewer = bearer(stage.add_key("eve", "viewer"))
    stage.database.add_preset("a", fields='{"steps":1}')
    stage.database.add_preset("a", stage.keys["alice"], '{"steps":2}')
    stage.database.add_preset("b", stage.keys["alice"], '{"steps":3}')
    seen = {
        name: [
            (one["name"], one["fields"]["steps"])
            for one in stage.get("/v1/presets", headers=who).json["items"]
        ]
        for name, who in {"alice": alice, "bob": bob, "eve": viewer}.items()
    }
    assert seen == {"alice": [("a", 2), ("b", 3)], "bob": [("a", 1)], "eve": [("a", 1)]}
    assert stage.get("/v1/presets/b", headers=bob).json["code"] == "preset_not_found"
    page = stage.get("/v1/presets?limit=1", headers=alice).json
    assert page["next"] == "a"
    rest = stage.get("/v1/presets?limit=1&after=a", headers=alice).json
    assert ([one["name"] for one in rest["items"]], rest["next"]) == (["b"], None)
    assert stage.call("PUT", "/v1/presets/a", {}, headers=viewer).status_code == 403


@pytest.mark.parametrize(("role", "is_admin"), [("user", False), ("admin", True)])
def test_the_manager_hears_who_asks(stage: Stage, role: str, is_admin: bool) -> None:
    headers = bearer(stage.add_key("one", role))
    save(stage, {"steps": 3}, "/v1/presets/a?shared=true", headers=headers)
    stage.bus.reactions[DeletePreset] = Done()
    assert stage.call("DELETE", "/v1/presets/a", headers=headers).status_code == 204
    key_id = stage.keys["one"]
    assert stage.bus.asked == [
        SavePreset(name="a", fields='{"steps":3}', key_id=key_id, shared=True, is_admin=is_admin),
        DeletePreset(name="a", key_id=key_id, is_admin=is_admin),
    ]


def test_without_keys_no_preset_is_anybodys_own(stage: Stage) -> None:
    result = save(stage, {"steps": 3}, "/v1/presets/a?shared=false")
    assert fields_of(result) == {"shared": "without API keys every preset is everybody's"}


def test_what_a_preset_keeps_is_a_job(stage: Stage) -> None:
    fields = save(stage, {"prompt": "a fox", "steps": 3, "seed": -1}).json["fields"]
    stage.bus.reactions.clear()
    stage.database.add_engine("e1")
    stage.post("/v1/jobs", {"engine_id": "e1"} | fields)
    assert isinstance(stage.last_ask, SubmitJob)
    request = stage.last_ask.request
    assert (request.prompt, request.steps, request.seed) == ("a fox", 3, None)
