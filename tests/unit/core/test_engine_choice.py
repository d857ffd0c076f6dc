"""Jobs that name a checkpoint or nothing: which engine makes them, and when one is created for them."""

import pytest
from msgspec.structs import replace

from kernel.core.actions import AddJob, LaunchWorker, Reply, SaveEngine, SaveReply, StoreInputs
from kernel.core.events import InputsStored
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, InputKind, ModelState, ModelType
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.memory import MemoryProfile, UNetLayout
from kernel.protocol.model_refs import OWN_VAE
from kernel.protocol.rows import ModelRow
from kernel.protocol.specs import EngineSpec, JobRequest
from tests.unit.core.samples import (
    CHECKPOINT,
    checkpoint,
    device,
    downloading,
    heavy,
    input_file,
    model,
    spec,
    submit,
)
from tests.unit.core.story import Story, only

OTHER = ModelId("other")
NOTHING = client.SubmitJob(request=JobRequest(prompt="a cat"))


def of(name: str, **fields: object) -> client.SubmitJob:
    """The wish for a picture of a checkpoint."""
    return client.SubmitJob(checkpoint=name, request=JobRequest(**fields))  # type: ignore[arg-type]


def engine_of(story: Story, ask: client.SubmitJob) -> EngineId:
    """Submits a job. Returns: the engine that it was given to."""
    reply = story.ask(ask)
    assert isinstance(reply, client.JobAccepted), reply
    return story.job(reply.job_id).engine_id


def test_first_job_of_a_checkpoint_creates_its_engine_and_starts_it_in_one_transaction():
    story = Story()
    found = story.ask_actions(of(CHECKPOINT), key="mine")
    kinds = [type(action) for action in found]
    assert kinds.index(SaveEngine) < kinds.index(AddJob) < kinds.index(SaveReply) < kinds.index(Reply)
    assert len(only(found, LaunchWorker)) == 1
    (row,) = story.database.engines.values()
    assert (row.name, row.spec) == (None, EngineSpec(checkpoint=CHECKPOINT))
    assert row.status is EngineState.STARTING
    worker_id = story.up()
    (job_id,) = story.database.jobs
    assert story.gives[job_id].worker_id == worker_id


def test_same_key_again_creates_nothing_more():
    story = Story()
    first = story.ask(of(CHECKPOINT), key="mine")
    assert story.ask(of(CHECKPOINT), key="mine") == first
    assert (len(story.database.engines), len(story.database.jobs)) == (1, 1)


def test_further_jobs_of_the_checkpoint_are_for_the_same_engine_also_after_a_restart():
    story = Story()
    engine_id = engine_of(story, of(CHECKPOINT))
    assert engine_of(story, of(CHECKPOINT)) == engine_id
    story.begin()
    assert engine_of(story, of(CHECKPOINT)) == engine_id


def test_engine_that_a_job_created_closes_when_it_is_idle():
    story = Story()
    engine_id = engine_of(story, of(CHECKPOINT))
    story.up()
    (job_id,) = story.database.jobs
    story.make(job_id)
    story.wait(story.limits.keep_alive_s + 1)
    assert story.engine_state(engine_id) in (EngineState.STOPPING, EngineState.CLOSED)


def test_loaded_engine_of_the_checkpoint_is_preferred_to_an_older_closed_one():
    story = Story()
    closed = story.engine()
    ready, _ = story.running_engine()
    assert engine_of(story, of(CHECKPOINT)) == ready
    assert story.engine_state(closed) is EngineState.CLOSED


def test_idle_engine_is_preferred_to_a_working_one():
    story = Story()
    working, _ = story.running_engine()
    story.submit(working)
    idle, _ = story.running_engine()
    assert engine_of(story, of(CHECKPOINT)) == idle


