"""/v1/engines"""

from typing import Any

import pytest
from msgspec.structs import replace

from kernel.protocol.client import (
    CreateEngine,
    DeleteEngine,
    Done,
    EditEngine,
    EngineAccepted,
    PauseQueue,
    ResumeQueue,
    StartEngine,
    StopEngine,
)
from kernel.protocol.enums import ControlType, EngineState, PromptTechnique, Scheduler, Variant
from kernel.protocol.errors import (
    Conflict,
    EngineNotFound,
    EngineRunning,
    ModelMissing,
    ModelNotReady,
    NotEnoughMemory,
    WrongModelBase,
    WrongModelType,
    of_field,
)
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.memory import DeviceFit, EngineValid
from kernel.protocol.model_refs import OWN_VAE, LoraUse
from kernel.protocol.specs import EngineSpec
from kernel.protocol.values import ReplicaRange
from tests.unit.api.stage import Stage, fields_of

ACCEPTED = EngineAccepted(engine_id=EngineId("e1"), status=EngineState.STARTING)


@pytest.fixture(autouse=True)
def a_willing_manager(stage: Stage) -> None:
    stage.database.add_engine("e1", "portraits", status="starting")
    for ask in (CreateEngine, StartEngine, StopEngine):
        stage.bus.reactions[ask] = ACCEPTED


def test_an_engine_is_created_and_shown(stage: Stage) -> None:
    result = stage.post("/v1/engines", {"checkpoint": "m1"})
    assert result.status_code == 201
    assert result.headers["location"] == "/v1/engines/e1"
    assert (result.json["status"], result.json["name"], result.json["cfg"]) == ("starting", "portraits", 7.0)
    assert result.json["queue"] == {"waiting": 0, "processing": 0, "paused": False}


def test_what_is_not_given_has_the_default(stage: Stage) -> None:
    stage.post("/v1/engines", {"checkpoint": "m1"})
    assert stage.last_ask == CreateEngine(spec=EngineSpec(checkpoint=ModelId("m1")), start=True)


@pytest.mark.parametrize("prefix", ["", "default_"])
def test_every_field_reaches_the_manager_under_both_its_names(stage: Stage, prefix: str) -> None:
    stage.post(
        "/v1/engines",
        {
            "name": "portraits",
            "checkpoint": "m1",
            "vae": "v1",
            "loras": ["l1", {"model_id": "l2", "weight": -0.5}],
            "embeddings": ["t1"],
            "long_prompt_technique": "SD-Embed",
            "control_net": "midaspose",
            "control_models": ["c1"],
            f"{prefix}clip_skip": 2,
            f"{prefix}scheduler": "Euler a",
            "scheduler_config": {"timestep_spacing": "trailing"},
            f"{prefix}steps": 1,
            f"{prefix}cfg": 0,
            f"{prefix}width": 64,
            f"{prefix}height": 128,
            "device": "cuda:1",
            "dtype": "BF16",
            "autostart": False,
            "keep_alive_s": 0,
            "give_up_after": "1h 30m",
            "replicas": 2,
            "max_batch": 4,
            "start": False,
        },
    )
    assert stage.last_ask == CreateEngine(
        spec=EngineSpec(
            name="portraits",
            checkpoint=ModelId("m1"),
            vae=ModelId("v1"),
            loras=(LoraUse(model_id=ModelId("l1")), LoraUse(model_id=ModelId("l2"), weight=-0.5)),
            embeddings=(ModelId("t1"),),
            long_prompt_technique=PromptTechnique.SD_EMBED,
            control_net=ControlType.MIDAS,
            control_models=(ModelId("c1"),),
            clip_skip=2,
            scheduler=Scheduler.EULER_A,
            scheduler_config={"timestep_spacing": "trailing"},
            steps=1,
            guidance_scale=0.0,
            width_px=64,
            height_px=128,
            device="cuda:1",
            dtype=Variant.BF16,
            autostart=False,
            keep_alive_s=0.0,
            give_up_after_s=5_400.0,
            replicas=2,
            max_batch=4,
        ),
        start=False,
    )


def test_two_names_for_one_value_may_agree(stage: Stage) -> None:
    body = {"checkpoint": "m1", "scheduler": "euler_a", "default_scheduler": "Euler A", "steps": 5}
    assert stage.post("/v1/engines", body | {"default_steps": 5}).status_code == 201


