"""Jobs like the job of an image, and failed jobs again: every value stays, but for what the client says."""

import hashlib
import random
from io import BytesIO
from typing import Any

import falcon.testing
import pytest
from msgspec.structs import replace
from PIL import Image

from kernel.core.commands import job_defaults
from kernel.protocol.client import SubmitJob
from kernel.protocol.enums import (
    ControlType,
    ImageFileType,
    InpaintArea,
    InpaintFill,
    InputKind,
    MaskMode,
    ModelType,
    PromptTechnique,
    Scheduler,
)
from kernel.protocol.errors import InvalidField, ModelMissing, of_field
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import Control, LoraUse
from kernel.protocol.rows import ModelRow
from kernel.protocol.specs import EngineSpec, JobSpec
from tests.unit.api.fake_bus import accepted
from tests.unit.api.forms import HEADERS, file, form, text
from tests.unit.api.rich_job import RICH_SPEC
from tests.unit.api.sample_pictures import JPEG, PNG, PNG_TEXT, SIDE_PX, WEBP, as_text
from tests.unit.api.stage import NOW_MS, Stage, fields_of
from tests.unit.core.samples import CHECKPOINT, controlnet, model
from tests.unit.core.story import Story
from tests.unit.views.database import SPEC

RICH = replace(
    RICH_SPEC,
    seed=40,
    count=4,
    width_px=256,
    controls=(
        Control(control_type=ControlType.OPENPOSE, control_model=ModelId("openpose"), scale=0.75, end=0.5),
        Control(control_type=ControlType.CANNY, control_model=ModelId("canny"), start=0.25),
    ),
    scheduler=Scheduler.DDIM,
    scheduler_config={"set_alpha_to_one": False},
    eta=0.5,
    guidance_rescale=0.7,
    quality=50,
    mask_mode=MaskMode.INVERTED,
    mask_blur=2,
    inpaint_area=InpaintArea.WHOLE,
    inpaint_fill=InpaintFill.FILL,
    give_up_after_s=30.0,
)
PLAIN = replace(SPEC, width_px=256, height_px=256)
FILES = {InputKind.REFERENCE: PNG, InputKind.MASK: WEBP, InputKind.POSE: JPEG}
MODELS: tuple[ModelRow, ...] = (
    model("l1"),
    model("l9"),
    model("t1", ModelType.EMBEDDING),
    model("v1", ModelType.VAE),
    model("b1", ModelType.BACKGROUND, model_base=None),
    controlnet(ControlType.OPENPOSE),
    controlnet(ControlType.CANNY),
)
OTHER_DEFAULTS = EngineSpec(
    checkpoint=CHECKPOINT,
    loras=(LoraUse(model_id=ModelId("l9"), weight=0.5),),
    embeddings=(ModelId("t1"),),
    vae=ModelId("v1"),
    control_models=(ModelId("openpose"), ModelId("canny")),
    control_net=ControlType.OPENPOSE,
    long_prompt_technique=PromptTechnique.COMPEL,
    clip_skip=2,
    scheduler=Scheduler.EULER_A,
    scheduler_config={"timestep_spacing": "trailing"},
    steps=99,
    guidance_scale=1.5,
    guidance_rescale=0.25,
    width_px=64,
    height_px=64,
    give_up_after_s=5.0,
)
"""An engine whose every default would make another image."""


@pytest.fixture(autouse=True)
def images(stage: Stage) -> None:
    """Image `p1` of a plain job, and `r3`, the third of a job with everything, whose first two are gone."""
    stage.bus.reactions[SubmitJob] = accepted("j9")
    stage.database.add_engine("e1")
    stage.database.add_job(1, "plain", spec=PLAIN, status="finished")
    stage.database.add_image("p1", "plain", seed=0)
    stage.database.add_job(2, "rich", spec=RICH, status="failed", priority=7)
    stage.database.add_image("r3", "rich", position=2, seed=42, gone_reason="deleted")
    stage.settings.blobs.folder.mkdir()
    for kind, data in FILES.items():
        (stage.settings.blobs.folder / f"rich-{kind}.png").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        stage.database.add_blob("rich", kind, size_bytes=len(data), sha256=digest)