def test_of_several_closed_engines_the_oldest_that_nobody_stopped_is_used():
    story = Story()
    stopped = story.engine()
    story.ask(client.StopEngine(engine_id=stopped))
    older = story.engine()
    story.wait(1.0)
    story.engine()
    assert engine_of(story, of(CHECKPOINT)) == older


def test_engine_that_a_person_stopped_is_used_if_it_is_the_only_one():
    story = Story()
    stopped = story.engine()
    story.ask(client.StopEngine(engine_id=stopped))
    assert engine_of(story, of(CHECKPOINT)) == stopped
    assert story.engine_state(stopped) is EngineState.STARTING


def test_closed_engine_that_only_a_person_starts_is_not_used():
    story = Story()
    by_hand = story.engine(autostart=False)
    assert engine_of(story, of(CHECKPOINT)) != by_hand


def test_engine_that_only_a_person_starts_is_used_while_it_runs():
    story = Story()
    by_hand, _ = story.running_engine(autostart=False)
    assert engine_of(story, of(CHECKPOINT)) == by_hand


def test_engine_in_error_keeps_its_checkpoint_from_getting_one_engine_after_another():
    story = Story()
    engine_id = engine_of(story, of(CHECKPOINT))
    story.hello(worker_id := story.newcomers[0])
    story.say(
        worker_id, wire.EngineFailed(engine_id=engine_id, code="model_unreadable", text="it is damaged")
    )
    assert story.engine_state(engine_id) is EngineState.ERROR
    assert engine_of(story, of(CHECKPOINT)) == engine_id


def test_checkpoint_is_found_by_its_name_even_if_a_lora_bears_it_too():
    named = replace(checkpoint(OTHER), name="dreams")
    story = Story(named, model("sketch", name="dreams"))
    engine_id = engine_of(story, of("dreams"))
    assert story.engine_row(engine_id).spec.checkpoint == OTHER


def test_name_of_several_checkpoints_is_refused_with_their_ids():
    story = Story(replace(checkpoint(OTHER), name=CHECKPOINT))
    story.database.models[ModelId("third")] = replace(checkpoint(ModelId("third")), name="twice")
    story.database.models[ModelId("fourth")] = replace(checkpoint(ModelId("fourth")), name="twice")
    story.begin()
    refused = story.refusal(of("twice"))
    assert refused.code == "invalid_field"
    assert "third" in refused.detail
    assert "fourth" in refused.detail
    assert engine_of(story, of(CHECKPOINT)), "an id goes before names"


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (of("absent"), "model_missing"),
        (of("sketch"), "wrong_model_type"),
        (of("coming"), "model_not_ready"),
        (of(CHECKPOINT, steps=10_000), "invalid_field"),
        (of("heavy"), "not_enough_memory"),
        (replace(of(CHECKPOINT), engine_name="portraits"), "invalid_field"),
    ],
    ids=["unknown", "lora", "downloading", "wrong job", "no room", "with an engine"],
)
def test_refused_job_leaves_no_engine_behind(ask, code):
    models = (model("sketch"), downloading(ModelId("coming")), heavy("heavy", 1 << 40))
    story = Story(*models, devices=(device("cpu", 1 << 34),))
    assert story.refusal(ask).code == code
    assert not story.database.engines


def test_check_without_a_submission_says_that_an_engine_would_be_created_and_creates_none():
    story = Story()
    assert story.ask(replace(of(CHECKPOINT), validate_only=True)) == client.JobValid(engine_id=None)
    assert not story.database.engines
    engine_id = story.engine()
    assert story.ask(replace(of(CHECKPOINT), validate_only=True)) == client.JobValid(engine_id=engine_id)


def test_engine_of_a_job_with_pictures_is_created_once_they_are_on_the_disk():
    story = Story()
    request = JobRequest(inputs=(InputKind.REFERENCE,))
    ask = client.SubmitJob(checkpoint=CHECKPOINT, request=request, files=(input_file(InputKind.REFERENCE),))
    assert only(story.ask_actions(ask, key="one"), StoreInputs)
    story.ask_actions(ask, key="two")
    assert not story.database.engines
    story.tell(InputsStored("one"))
    story.tell(InputsStored("two"))
    (engine_id,) = story.database.engines
    assert [job.engine_id for job in story.database.jobs.values()] == [engine_id, engine_id]


