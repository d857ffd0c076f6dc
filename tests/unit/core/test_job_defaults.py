"""What a job will be: its own wishes, else the engine's; what cannot be is refused by the field's name."""

from math import inf, nan

import pytest

from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import (
    ControlType,
    ImageFileType,
    ImageFit,
    InpaintArea,
    InpaintFill,
    InputKind,
    MaskMode,
    ModelBase,
    ModelState,
    ModelType,
    PromptTechnique,
    Scheduler,
)
from kernel.protocol.ids import JobId, ModelId
from kernel.protocol.model_refs import OWN_VAE, Control, ControlUse, LoraUse
from kernel.protocol.prompts import LONGEST_PROMPT
from kernel.protocol.rows import ImageRow
from kernel.protocol.specs import JobRequest, JobSpec
from tests.unit.core.samples import CHECKPOINT, controlnet, model, spec, submit
from tests.unit.core.story import Story, orders_to

REFERENCE, MASK, POSE = InputKind.REFERENCE, InputKind.MASK, InputKind.POSE
CANNY, DEPTH, OPENPOSE = ControlType.CANNY, ControlType.DEPTH, ControlType.OPENPOSE
MODELS = (
    model("lora"),
    model("other"),
    model("word", ModelType.EMBEDDING, trigger_words=("<word>",)),
    model("vae", ModelType.VAE, model_base=None),
    model("remover", ModelType.BACKGROUND, model_base=None),
    model("xl", model_base=ModelBase.SDXL),
    model("coming", status=ModelState.DOWNLOADING),
    model("broken", status=ModelState.ERROR, error="it is truncated"),
    controlnet(CANNY),
    controlnet(OPENPOSE),
    controlnet(DEPTH, "depth-xl"),
    model("nameless", ModelType.CONTROLNET),
)
READY_MODELS = tuple(row for row in MODELS if row.status is ModelState.READY)
ENGINE = {
    "loras": (LoraUse(model_id="lora", weight=0.5),),
    "embeddings": ("word",),
    "vae": "vae",
    "clip_skip": 2,
    "long_prompt_technique": PromptTechnique.COMPEL,
    "control_net": OPENPOSE,
    "control_models": ("canny", "openpose"),
}


def decided(story: Story, **fields: object) -> JobSpec:
    """The job that comes of a request to the one engine."""
    (engine_id,) = story.database.engines
    return story.database.specs[story.submit(engine_id, **fields)]


def problem(reply: client.Refused) -> str:
    """The one field that is wrong."""
    (found,) = reply.fields
    return found.field


@pytest.fixture
def story() -> Story:
    story = Story(*MODELS)
    story.engine(autostart=False, **ENGINE)
    return story


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
@pytest.mark.parametrize(
    ("technique", "most"),
    [(PromptTechnique.COMPEL, 5_000), (PromptTechnique.SD_EMBED, 100_000), (PromptTechnique.NONE, 100_000)],
)
def test_prompt_that_is_longer_than_its_technique_takes_is_refused_by_its_field(field, technique, most):
    story = Story(*MODELS)
    story.engine(autostart=False, **(ENGINE | {"long_prompt_technique": technique}))
    assert decided(story, **{field: "a" * most}).long_prompt_technique is technique
    (engine_id,) = story.database.engines
    reply = story.refusal(submit(engine_id, **{field: "a" * (most + 1)}))
    assert (reply.code, problem(reply)) == ("invalid_field", field)
    if most < LONGEST_PROMPT:
        assert f"at most {most:,} characters with long_prompt_technique {technique}" in reply.detail
    else:
        assert f"at most {most} characters" in reply.detail


def test_job_can_have_the_checkpoints_own_vae_though_its_engine_has_another(story):
    assert decided(story, vae=OWN_VAE).vae == OWN_VAE


def test_job_that_says_nothing_is_made_as_the_engine_is(story):
    found = decided(story)
    assert (found.loras, found.embeddings, found.vae) == (ENGINE["loras"], ("word",), "vae")
    assert (found.clip_skip, found.long_prompt_technique) == (2, PromptTechnique.COMPEL)
    assert (found.controls, found.control_models, found.inputs) == ((), (), ())


