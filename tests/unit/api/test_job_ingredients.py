"""POST /v1/jobs: adapters, control, background and retention, as they reach the Manager or are refused."""

from typing import Any

import pytest

from kernel.protocol.client import SubmitJob
from kernel.protocol.enums import ControlType, ImageFit, InpaintArea, InpaintFill, InputKind, MaskMode
from kernel.protocol.errors import (
    ModelMissing,
    ModelNotReady,
    NotInstalled,
    SpoonError,
    of_field,
    wrong_field,
)
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import OWN_VAE, ControlUse, LoraUse
from kernel.protocol.specs import JobRequest
from tests.unit.api.fake_bus import accepted
from tests.unit.api.sample_pictures import PNG_TEXT
from tests.unit.api.stage import Stage, fields_of

POSE = {"pose_image_blob": PNG_TEXT}


@pytest.fixture(autouse=True)
def a_willing_manager(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = accepted()


def request_of(stage: Stage, job: dict[str, Any]) -> JobRequest:
    result = stage.post("/v1/jobs", {"engine_id": "e1", **job})
    assert result.status_code == 202, result.text
    assert isinstance(stage.last_ask, SubmitJob)
    return stage.last_ask.request


def test_every_ingredient_reaches_the_manager(stage: Stage) -> None:
    request = request_of(
        stage,
        {
            "loras": ["l1", {"model_id": "l2", "weight": -0.5}],
            "embeddings": ["t1", "t2"],
            "vae": "v1",
            "clip_skip": 1,
            "remove_background_models": ["b1", "b2"],
            "background_color": "#00FF7f",
            "image_file_type": "jpeg",
            "previews": True,
            "expire_after": "1h 30m",
            "delete_after_downloads": 3,
        },
    )
    assert request.loras == (LoraUse(model_id=ModelId("l1")), LoraUse(model_id=ModelId("l2"), weight=-0.5))
    assert (request.embeddings, request.vae, request.clip_skip) == (("t1", "t2"), "v1", 1)
    assert (request.remove_background, request.background_color) == (("b1", "b2"), "#00FF7f")
    assert request.previews
    assert (request.expire_after_s, request.delete_after_downloads) == (5_400.0, 3)


def test_an_empty_list_is_none_at_all_and_not_the_engines(stage: Stage) -> None:
    assert request_of(stage, {"loras": [], "embeddings": []}).loras == ()
    assert request_of(stage, {}).loras is None


@pytest.mark.parametrize(
    ("said", "controls"),
    [
        ({"type_pose": "openpose"}, [ControlUse(control_type=ControlType.OPENPOSE)]),
        ({"type_pose": ["midaspose"]}, [ControlUse(control_type=ControlType.MIDAS)]),
        ({}, []),
        (
            {"type_pose": "mediapipepose", "preprocessed": True},
            [ControlUse(control_type=ControlType.MEDIAPIPE, is_preprocessed=True)],
        ),
        (
            {"type_pose": ["canny", "depth"], "control_scale": [1, 0.5], "control_end": 0.8},
            [
                ControlUse(control_type=ControlType.CANNY, scale=1, end=0.8),
                ControlUse(control_type=ControlType.DEPTH, scale=0.5, end=0.8),
            ],
        ),
        (
            {"type_pose": "canny", "control_scale": [2], "control_start": 0.25},
            [ControlUse(control_type=ControlType.CANNY, scale=2, start=0.25)],
        ),
    ],
)
def test_what_is_said_about_control_becomes_one_use_for_each_type(
    stage: Stage, said: dict[str, Any], controls: list[ControlUse]
) -> None:
    request = request_of(stage, POSE | said)
    assert (request.controls, request.inputs) == (tuple(controls), (InputKind.POSE,))


def test_without_a_type_the_engines_is_left_to_the_manager(stage: Stage) -> None:
    request = request_of(stage, POSE | {"control_scale": 0.5})
    assert request.controls == (ControlUse(scale=0.5),)


def test_controlnets_of_a_job_have_one_control_each_unless_it_names_types(stage: Stage) -> None:
    named = POSE | {"control_models": ["c1", "c2"]}
    request = request_of(stage, named | {"control_scale": [1, 0.5]})
    assert (request.control_models, request.controls) == (("c1", "c2"), (ControlUse(), ControlUse(scale=0.5)))
    request = request_of(stage, named | {"type_pose": "canny"})
    assert request.controls == (ControlUse(control_type=ControlType.CANNY),)


REFERENCE = {"reference_image_blob": PNG_TEXT}
MASKED = {**REFERENCE, "mask_image_blob": PNG_TEXT}


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({"mask_image_blob": PNG_TEXT}, ["mask_image_blob"]),
        ({"strength": 0.5}, ["strength"]),
        ({"strength": -0.1} | REFERENCE, ["strength"]),
        ({"strength": 1.1} | REFERENCE, ["strength"]),
        ({"image_fit": "pad"}, ["image_fit"]),
        ({"image_fit": "squeeze"} | REFERENCE, ["image_fit"]),
        ({"mask_mode": "luminance"} | REFERENCE, ["mask_mode"]),
        ({"mask_mode": "alpha"}, ["mask_mode"]),
        ({"mask_mode": "red"} | MASKED, ["mask_mode"]),
        ({"mask_blur": 4} | REFERENCE, ["mask_blur"]),
        ({"mask_blur": -1} | MASKED, ["mask_blur"]),
        ({"mask_blur": 257} | MASKED, ["mask_blur"]),
        ({"mask_blur": 1.5} | MASKED, ["mask_blur"]),
        ({"inpaint_area": "masked", "inpaint_fill": "fill"} | REFERENCE, ["inpaint_area", "inpaint_fill"]),
        ({"inpaint_fill": "magic"} | MASKED, ["inpaint_fill"]),
        ({"inpaint_padding": 8} | MASKED, ["inpaint_padding"]),
        ({"inpaint_padding": -8, "inpaint_area": "masked"} | MASKED, ["inpaint_padding"]),
        ({"image_fit": "pad", "inpaint_area": "masked"} | MASKED, ["image_fit"]),
        ({"type_pose": "openpose"}, ["type_pose"]),
        ({"preprocessed": True, "control_end": 0.5}, ["control_end", "preprocessed"]),
        (POSE | {"type_pose": "hands"}, ["type_pose"]),
        (POSE | {"type_pose": ["canny", "hands"]}, ["type_pose[1]"]),
        (POSE | {"type_pose": []}, ["type_pose"]),
        (POSE | {"type_pose": ["midas", "midaspose"]}, ["type_pose"]),
        (POSE | {"type_pose": ["midas", "canny"], "preprocessed": True}, ["preprocessed"]),
        (POSE | {"type_pose": ["midas", "canny"], "control_scale": [1]}, ["control_scale"]),
        (POSE | {"type_pose": "midas", "control_start": [0, 0]}, ["control_start"]),
        ({"control_models": ["c1"]}, ["control_models"]),
        (POSE | {"control_models": ["c1", "c1"]}, ["control_models"]),
        (POSE | {"control_models": ["c1", "c2"], "preprocessed": True}, ["preprocessed"]),
        (POSE | {"control_models": ["c1", "c2"], "control_end": [1]}, ["control_end"]),
        (POSE | {"type_pose": "midas", "control_start": 0.5, "control_end": 0.5}, ["control_start"]),
        (POSE | {"type_pose": "midas", "control_end": 0}, ["control_end"]),
        (POSE | {"type_pose": "midas", "control_scale": -1}, ["control_scale"]),
        (POSE | {"type_pose": "midas", "control_end": 1.5}, ["control_end"]),
        ({"background_color": "#fff"}, ["background_color"]),
        ({"background_color": "#ffffff"}, ["background_color"]),
        ({"background_color": "#ffffff", "remove_background_models": ["b1"]}, ["background_color"]),
        ({"remove_background_models": ["b1", "b1"]}, ["remove_background_models"]),
        ({"remove_background_models": [f"b{n}" for n in range(9)]}, ["remove_background_models"]),
        ({"loras": ["l1", "l1"]}, ["loras"]),
        ({"loras": "l1"}, ["loras"]),
        ({"loras": [5]}, ["loras[0]"]),
        ({"loras": [f"l{n}" for n in range(33)]}, ["loras"]),
        ({"embeddings": ["a\nb"]}, ["embeddings[0]"]),
        ({"vae": 5}, ["vae"]),
        ({"clip_skip": 0}, ["clip_skip"]),
        ({"expire_after": "soon"}, ["expire_after"]),
        ({"expire_after": "never"}, ["expire_after"]),
        ({"expire_after": 0}, ["expire_after"]),
        ({"expire_after": "101000d"}, ["expire_after"]),
        ({"expire_after": True}, ["expire_after"]),
        ({"delete_after_downloads": 0}, ["delete_after_downloads"]),
        ({"give_up_after": "never"}, ["give_up_after"]),
        ({"give_up_after": -1}, ["give_up_after"]),
        ({"give_up_after": "101000d"}, ["give_up_after"]),
        ({"previews": "yes"}, ["previews"]),
    ],
)
def test_what_contradicts_itself_is_refused_by_field(
    stage: Stage, wrong: dict[str, Any], fields: list[str]
) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1", **wrong})
    assert result.status_code == 422
    assert sorted(fields_of(result)) == fields
    assert stage.bus.asked == []


