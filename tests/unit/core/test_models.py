"""What clients ask about models."""

import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.core.commands.model_commands import MOST_NAMED
from kernel.core.events import NO_FACTS, Asked, DiskSwept, KeptModel
from kernel.core.state import model_refs
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import ControlType, ModelBase, ModelState, ModelType, Variant
from kernel.protocol.ids import EngineId, JobId
from kernel.protocol.model_refs import LoraUse, Preparation
from tests.unit.core.samples import CHECKPOINT, controlnet, fingerprint, model, register
from tests.unit.core.story import CORRELATION, PEER, Story, only


def registered(story, name="model", **fields):
    """The id of a model that was just registered."""
    reply = story.ask(register(name, **fields))
    assert isinstance(reply, client.ModelAccepted)
    return reply.model_id


def test_a_model_that_is_being_fetched_is_not_tried_again_and_a_ready_one_is_inspected_as_it_is_now():
    story = Story()
    story.ask(client.RetryModel(model_id=CHECKPOINT))
    assert story.refusal(client.RetryModel(model_id=CHECKPOINT)).code == "illegal_move"
    story.hello(worker_id := story.newcomers[0])
    assert story.model(CHECKPOINT).status is ModelState.DOWNLOADING
    story.say(worker_id, wire.ModelInspected(model_id=CHECKPOINT, fingerprint=fingerprint()))
    assert (story.model(CHECKPOINT).status, story.model(CHECKPOINT).sha256) == (ModelState.READY, "f" * 64)
    assert story.refusal(client.RetryModel(model_id="none")).code == "model_not_found"


def test_same_recipe_again_is_the_model_that_is_there():
    story = Story()
    model_id = registered(story, tags=("a",), model_base=ModelBase.SD)
    again = story.ask(register(tags=("a",), model_base=ModelBase.SD))
    assert again == client.ModelAccepted(model_id=model_id, status=ModelState.DOWNLOADING, created=False)
    assert len(story.newcomers) == 1
    for other in (
        register(tags=("b",), model_base=ModelBase.SD),
        register(tags=("a",)),
        register(tags=("a",), model_base=ModelBase.SD, sha256="0" * 64),
        register(tags=("a",), model_base=ModelBase.SD, trigger_words=("w",)),
        register(tags=("a",), model_base=ModelBase.SD, variant=Variant.FP16),
        register("other", tags=("a",), model_base=ModelBase.SD),
    ):
        reply = story.ask(other)
        assert getattr(reply, "created", None) is True, other


def test_variant_that_inspection_found_is_the_one_that_is_asked_for():
    story = Story()
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    found = replace(fingerprint(), variant=Variant.FP16)
    story.say(worker_id, wire.ModelInspected(model_id=model_id, fingerprint=found))
    again = story.ask(register(variant=Variant.FP16))
    assert isinstance(again, client.ModelAccepted)
    assert again.model_id == model_id


def test_recipe_of_a_model_in_error_is_registered_anew():
    story = Story()
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    story.say(worker_id, wire.ModelFailed(model_id=model_id, code="bad", text="bad"))
    assert registered(story) != model_id


def test_model_that_an_engine_uses_is_not_deleted_and_the_engine_is_named():
    story = Story()
    engine_id = story.engine(name="portraits")
    refused = story.refusal(client.DeleteModel(model_id=CHECKPOINT))
    assert refused.code == "model_in_use"
    assert "portraits" in refused.detail
    story.ask(client.DeleteEngine(engine_id=engine_id))
    assert story.ask(client.DeleteModel(model_id=CHECKPOINT)) == client.Done()


def test_no_model_is_fetched_or_fetched_again_while_a_disk_is_low():
    failed = model("failed", uri="https://a.org/failed", status=ModelState.ERROR)
    story = Story(failed)
    remote = register(uri="https://a.org/fox")
    for low in (DiskSwept(free_bytes=0), DiskSwept(free_bytes=1 << 40, models_free_bytes=0)):
        story.tell(low)
        for ask in (remote, client.RetryModel(model_id="failed")):
            assert story.refusal(ask).code == "disk_full"
    assert "models.folder" in story.refusal(remote).detail
    story.tell(DiskSwept(free_bytes=1 << 40, models_free_bytes=1 << 40))
    registered(story, uri="https://a.org/fox")
    assert isinstance(story.ask(client.RetryModel(model_id="failed")), client.ModelAccepted)


def test_a_disk_that_is_low_stops_neither_jobs_of_another_disk_nor_models_that_lie_where_they_are():
    story = Story()
    story.tell(DiskSwept(free_bytes=1 << 40, models_free_bytes=0))
    story.submit(story.engine())
    assert registered(story)


def test_no_model_is_registered_or_retried_when_the_manager_stops():
    story = Story()
    registered(story)
    story.stop()
    for ask in (register("other"), client.RetryModel(model_id=CHECKPOINT)):
        refused = story.ask(ask)
        assert isinstance(refused, client.Refused)
        assert refused.code == "shutting_down"


def prune(story, *kept, **fields):
    """What is answered where the folder keeps files of these names."""
    ask = client.PruneModels(**fields)
    facts = replace(NO_FACTS, kept_models=tuple(KeptModel(name, 5) for name in kept))
    (reply,) = only(story.tell(Asked(PEER, CORRELATION, "key", b"digest", ask, facts)), actions.Reply)
    return reply.message