def ask_of(stage: Stage, body: dict[str, Any]) -> SubmitJob:
    result = stage.post("/v1/jobs", body)
    assert result.status_code == 202, result.text
    assert isinstance(stage.last_ask, SubmitJob)
    return stage.last_ask


def resolved(ask: SubmitJob) -> JobSpec:
    """The job that the Manager makes of it, on an engine with other defaults."""
    story = Story(*MODELS)
    engine = story.engine_row(story.engine())
    return job_defaults.resolve(story.broker.world, ask.request, replace(engine, spec=OTHER_DEFAULTS))


@pytest.mark.parametrize(("image_id", "spec"), [("p1", PLAIN), ("r3", replace(RICH, seed=42, count=1))])
def test_an_images_job_comes_again_whatever_its_engines_defaults_are_now(
    stage: Stage, image_id: str, spec: JobSpec
) -> None:
    ask = ask_of(stage, {"like": image_id})
    assert ask.engine_id == "e1"
    assert resolved(ask) == spec
    assert stage.bus.blobs[-1] == tuple(FILES[kind] for kind in spec.inputs)
    assert [one.sha256 for one in ask.files] == [
        hashlib.sha256(one).hexdigest() for one in stage.bus.blobs[-1]
    ]


def test_what_the_body_says_replaces_single_values_and_null_says_nothing(stage: Stage) -> None:
    said = {
        "like": "r3",
        "seed": 8,
        "prompt": "a dog",
        "steps": 5,
        "cfg": None,
        "count": 2,
        "loras": [],
        "strength": 1,
    }
    request = ask_of(stage, said).request
    assert (request.seed, request.prompt, request.steps, request.count, request.loras, request.strength) == (
        8, "a dog", 5, 2, (), 1,
    )  # fmt: skip
    assert (request.guidance_scale, request.negative_prompt, request.vae) == (7.5, "a dog", "v1")
    assert ask_of(stage, {"like": "r3", "seed": -1}).request.seed is None
    assert ask_of(stage, {"like": None, "prompt": "a cat"}).request.is_resolved is False


def test_values_that_belong_to_a_replaced_one_go_with_it(stage: Stage) -> None:
    request = ask_of(stage, {"like": "r3", "scheduler": "Euler a"}).request
    assert (request.scheduler, request.scheduler_config, request.eta) == (Scheduler.EULER_A, None, None)
    request = ask_of(stage, {"like": "r3", "image_file_type": "png"}).request
    assert (request.image_file_type, request.background_color) == (ImageFileType.PNG, None)
    (control,) = ask_of(stage, {"like": "r3", "type_pose": "canny"}).request.controls
    assert (control.control_type, control.scale, control.start) == (ControlType.CANNY, 1.0, 0.0)


def test_a_picture_that_comes_along_replaces_the_stored_one(stage: Stage) -> None:
    ask_of(stage, {"like": "r3", "mask_image_blob": PNG_TEXT})
    assert stage.bus.blobs[-1] == (PNG, PNG, JPEG)


@pytest.mark.parametrize(
    "said",
    [{"like": "r3"}, {"prompt": "a cat", "scheduler": "Euler a"}, {"prompt": "a cat", "steps": None}],
    ids=["like", "other spelling", "null"],
)
def test_a_large_image_in_json_stays_whole_however_its_body_is_read(
    stage: Stage, said: dict[str, object]
) -> None:
    out = BytesIO()
    Image.frombytes("RGB", (640, 640), random.Random(7).randbytes(640 * 640 * 3)).save(out, "png")
    whole = {"engine": "north"} if "like" not in said else {}
    ask_of(stage, {**whole, **said, "reference_image_blob": as_text(out.getvalue())})
    assert stage.bus.blobs[-1][0] == out.getvalue()


def test_a_form_may_name_an_image_too(stage: Stage) -> None:
    body = form(text("like", "r3"), text("seed", "8"), file("reference_image_blob", WEBP))
    result = stage.call("POST", "/v1/jobs", body=body, headers=HEADERS)
    assert result.status_code == 202, result.text
    assert isinstance(stage.last_ask, SubmitJob)
    assert (stage.last_ask.request.seed, stage.last_ask.request.strength) == (8, 0.5)
    assert stage.bus.blobs[-1] == (WEBP, WEBP, JPEG)