def test_a_duration_that_is_none_is_told_how_to_write_one(stage: Stage) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1", "expire_after": "soon"})
    assert 'must be a duration such as "90s", "10m" or "7d"' in fields_of(result)["expire_after"]


@pytest.mark.parametrize("seconds", [90, 90.0, "90", "90.0", "90s"])
def test_a_duration_may_be_a_number_of_seconds(stage: Stage, seconds: str | float) -> None:
    assert request_of(stage, {"expire_after": seconds}).expire_after_s == 90.0


@pytest.mark.parametrize(("said", "seconds"), [(0, 0.0), ("0", 0.0), ("10m", 600.0), (1.5, 1.5)])
def test_how_long_a_job_waits_for_an_engine_in_error_reaches_the_manager(
    stage: Stage, said: str | float, seconds: float
) -> None:
    assert request_of(stage, {"give_up_after": said}).give_up_after_s == seconds


def test_a_model_may_be_given_by_its_name(stage: Stage) -> None:
    stage.database.add_model("l1", name="detail", model_type="lora")
    stage.database.add_model("v1", name="detail", model_type="vae")
    request = request_of(stage, {"loras": [{"model_id": "detail", "weight": 2}], "vae": "detail"})
    assert request.loras == (LoraUse(model_id=ModelId("l1"), weight=2.0),)
    assert request.vae == "v1"