def test_what_is_kept_of_deleted_models_is_removed_and_what_a_model_is_made_of_stays():
    used, left = f"files/{'a' * 64}.safetensors", f"trees/{'b' * 64}"
    story = Story(model("lora", stored=used))
    assert prune(story, used, left, dry_run=True) == client.ModelsPruned(models=1, size_bytes=5)
    assert not story.database.trash
    assert not story.database.replies
    assert prune(story, used, left) == client.ModelsPruned(models=1, size_bytes=5)
    assert story.database.trash == [left]


def test_model_on_its_way_to_its_place_is_not_pruned():
    place = f"files/{'a' * 64}.safetensors"
    story = Story(model("lora", stored=place, status=ModelState.DOWNLOADING))
    assert prune(story, place) == client.ModelsPruned(models=0, size_bytes=0)


def test_how_a_background_remover_wants_its_pictures_is_part_of_its_recipe_and_reaches_the_worker():
    said = Preparation(input_size=(640, 480), mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    wish = {"model_type": ModelType.BACKGROUND, "preparation": said}
    story = Story()
    model_id = registered(story, **wish)
    assert registered(story, **wish) == model_id
    assert registered(story, model_type=ModelType.BACKGROUND) != model_id
    assert model_refs.source(story.broker.world, model_id).preparation == said


def test_only_background_removers_have_their_pictures_prepared():
    refused = Story().refusal(register(preparation=Preparation(input_size=(64, 64))))
    assert refused.code == "invalid_field"
    assert refused.fields[0].field == "preparation"


# Models beside the checkpoint.


LORA = model("lora")


def lora_job(story: Story, engine_id: EngineId) -> JobId:
    return story.submit(engine_id, loras=(LoraUse(model_id=LORA.model_id),))


def test_model_that_an_engine_names_anywhere_is_not_deleted():
    models = (LORA, model("vae", ModelType.VAE), controlnet(ControlType.CANNY))
    story = Story(*models)
    story.engine(name="portraits", loras=(LoraUse(model_id="lora"),), vae="vae", control_models=("canny",))
    for row in models:
        refused = story.refusal(client.DeleteModel(model_id=row.model_id))
        assert refused.code == "model_in_use"
        assert "portraits" in refused.detail


@pytest.mark.parametrize("restarts", [False, True])
def test_model_that_an_open_job_names_is_not_deleted_until_the_job_has_ended(restarts):
    story = Story(LORA)
    job_id = lora_job(story, story.engine(autostart=False))
    if restarts:
        story.begin()
    refused = story.refusal(client.DeleteModel(model_id=LORA.model_id))
    assert refused.code == "model_in_use"
    assert job_id in refused.detail
    story.ask(client.CancelJob(job_id=job_id))
    assert story.ask(client.DeleteModel(model_id=LORA.model_id)) == client.Done()


def test_of_many_jobs_that_use_a_model_some_are_named_and_the_others_counted():
    story = Story(LORA)
    engine_id = story.engine(autostart=False)
    job_ids = [lora_job(story, engine_id) for _ in range(MOST_NAMED + 2)]
    detail = story.refusal(client.DeleteModel(model_id=LORA.model_id)).detail
    assert [job_id in detail for job_id in job_ids] == [True] * MOST_NAMED + [False] * 2
    assert "and 2 more" in detail


def test_model_of_jobs_that_went_with_their_engine_can_be_deleted():
    story = Story(LORA)
    engine_id = story.engine(autostart=False)
    lora_job(story, engine_id)
    story.ask(client.DeleteEngine(engine_id=engine_id))
    assert story.ask(client.DeleteModel(model_id=LORA.model_id)) == client.Done()
    assert not story.broker.world.model_jobs


@pytest.mark.parametrize(
    ("name", "said", "found"),
    [
        ("control_v11p_sd15_openpose", None, ControlType.OPENPOSE),
        ("Canny-SDXL", None, ControlType.CANNY),
        ("control_v11p_sd15_openpose", ControlType.DEPTH, ControlType.DEPTH),
        ("my net", None, None),
        ("canny and depth", None, None),
    ],
)
def test_maps_of_a_controlnet_are_those_that_are_said_or_that_its_name_names(name, said, found):
    story = Story()
    ask = register(name, uri="file:///m", model_type=ModelType.CONTROLNET, control_type=said)
    reply = story.ask(ask)
    assert isinstance(reply, client.ModelAccepted)
    assert story.model(reply.model_id).control_type is found
    again = story.ask(ask)
    assert again == replace(reply, created=False)


def test_controlnet_with_another_type_is_another_recipe():
    story = Story()
    replies = [
        story.ask(
            register("net", uri="file:///m", model_type=ModelType.CONTROLNET, control_type=control_type)
        )
        for control_type in (None, ControlType.CANNY)
    ]
    assert len({getattr(reply, "model_id", None) for reply in replies}) == 2


def test_only_a_controlnet_has_a_control_type():
    refused = Story().refusal(register(control_type=ControlType.CANNY))
    assert [problem.field for problem in refused.fields] == ["control_type"]