def test_what_a_job_says_replaces_what_the_engine_has_and_an_empty_list_means_none(story):
    loras = (LoraUse(model_id=ModelId("other"), weight=-1.0), LoraUse(model_id=ModelId("lora"), weight=0.0))
    assert decided(story, loras=loras).loras == loras
    bare = decided(story, loras=(), embeddings=())
    assert (bare.loras, bare.embeddings) == ((), ())
    assert decided(story, clip_skip=1).clip_skip == 1
    technique = PromptTechnique.NONE
    assert decided(story, long_prompt_technique=technique).long_prompt_technique is technique


def test_noise_levels_that_a_scheduler_cannot_have_are_refused_with_the_closest(story):
    (engine_id,) = story.database.engines
    levels = {"timestep_spacing": "simple"}
    assert decided(story, scheduler=Scheduler.EULER_A, scheduler_config=levels).scheduler_config == levels
    for scheduler, says in (
        (Scheduler.DDIM, "the closest timestep_spacing is trailing"),
        (Scheduler.LCM, "omit simple"),
    ):
        reply = story.refusal(submit(engine_id, scheduler=scheduler, scheduler_config=levels))
        assert problem(reply) == "scheduler_config.timestep_spacing"
        assert says in reply.detail


def test_prompts_are_in_a1111s_syntax_unless_anybody_says_otherwise():
    story = Story(*MODELS)
    story.engine(autostart=False)
    assert decided(story).long_prompt_technique is PromptTechnique.SD_EMBED


def test_all_that_only_a_job_can_say_is_taken_over_as_it_is(story):
    wish = {
        "inputs": (MASK, REFERENCE),
        "image_fit": ImageFit.PAD,
        "strength": 0.0,
        "remove_background": (ModelId("remover"),),
        "background_color": "#00ff7f",
        "image_file_type": ImageFileType.JPEG,
        "previews": True,
        "expire_after_s": 0.5,
        "delete_after_downloads": 1,
    }
    found = decided(story, **wish)
    assert {name: getattr(found, name) for name in wish} == wish


def test_each_control_is_given_the_engines_controlnet_of_its_type(story):
    controls = (ControlUse(control_type=OPENPOSE, end=0.5), ControlUse(control_type=CANNY, scale=0.0))
    found = decided(story, inputs=(POSE,), controls=controls)
    assert found.controls == (
        Control(control_type=OPENPOSE, control_model=ModelId("openpose"), end=0.5),
        Control(control_type=CANNY, control_model=ModelId("canny"), scale=0.0),
    )


def test_pose_image_of_which_nothing_is_said_is_of_the_engines_type(story):
    found = decided(story, inputs=(POSE,))
    assert found.controls == (Control(control_type=OPENPOSE, control_model=ModelId("openpose")),)


def test_control_that_leaves_its_type_to_the_engine_keeps_its_numbers(story):
    found = decided(story, inputs=(POSE,), controls=(ControlUse(scale=0.5),))
    assert found.controls == (Control(control_type=OPENPOSE, control_model=ModelId("openpose"), scale=0.5),)


def test_control_without_a_type_needs_an_engine_with_one(story):
    story.engine(name="plain", checkpoint="checkpoint")
    ask = client.SubmitJob(engine_name="plain", request=JobRequest(inputs=(POSE,), controls=(ControlUse(),)))
    refused = story.refusal(ask)
    assert refused.detail == "type_pose: is required: the engine has no default control_net"


def test_eta_of_a_job_needs_a_scheduler_that_takes_one(story):
    (engine_id,) = story.database.engines
    assert decided(story, scheduler=Scheduler.DDIM, eta=0.5).eta == 0.5
    refused = story.refusal(submit(engine_id, scheduler=Scheduler.EULER, eta=0.5))
    assert refused.detail == "eta: has no effect with euler: omit it, or use ddim, tcd"


def test_eta_of_an_engine_is_for_the_schedulers_that_take_one():
    story = Story()
    engine_id = story.engine(eta=0.5, guidance_rescale=0.7, scheduler=Scheduler.DDIM)
    noisy, plain = story.submit(engine_id), story.submit(engine_id, scheduler=Scheduler.EULER)
    assert [story.database.specs[one].eta for one in (noisy, plain)] == [0.5, None]
    assert story.database.specs[plain].guidance_rescale == 0.7