@pytest.mark.parametrize("word", ["checkpoint", "Checkpoint"])
def test_the_checkpoints_own_vae_is_a_word_that_goes_before_a_models_name(stage: Stage, word: str) -> None:
    stage.database.add_model("v1", name="checkpoint", model_type="vae")
    assert request_of(stage, {"vae": word}).vae == OWN_VAE
    assert request_of(stage, {"vae": "v1"}).vae == "v1"


def test_of_several_models_with_one_name_the_ready_one_counts(stage: Stage) -> None:
    stage.database.add_model("l1", name="detail", model_type="lora", status="error")
    stage.database.add_model("l2", name="detail", model_type="lora")
    assert request_of(stage, {"loras": ["detail"]}).loras == (LoraUse(model_id=ModelId("l2")),)


def test_a_name_that_two_models_have_is_refused_with_their_ids(stage: Stage) -> None:
    stage.database.add_model("l1", name="detail", model_type="lora", uri="file:///a")
    stage.database.add_model("l2", name="detail", model_type="lora", uri="file:///b")
    result = stage.post("/v1/jobs", {"engine_id": "e1", "loras": ["detail"]})
    assert fields_of(result) == {
        "loras[0]": "several models are named 'detail': use one of the ids "
        "l2 (ready lora, file:///b); l1 (ready lora, file:///a)"
    }


def test_an_id_and_a_name_of_one_model_name_it_twice(stage: Stage) -> None:
    stage.database.add_model("t1", name="style", model_type="embedding")
    result = stage.post("/v1/jobs", {"engine_id": "e1", "embeddings": ["t1", "style"]})
    assert fields_of(result) == {"embeddings": "must not repeat a model"}


def test_an_id_goes_before_a_name(stage: Stage) -> None:
    stage.database.add_model("l1", name="l2", model_type="lora")
    stage.database.add_model("l2", name="l1", model_type="lora")
    assert request_of(stage, {"loras": ["l1"]}).loras == (LoraUse(model_id=ModelId("l1")),)


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (of_field(ModelMissing, "remove_background_models[1]", "none"), "remove_background_models[1]"),
        (wrong_field("controls[1].type_pose", "the engine has none"), "type_pose[1]"),
        (wrong_field("controls[0].control_scale", "too strong"), "control_scale[0]"),
        (wrong_field("controls", "of which type?"), "type_pose"),
        (wrong_field("reference", "too long"), "reference_image_blob"),
        (wrong_field("loras[0]", "of another family"), "loras[0]"),
        (of_field(ModelNotReady, "vae", "it is read"), "vae"),
        (
            of_field(NotInstalled, "controls[0].type_pose", "put it there"),
            "type_pose[0]",
        ),
    ],
)
def test_a_refusal_of_the_manager_names_the_fields_of_http(
    stage: Stage, error: SpoonError, field: str
) -> None:
    stage.bus.reactions[SubmitJob] = error
    result = stage.post("/v1/jobs", {"engine_id": "e1"})
    assert (result.json["code"], list(fields_of(result))) == (error.code, [field])
    assert result.json["detail"].startswith(f"{field}: ")


def test_the_values_of_a_mask_reach_the_manager_in_the_words_of_a1111(stage: Stage) -> None:
    said = {
        "mask_mode": "Inpaint not masked",
        "mask_blur": 0,
        "inpaint_area": "Only masked",
        "inpaint_padding": 0,
        "inpaint_fill": "latent noise",
    }
    request = request_of(stage, MASKED | said)
    assert (request.mask_mode, request.mask_blur) == (MaskMode.INVERTED, 0)
    assert (request.inpaint_area, request.inpaint_padding) == (InpaintArea.MASKED, 0)
    assert request.inpaint_fill is InpaintFill.LATENT_NOISE


def test_the_resize_mode_that_there_is_not_is_refused_with_the_nearest(stage: Stage) -> None:
    body = {"engine_id": "e1", "image_fit": "Just resize (latent upscale)"} | REFERENCE
    told = fields_of(stage.post("/v1/jobs", body))["image_fit"]
    assert told.startswith("Just resize (latent upscale) is not available, the closest is stretch")


def test_the_way_of_fitting_reaches_the_manager(stage: Stage) -> None:
    request = request_of(stage, REFERENCE | {"image_fit": "Pad", "strength": 1})
    assert (request.image_fit, request.strength) == (ImageFit.PAD, 1.0)