@pytest.mark.parametrize("said", [{"engine": "north"}, {"engine_id": "e2"}, {"checkpoint": "m2"}])
def test_another_engine_or_checkpoint_may_be_named(stage: Stage, said: dict[str, str]) -> None:
    ask = ask_of(stage, {"like": "p1", **said})
    assert (ask.engine_name, ask.engine_id, ask.checkpoint) == (
        said.get("engine"), said.get("engine_id"), said.get("checkpoint"),
    )  # fmt: skip


def test_without_its_engine_an_image_needs_another_one(stage: Stage) -> None:
    stage.database.connection.execute("DELETE FROM engine")
    stage.database.set("image", "image_id", "p1", checkpoint=None)
    result = stage.post("/v1/jobs", {"like": "p1"})
    assert (result.status_code, result.json["code"]) == (404, "engine_not_found")
    assert fields_of(result) == {"like": "the engine of image p1 is gone: set engine or checkpoint"}
    assert ask_of(stage, {"like": "p1", "checkpoint": "m1"}).checkpoint == "m1"


@pytest.mark.parametrize(("checkpoint", "engine_id"), [("m1", "e1"), ("m7", None)])
def test_an_engine_that_has_another_checkpoint_now_does_not_count(
    stage: Stage, checkpoint: str, engine_id: str | None
) -> None:
    stage.database.set("image", "image_id", "p1", checkpoint=checkpoint)
    ask = ask_of(stage, {"like": "p1"})
    assert (ask.engine_id, ask.checkpoint) == (engine_id, None if engine_id else checkpoint)


def test_a_deleted_engine_leaves_the_checkpoint(stage: Stage) -> None:
    stage.database.connection.execute("DELETE FROM engine")
    stage.database.set("image", "image_id", "p1", checkpoint="m1")
    ask = ask_of(stage, {"like": "p1"})
    assert (ask.engine_id, ask.checkpoint) == (None, "m1")


def test_an_image_that_never_was_is_not_found(stage: Stage) -> None:
    result = stage.post("/v1/jobs", {"like": "p9"})
    assert (result.status_code, result.json["code"]) == (404, "image_not_found")
    assert fields_of(result) == {"like": "no image has the id 'p9'"}


@pytest.mark.parametrize("how", ["expired", "no row", "no file", "damaged"])
def test_input_images_that_are_gone_are_asked_for(stage: Stage, how: str) -> None:
    match how:
        case "expired":
            stage.database.set("blob", "blob_id", "rich-mask", expires_at_ms=NOW_MS)
        case "no row":
            stage.database.connection.execute("DELETE FROM blob WHERE blob_id = 'rich-mask'")
        case "no file":
            (stage.settings.blobs.folder / "rich-mask.png").unlink()
        case _:
            (stage.settings.blobs.folder / "rich-mask.png").write_bytes(PNG)
    for result, field, what in (
        (stage.post("/v1/jobs", {"like": "r3"}), "like", "image r3"),
        (stage.post("/v1/jobs/rich/retry"), "job_id", "job rich"),
    ):
        assert (result.status_code, result.json["code"]) == (410, "input_gone")
        problem = f"the mask image of {what} is gone (setting blobs.expire_after): send it as mask_image_blob"
        assert fields_of(result) == {field: problem}
    assert stage.bus.asked == []
    ask_of(stage, {"like": "r3", "mask_image_blob": PNG_TEXT})