def test_job_that_names_nothing_is_for_the_only_checkpoint_that_is_ready():
    story = Story(downloading(ModelId("coming")), model("sketch"))
    engine_id = engine_of(story, NOTHING)
    assert story.engine_row(engine_id).spec.checkpoint == CHECKPOINT


def test_job_that_names_nothing_is_refused_with_the_ways_out_if_there_are_several_checkpoints():
    refused = Story(checkpoint(OTHER)).refusal(NOTHING)
    assert refused.code == "invalid_field"
    assert [one.field for one in refused.fields] == ["checkpoint"]
    for way in ("engine", "engines.default", OTHER, CHECKPOINT):
        assert way in refused.detail


def test_job_that_names_nothing_is_told_how_to_register_a_first_checkpoint():
    story = Story()
    story.database.models = {ModelId("sketch"): model("sketch")}
    story.begin()
    refused = story.refusal(NOTHING)
    assert refused.code == "model_missing"
    assert "spoon models add" in refused.detail


def test_job_that_names_nothing_is_told_that_the_only_checkpoint_is_not_ready_yet():
    story = Story()
    story.database.models = {CHECKPOINT: downloading(CHECKPOINT)}
    story.begin()
    assert story.database.models[CHECKPOINT].status is ModelState.DOWNLOADING
    assert story.refusal(NOTHING).code == "model_not_ready"


@pytest.mark.parametrize("default", ["portraits", "dreams"], ids=["engine", "checkpoint"])
def test_default_of_the_configuration_is_an_engine_or_a_checkpoint(default):
    dreams = replace(checkpoint(OTHER), name="dreams")
    story = Story(dreams, limits=Limits(default_engine=default))
    portraits = story.engine(name="portraits", checkpoint=OTHER)
    story.engine(checkpoint=CHECKPOINT)
    assert engine_of(story, NOTHING) == portraits
    assert engine_of(story, of(CHECKPOINT)) != portraits, "a job that names one has its own"


def test_default_that_is_nowhere_is_refused_by_its_name():
    refused = Story(limits=Limits(default_engine="portrait")).refusal(NOTHING)
    assert refused.code == "invalid_field"
    assert "engines.default is 'portrait'" in refused.detail


def test_default_that_is_no_checkpoint_is_refused():
    story = Story(model("sketch", ModelType.LORA), limits=Limits(default_engine="sketch"))
    assert story.refusal(NOTHING).code == "wrong_model_type"


def test_checkpoint_without_a_vae_makes_engines_and_jobs_with_another_one_only():
    story = Story(without_vae("bare"), model("vae", ModelType.VAE, model_base=None))
    reply = story.refusal(client.CreateEngine(spec=spec(checkpoint=ModelId("bare")), start=False))
    assert (reply.code, reply.fields[0].field) == ("invalid_field", "vae")
    assert "has no VAE of its own: name a model of type vae" in reply.detail
    assert story.refusal(of("bare")).fields[0].field == "vae"
    engine_id = story.engine(autostart=False, checkpoint=ModelId("bare"), vae=ModelId("vae"))
    assert story.database.specs[story.submit(engine_id)].vae == "vae"
    assert story.refusal(submit(engine_id, vae=OWN_VAE)).fields[0].field == "vae"


def without_vae(model_id: str) -> ModelRow:
    """A checkpoint whose inspection found no VAE."""
    unet = UNetLayout(
        channels=(8,), resnets_per_level=1, transformer_depths=(1,), middle_depth=1, context_width=8
    )
    return replace(checkpoint(ModelId(model_id)), memory=MemoryProfile(parts=(), unet=unet))