def test_what_says_nothing_about_a_job_is_none(story):
    found = decided(story, strength=0.5, image_fit=ImageFit.PAD, background_color="#000000")
    assert (found.strength, found.image_fit, found.background_color) == (None, None, None)


def test_mask_of_which_nothing_is_said_has_the_values_of_a1111(story):
    found = decided(story, inputs=(REFERENCE, MASK))
    assert (found.mask_mode, found.mask_blur) == (MaskMode.LUMINANCE, 4)
    assert (found.inpaint_area, found.inpaint_padding) == (InpaintArea.WHOLE, None)
    assert (found.inpaint_fill, found.image_fit) == (InpaintFill.ORIGINAL, ImageFit.CROP)
    assert found.has_mask


def test_where_only_the_masked_area_is_drawn_nothing_is_fitted(story):
    asked = {"inputs": (REFERENCE, MASK), "inpaint_area": InpaintArea.MASKED}
    found = decided(story, **asked)
    assert (found.inpaint_padding, found.image_fit) == (32, None)
    found = decided(story, **asked, inpaint_padding=0, mask_blur=0, mask_mode=MaskMode.INVERTED)
    assert (found.inpaint_padding, found.mask_blur, found.mask_mode) == (0, 0, MaskMode.INVERTED)


def test_reference_may_be_its_own_mask_by_its_alpha_channel_alone(story):
    assert decided(story, inputs=(REFERENCE,), mask_mode=MaskMode.ALPHA).has_mask
    plain = decided(story, inputs=(REFERENCE,), mask_mode=MaskMode.INVERTED, mask_blur=3)
    assert (plain.mask_mode, plain.mask_blur, plain.has_mask) == (None, None, False)


def test_pose_image_for_an_engine_without_a_type_has_to_say_its_own():
    story = Story(*MODELS)
    engine_id = story.engine(control_models=("canny",))
    assert problem(story.refusal(submit(engine_id, inputs=(POSE,)))) == "controls"


@pytest.mark.parametrize(
    ("fields", "code", "field", "words"),
    [
        ({"loras": ("lora", "none")}, "model_missing", "loras[1]", "'none': register it first"),
        ({"loras": ("lora", "vae")}, "wrong_model_type", "loras[1]", "use one of type lora"),
        ({"loras": ("xl",)}, "wrong_model_base", "loras[0]", "for sdxl, but the engine's checkpoint is sd"),
        ({"loras": ("lora", "other", "lora")}, "invalid_field", "loras[2]", "names the same model twice"),
        ({"embeddings": ("word", "word")}, "invalid_field", "embeddings[1]", "names the same model twice"),
        ({"embeddings": ("lora",)}, "wrong_model_type", "embeddings[0]", "use one of type embedding"),
        ({"vae": "remover"}, "wrong_model_type", "vae", "use one of type vae"),
        (
            {"remove_background": ("vae",)},
            "wrong_model_type",
            "remove_background_models[0]",
            "use one of type background",
        ),
    ],
    ids=str,
)
def test_model_that_does_not_fit_is_named_with_what_is_wrong(story, fields, code, field, words):
    if "loras" in fields:
        fields = {"loras": tuple(LoraUse(model_id=model_id) for model_id in fields["loras"])}
    (engine_id,) = story.database.engines
    refused = story.refusal(submit(engine_id, **fields))
    assert (refused.code, problem(refused)) == (code, field)
    assert words in refused.detail


@pytest.mark.parametrize(
    ("model_id", "words"),
    [
        ("coming", "the model is still downloading: wait"),
        ("broken", "in error (it is truncated): retry it, or use another one"),
    ],
)
def test_model_that_is_not_ready_is_a_conflict_that_names_the_field(story, model_id, words):
    (engine_id,) = story.database.engines
    refused = story.refusal(submit(engine_id, loras=(LoraUse(model_id=model_id),)))
    assert (refused.code, problem(refused)) == ("model_not_ready", "loras[0]")
    assert words in refused.detail