def test_two_names_for_one_value_must_not_contradict_each_other(stage: Stage) -> None:
    body = {"checkpoint": "m1", "steps": 5, "default_steps": 6, "cfg": 1, "default_cfg": 2}
    result = stage.post("/v1/engines", body)
    assert fields_of(result) == {
        "default_steps": "contradicts steps: set one of them",
        "default_cfg": "contradicts cfg: set one of them",
    }


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (1, 1),
        ({"min": 1, "max": 4}, ReplicaRange(min=1, max=4)),
        ({"max": 2}, ReplicaRange(min=1, max=2)),
        ({"min": 3, "max": 3}, ReplicaRange(min=3, max=3)),
    ],
)
def test_replicas_are_a_number_or_a_range(stage: Stage, said: Any, meant: Any) -> None:
    assert stage.post("/v1/engines", {"checkpoint": "m1", "replicas": said}).status_code == 201
    (ask,) = stage.bus.asked
    assert isinstance(ask, CreateEngine)
    assert ask.spec.replicas == meant


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"min": 2, "max": 1}, "replicas"),
        ({"min": 0, "max": 1}, "replicas.min"),
        ({"max": 65}, "replicas.max"),
        ({"min": 2}, "replicas.max"),
        ({"min": 1, "max": 2, "most": 3}, "replicas.most"),
        ("1-4", "replicas"),
        ([1, 4], "replicas"),
        (1.5, "replicas"),
    ],
)
def test_range_of_replicas_that_makes_no_sense_is_refused_by_its_field(
    stage: Stage, said: Any, field: str
) -> None:
    result = stage.post("/v1/engines", {"checkpoint": "m1", "replicas": said})
    assert result.status_code == 422
    assert list(fields_of(result)) == [field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("checkpoint", ""),
        ("checkpoint", None),
        ("checkpoint", 1),
        ("name", "  "),
        ("scheduler", "best"),
        ("default_scheduler", "best"),
        ("steps", 0),
        ("default_steps", 201),
        ("cfg", -1),
        ("width", 100),
        ("height", 8),
        ("device", "gpu"),
        ("device", "cuda:"),
        ("device", "cpu\n"),
        ("dtype", "int8"),
        ("autostart", "yes"),
        ("keep_alive_s", -1),
        ("give_up_after", "soon"),
        ("give_up_after", -1),
        ("replicas", 0),
        ("max_batch", 0),
        ("start", 1),
        ("scheduler_config", {"": 1}),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(stage: Stage, field: str, value: Any) -> None:
    result = stage.post("/v1/engines", {"checkpoint": "m1"} | {field: value})
    assert (result.status_code, result.json["code"]) == (422, "invalid_field")
    assert list(fields_of(result)) == [field]


@pytest.mark.parametrize("kind", [ModelMissing, WrongModelType, ModelNotReady, WrongModelBase])
def test_a_model_that_does_not_do_is_a_conflict_that_names_the_field(
    stage: Stage, kind: type[Conflict]
) -> None:
    refused = of_field(kind, "vae", "that model does not do: name another")
    stage.bus.reactions[CreateEngine] = stage.bus.reactions[StartEngine] = refused
    created = stage.post("/v1/engines", {"checkpoint": "m1", "vae": "v1"})
    started = stage.call("PATCH", "/v1/engines/e1/start")
    for result in (created, started):
        assert (result.status_code, result.json["code"]) == (409, kind.code)
        assert fields_of(result) == {"vae": "that model does not do: name another"}


def test_an_engine_is_started_and_stopped(stage: Stage) -> None:
    assert stage.call("PATCH", "/v1/engines/e1/start").status_code == 202
    assert stage.call("PATCH", "/v1/engines/e1/stop").status_code == 202
    assert stage.call("PATCH", "/v1/engines/e1/stop", query_string="now=true").status_code == 202
    assert stage.bus.asked == [
        StartEngine(engine_id=EngineId("e1")),
        StopEngine(engine_id=EngineId("e1")),
        StopEngine(engine_id=EngineId("e1"), now=True),
    ]


def test_an_engine_is_meant_by_its_name_as_by_its_id(stage: Stage) -> None:
    stage.bus.reactions[DeleteEngine] = stage.bus.reactions[PauseQueue] = Done()
    stage.bus.reactions[ResumeQueue] = Done()
    assert stage.get("/v1/engines/portraits").json["engine_id"] == "e1"
    for order in ("start", "stop", "pause", "resume"):
        assert stage.call("PATCH", f"/v1/engines/portraits/{order}").status_code in (200, 202)
    assert stage.call("DELETE", "/v1/engines/portraits").status_code == 204
    assert {ask.engine_id for ask in stage.bus.asked} == {"e1"}  # type: ignore[union-attr]


def test_all_queues_are_paused_and_resumed(stage: Stage) -> None:
    stage.bus.reactions[PauseQueue] = stage.bus.reactions[ResumeQueue] = Done()
    assert stage.call("PATCH", "/v1/queue/pause").status_code == 200
    assert stage.call("PATCH", "/v1/queue/resume").status_code == 200
    assert stage.bus.asked == [PauseQueue(), ResumeQueue()]


def test_the_models_that_fit_an_engine_are_ready_and_of_its_base(stage: Stage) -> None:
    stage.database.add_model("m1", model_base="sd")
    stage.database.add_model("m2", model_base="sd")
    stage.database.add_model("l1", model_type="lora", model_base="sd")
    stage.database.add_model("l2", model_type="lora", model_base="sdxl")
    stage.database.add_model("l3", model_type="lora", model_base=None)
    stage.database.add_model("l4", model_type="lora", model_base="sd", status="error")
    stage.database.add_model("v1", model_type="vae", model_base="sd")
    fitting = stage.get("/v1/engines/e1/models").json["items"]
    assert [one["model_id"] for one in fitting] == ["v1", "l3", "l1"]
    first = stage.get("/v1/engines/portraits/models", query_string="type=lora&limit=1").json
    assert ([one["model_id"] for one in first["items"]], first["next"]) == (["l3"], "l3")


def test_a_start_without_room_is_a_conflict(stage: Stage) -> None:
    stage.bus.reactions[StartEngine] = NotEnoughMemory()
    assert stage.call("PATCH", "/v1/engines/e1/start").status_code == 409


def test_a_running_engine_is_not_deleted(stage: Stage) -> None:
    stage.bus.reactions[DeleteEngine] = EngineRunning()
    assert stage.call("DELETE", "/v1/engines/e1").status_code == 409
    stage.bus.reactions[DeleteEngine] = Done()
    assert stage.call("DELETE", "/v1/engines/e1").status_code == 204


def test_an_unknown_engine_is_not_found(stage: Stage) -> None:
    stage.bus.reactions[StartEngine] = EngineNotFound()
    assert stage.call("PATCH", "/v1/engines/e9/start").status_code == 404
    assert stage.get("/v1/engines/e9").json["code"] == "engine_not_found"


def test_engines_are_listed_by_what_is_asked_for(stage: Stage) -> None:
    stage.database.add_engine("e2", status="error", error_code="engine_failed", error="no room")
    items = stage.get("/v1/engines", query_string="status=ERROR").json["items"]
    assert [(item["engine_id"], item["error"]["code"]) for item in items] == [("e2", "engine_failed")]


def test_a_running_engine_shows_where_it_runs(stage: Stage) -> None:
    assert stage.get("/v1/engines/e1").json["device"] == "auto"
    stage.database.set("engine", "engine_id", "e1", device="cuda:0", status="ready", started_at_ms=5)
    assert stage.get("/v1/engines/e1").json["device"] == "cuda:0"


def test_what_an_engine_is_made_of_is_shown(stage: Stage) -> None:
    found = stage.get("/v1/engines/e1").json
    assert (found["vae"], found["loras"], found["embeddings"]) == ("checkpoint", [], [])
    assert (found["long_prompt_technique"], found["control_net"]) == ("sd_embed", None)
    assert (found["control_models"], found["clip_skip"]) == ([], None)


def test_an_engine_that_names_the_checkpoints_own_vae_has_no_other(stage: Stage) -> None:
    stage.bus.reactions[CreateEngine] = ACCEPTED
    assert stage.post("/v1/engines", {"checkpoint": "m1", "vae": "Checkpoint"}).status_code == 201
    assert isinstance(stage.last_ask, CreateEngine)
    assert stage.last_ask.spec.vae == OWN_VAE


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"control_net": "openpose"}, "control_net"),
        ({"control_net": "fingers", "control_models": ["c1"]}, "control_net"),
        ({"long_prompt_technique": "magic"}, "long_prompt_technique"),
        ({"loras": ["l1", {"model_id": "l1"}]}, "loras"),
        ({"loras": [{"model_id": "l1", "weight": 11}]}, "loras[0].weight"),
        ({"loras": [{"weight": 1}]}, "loras[0].model_id"),
        ({"loras": [{"model_id": "l1", "scale": 1}]}, "loras[0].scale"),
        ({"embeddings": [""]}, "embeddings[0]"),
        ({"embeddings": "t1"}, "embeddings"),
        ({"control_models": [" "]}, "control_models[0]"),
        ({"clip_skip": 13}, "clip_skip"),
        ({"clip_skip": 1, "default_clip_skip": 2}, "default_clip_skip"),
        ({"vae": "\n"}, "vae"),
    ],
)
def test_a_wrong_ingredient_is_refused_by_its_name(stage: Stage, wrong: dict[str, Any], field: str) -> None:
    result = stage.post("/v1/engines", {"checkpoint": "m1", **wrong})
    assert list(fields_of(result)) == [field]
    assert stage.bus.asked == []