def test_a_refusal_of_a_value_that_was_taken_over_names_the_image(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = of_field(ModelMissing, "loras[0]", "no model has the id 'l1'")
    for body, field in (({"like": "r3"}, "like"), ({"like": "r3", "loras": ["l1"]}, "loras[0]")):
        result = stage.post("/v1/jobs", body)
        assert (result.status_code, result.json["code"]) == (409, "model_missing")
        assert list(fields_of(result)) == [field]
        assert result.json["detail"].startswith(f"{field}: ")
    problem = fields_of(stage.post("/v1/jobs", {"like": "r3"}))["like"]
    assert problem == "loras[0] of image r3: no model has the id 'l1'; or set loras in the request"


def test_a_limit_that_is_lower_today_names_the_image(stage: Stage) -> None:
    stage.database.add_job(3, "huge", spec=replace(PLAIN, steps=9_999), status="finished")
    stage.database.add_image("h1", "huge")
    assert list(fields_of(stage.post("/v1/jobs", {"like": "h1"}))) == ["like"]
    assert list(fields_of(stage.post("/v1/jobs", {"like": "h1", "steps": 9_999}))) == ["steps"]


@pytest.mark.parametrize("like", ["", " ", 7, "x" * 101])
def test_an_id_that_is_none_is_refused(stage: Stage, like: object) -> None:
    assert list(fields_of(stage.post("/v1/jobs", {"like": like}))) == ["like"]


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"steps": 0, "colour": 1}, {"steps", "colour"}),
        ({"strength": 0.5, "type_pose": "canny"}, {"strength", "type_pose"}),
    ],
)
def test_wrong_fields_beside_the_image_are_named(stage: Stage, said: dict[str, Any], wrong: set[str]) -> None:
    assert set(fields_of(stage.post("/v1/jobs", {"like": "p1", **said}))) == wrong


def test_a_failed_job_comes_again_as_it_was(stage: Stage) -> None:
    result = stage.post("/v1/jobs/rich/retry", headers={"Idempotency-Key": "k"})
    assert (result.status_code, result.headers["location"]) == (202, "/v1/jobs/j9")
    assert result.json["job_id"] == "j9"
    assert isinstance(stage.last_ask, SubmitJob)
    assert (stage.last_ask.engine_id, stage.last_ask.priority, stage.bus.keys) == ("e1", 7, ["http:k"])
    assert resolved(stage.last_ask) == RICH
    assert stage.bus.blobs[-1] == (PNG, WEBP, JPEG)


def test_a_refused_retry_names_the_job(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = of_field(
        InvalidField, "controls[0].type_pose", "the engine has no ControlNet"
    )
    assert list(fields_of(stage.post("/v1/jobs/rich/retry"))) == ["job_id"]


@pytest.mark.parametrize(
    ("status", "hint"), [("waiting", "cancel it"), ("processing", "cancel it"), ("finished", "like")]
)
def test_a_job_that_has_not_failed_is_not_retried(stage: Stage, status: str, hint: str) -> None:
    stage.database.add_job(3, "other", status=status)
    result = stage.post("/v1/jobs/other/retry")
    assert (result.status_code, result.json["code"]) == (409, "illegal_move")
    assert hint in result.json["detail"]
    assert stage.bus.asked == []


def test_a_job_that_never_was_is_not_retried(stage: Stage) -> None:
    result: falcon.testing.Result = stage.post("/v1/jobs/j0/retry")
    assert (result.status_code, result.json["code"]) == (404, "job_not_found")


def test_loras_of_tags_go_with_the_prompt_that_named_them(stage: Stage) -> None:
    stage.database.add_model("l1", name="detail", model_type="lora")
    loras = (LoraUse(model_id=ModelId("l9"), weight=0.5), LoraUse(model_id=ModelId("l1"), weight=0.6))
    spec = replace(PLAIN, prompt="a fox <lora:Detail:0.6>", lora_tags=True, loras=loras)
    stage.database.add_job(3, "tagged", spec=spec, status="finished")
    stage.database.add_image("t1", "tagged")
    same = ask_of(stage, {"like": "t1", "seed": 8}).request
    assert (same.loras, same.lora_tags) == (loras, True)
    other = ask_of(stage, {"like": "t1", "prompt": "a dog"}).request
    assert (other.loras, other.lora_tags) == (loras[:1], None)


def test_a_mask_is_checked_against_the_stored_reference(stage: Stage) -> None:
    """Neither an empty one nor one of another shape gets to the Manager."""
    for mask, code in ((solid("white"), "empty_mask"), (solid("black", 96), "invalid_field")):
        result = stage.post(
            "/v1/jobs", {"like": "r3", "mask_image_blob": as_text(mask), "mask_mode": "inverted"}
        )
        assert (result.status_code, result.json["code"]) == (422, code)
        assert list(fields_of(result)) == ["mask_image_blob"]
    assert stage.bus.asked == []


def solid(colour: str, width_px: int = SIDE_PX) -> bytes:
    file = BytesIO()
    Image.new("L", (width_px, SIDE_PX), colour).save(file, "PNG")
    return file.getvalue()