def control(**fields: object) -> dict[str, object]:
    return {"inputs": (POSE,), "controls": (ControlUse(control_type=CANNY, **fields),)}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"inputs": (MASK,)}, "mask"),
        ({"inputs": (REFERENCE, REFERENCE)}, "reference"),
        ({"controls": (ControlUse(control_type=CANNY),)}, "pose"),
        ({"inputs": (POSE,), "controls": (ControlUse(control_type=CANNY),) * 2}, "controls[1].type_pose"),
        ({"inputs": (POSE,), "controls": (ControlUse(control_type=DEPTH),)}, "controls[0].type_pose"),
        ({"strength": 1.01}, "strength"),
        ({"strength": -0.1}, "strength"),
        ({"strength": nan}, "strength"),
        ({"guidance_scale": -0.1}, "cfg"),
        ({"guidance_scale": 100.1}, "cfg"),
        ({"guidance_scale": nan}, "cfg"),
        ({"clip_skip": 0}, "clip_skip"),
        ({"clip_skip": 13}, "clip_skip"),
        ({"loras": (LoraUse(model_id=ModelId("lora"), weight=10.5),)}, "loras[0].weight"),
        ({"loras": (LoraUse(model_id=ModelId("lora"), weight=nan),)}, "loras[0].weight"),
        (control(scale=inf), "controls[0].control_scale"),
        (control(scale=-0.5), "controls[0].control_scale"),
        (control(start=-0.1), "controls[0].control_start"),
        (control(end=1.1), "controls[0].control_end"),
        (control(start=0.5, end=0.5), "controls[0].control_end"),
        ({"background_color": "white"}, "background_color"),
        ({"background_color": "#fffffg"}, "background_color"),
        ({"background_color": "ffffff"}, "background_color"),
        ({"expire_after_s": 0.0}, "expire_after_s"),
        ({"expire_after_s": inf}, "expire_after_s"),
        ({"expire_after_s": nan}, "expire_after_s"),
        ({"delete_after_downloads": 0}, "delete_after_downloads"),
        ({"delete_after_downloads": 2**63}, "delete_after_downloads"),
    ],
    ids=str,
)
def test_wish_that_makes_no_sense_is_refused_by_its_name(story, fields, field):
    (engine_id,) = story.database.engines
    assert problem(story.refusal(submit(engine_id, **fields))) == field
    assert not story.broker.world.submissions


def test_job_can_name_controlnets_that_its_engine_does_not_have():
    story = Story(*MODELS)
    story.engine(autostart=False)
    found = decided(story, inputs=(POSE,), control_models=("canny", "openpose"))
    assert found.controls == (
        Control(control_type=CANNY, control_model=ModelId("canny")),
        Control(control_type=OPENPOSE, control_model=ModelId("openpose")),
    )
    controls = (ControlUse(scale=0.5), ControlUse(end=0.5))
    found = decided(story, inputs=(POSE,), control_models=("openpose", "canny"), controls=controls)
    assert found.controls == (
        Control(control_type=OPENPOSE, control_model=ModelId("openpose"), scale=0.5),
        Control(control_type=CANNY, control_model=ModelId("canny"), end=0.5),
    )


def test_controlnets_of_a_job_take_the_place_of_the_engines(story):
    found = decided(story, inputs=(POSE,), control_models=("canny",))
    assert [control.control_type for control in found.controls] == [CANNY]


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"control_models": ("gone",)}, "model_missing", "control_models[0]"),
        ({"control_models": ("canny", "lora")}, "wrong_model_type", "control_models[1]"),
        ({"control_models": ("canny", "canny")}, "invalid_field", "control_models[1]"),
        ({"control_models": ("nameless",)}, "invalid_field", "control_models[0]"),
        ({"control_models": ()}, "invalid_field", "controls"),
        (control() | {"control_models": ("openpose",)}, "invalid_field", "control_models[0]"),
        (control() | {"control_models": ()}, "invalid_field", "controls[0].type_pose"),
        ({"control_models": ("canny",), "controls": (ControlUse(),) * 2}, "invalid_field", "type_pose"),
        ({"control_models": ("canny",), "inputs": ()}, "invalid_field", "control_models[0]"),
    ],
    ids=str,
)
def test_controlnets_of_a_job_are_checked_by_their_field(story, fields, code, field):
    (engine_id,) = story.database.engines
    refused = story.refusal(submit(engine_id, **({"inputs": (POSE,)} | fields)))
    assert (refused.code, problem(refused)) == (code, field)