# Editing.

OLD = EngineSpec(
    name="old",
    checkpoint=ModelId("m1"),
    steps=5,
    width_px=512,
    loras=(LoraUse(model_id=ModelId("l1"), weight=0.5),),
    control_models=(ModelId("c1"),),
    control_net=ControlType.CANNY,
    give_up_after_s=60.0,
)

NO_CONTROL: dict[str, Any] = {"control_models": (), "control_net": None}


def edit(stage: Stage, body: object) -> EditEngine:
    stage.database.add_engine("e2", "old", OLD)
    stage.bus.reactions[EditEngine] = EngineAccepted(
        engine_id=EngineId("e2"), status=EngineState.READY, reloads=True
    )
    result = stage.call("PATCH", "/v1/engines/old", body)
    assert result.status_code == 200, result.text
    assert (result.json["engine_id"], result.json["reloads"]) == ("e2", True)
    assert isinstance(stage.last_ask, EditEngine)
    return stage.last_ask


@pytest.mark.parametrize(
    ("body", "changed", "values"),
    [
        ({}, (), {}),
        ({"steps": 9, "cfg": 0}, ("cfg", "steps"), {"steps": 9, "guidance_scale": 0.0}),
        ({"default_steps": 9, "default_width": None}, ("steps", "width"), {"steps": 9, "width_px": None}),
        ({"scheduler": "Euler a", "vae": None}, ("scheduler", "vae"), {"scheduler": Scheduler.EULER_A}),
        (
            {"name": None, "give_up_after": "1h"},
            ("give_up_after_s", "name"),
            {"name": None, "give_up_after_s": 3600.0},
        ),
        (
            {"give_up_after": None, "loras": None},
            ("give_up_after_s", "loras"),
            {"give_up_after_s": None, "loras": ()},
        ),
        ({"loras": ["l2"]}, ("loras",), {"loras": (LoraUse(model_id=ModelId("l2")),)}),
        (
            {"checkpoint": "m2", "dtype": "FP32"},
            ("checkpoint", "dtype"),
            {"checkpoint": "m2", "dtype": Variant.FP32},
        ),
        ({"control_models": None, "control_net": None}, ("control_models", "control_net"), NO_CONTROL),
    ],
    ids=str,
)
def test_an_edit_says_what_changes_and_null_is_the_default(
    stage: Stage, body: dict[str, Any], changed: tuple[str, ...], values: dict[str, Any]
) -> None:
    ask = edit(stage, body)
    assert tuple(sorted(ask.fields)) == changed
    assert ask.spec == replace(OLD, **values)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"checkpoint": None}, ["checkpoint"]),
        ({"step": 3, "cfg": 101, "device": "tpu"}, ["cfg", "device", "step"]),
        ({"steps": 3, "default_steps": 4}, ["default_steps"]),
        ({"steps": None, "default_steps": 4}, ["default_steps"]),
        ({"control_models": []}, ["control_net"]),
        ({"height": 8192}, ["height", "width"]),
        ({"start": True}, ["start"]),
        ({"name": " "}, ["name"]),
    ],
    ids=str,
)
def test_an_edit_is_checked_as_the_whole_engine_that_comes_of_it(
    stage: Stage, body: dict[str, Any], fields: list[str]
) -> None:
    stage.database.add_engine("e2", "old", replace(OLD, width_px=8192))
    result = stage.call("PATCH", "/v1/engines/e2", body)
    assert result.status_code == 422
    assert set(fields_of(result)) <= set(fields)
    assert fields_of(result)