def test_controlnet_that_is_missing_is_a_sentence_that_says_which_there_are(story):
    (engine_id,) = story.database.engines
    ask = submit(engine_id, inputs=(POSE,), controls=(ControlUse(control_type=DEPTH),))
    assert "control_models has those for canny, openpose" in story.refusal(ask).detail


# What an engine may name.


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"checkpoint": "none"}, "model_missing", "checkpoint"),
        ({"checkpoint": "lora"}, "wrong_model_type", "checkpoint"),
        ({"vae": "none"}, "model_missing", "vae"),
        ({"loras": (LoraUse(model_id=ModelId("xl")),)}, "wrong_model_base", "loras[0]"),
        ({"loras": (LoraUse(model_id=ModelId("coming")),)}, "model_not_ready", "loras[0]"),
        ({"loras": (LoraUse(model_id=ModelId("lora"), weight=inf),)}, "invalid_field", "loras[0].weight"),
        ({"embeddings": ("word", "word")}, "invalid_field", "embeddings[1]"),
        ({"clip_skip": 0}, "invalid_field", "clip_skip"),
        ({"control_models": ("nameless",)}, "invalid_field", "control_models[0]"),
        ({"control_models": ("canny", "canny")}, "invalid_field", "control_models[1]"),
        ({"control_models": ("canny",), "control_net": DEPTH}, "invalid_field", "control_net"),
        ({"control_net": DEPTH}, "invalid_field", "control_net"),
    ],
    ids=str,
)
def test_engine_of_models_that_do_not_fit_is_not_created(fields, code, field):
    story = Story(*MODELS)
    refused = story.refusal(client.CreateEngine(spec=spec(**fields), start=False))
    assert (refused.code, problem(refused)) == (code, field)
    assert not story.database.engines


def test_engine_has_one_controlnet_for_each_type():
    story = Story(*MODELS, controlnet(CANNY, "canny-2"))
    ask = client.CreateEngine(spec=spec(control_models=("canny", "canny-2")), start=False)
    assert "a second ControlNet for canny" in story.refusal(ask).detail


def test_worker_is_told_where_every_model_of_its_engine_is():
    story = Story(*READY_MODELS)
    story.engine(start=True, **ENGINE)
    worker_id = story.newcomers[0]
    (load,) = (o.load for o in orders_to(story.hello(worker_id), worker_id) if isinstance(o, wire.LoadEngine))
    assert load.checkpoint.model_id == CHECKPOINT
    assert [source.model_id for source in load.models] == ["vae", "lora", "word", "canny", "openpose"]
    by_id = {source.model_id: source for source in load.models}
    assert by_id["word"].trigger_words == ("<word>",)
    assert by_id["canny"].control_type is CANNY


def test_worker_is_told_where_every_model_of_its_job_is():
    story = Story(*READY_MODELS)
    engine_id, _ = story.running_engine(**ENGINE)
    job_id = story.submit(engine_id, loras=(LoraUse(model_id=ModelId("other")),), embeddings=())
    assert [source.model_id for source in story.gives[job_id].models] == ["vae", "other"]


# How long its images stay.


def image_of(story: Story, job_id: JobId) -> ImageRow:
    return story.database.images[story.image_id(job_id)]


@pytest.mark.parametrize("restarts", [False, True])
def test_images_stay_as_long_as_their_job_says(restarts):
    story = Story()
    engine_id = story.engine()
    job_id = story.submit(engine_id, expire_after_s=2.0, delete_after_downloads=5)
    if restarts:
        story.begin()
    story.up()
    story.make(job_id)
    row = image_of(story, job_id)
    assert (row.expires_at_ms, row.download_limit) == (1_002_000, 5)