def test_an_edit_takes_no_key_and_an_engine_that_is_there(stage: Stage) -> None:
    assert stage.call("PATCH", "/v1/engines/none", {"steps": 3}).status_code == 404
    result = stage.call("PATCH", "/v1/engines/e1", {"steps": 3}, headers={"Idempotency-Key": "k"})
    assert (result.status_code, set(fields_of(result))) == (422, {"Idempotency-Key"})


def test_a_dry_run_creates_nothing_and_says_how_the_engine_would_fit(stage: Stage) -> None:
    fit = DeviceFit(
        device="cpu", name="CPU", total_bytes=9, promised_bytes=1, free_bytes=5, needed_bytes=3, fits=True
    )
    stage.bus.reactions[CreateEngine] = EngineValid(fits=True, closes=(EngineId("e1"),), devices=(fit,))
    result = stage.post("/v1/engines", {"checkpoint": "dreams"}, query_string="validate_only=true")
    assert (result.status_code, result.json["valid"], result.json["fits"]) == (200, True, True)
    assert (result.json["closes"], result.json["detail"], result.json["memory"]) == (["e1"], None, None)
    assert result.json["devices"][0]["needed_bytes"] == 3
    assert isinstance(stage.last_ask, CreateEngine)
    assert stage.last_ask.validate_only
