"""What clients ask about models."""

from msgspec.structs import replace

from kernel.core.events import StockTaken
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.vocabulary import ModelBase, ModelState, Variant
from tests.unit.core.samples import CHECKPOINT, fingerprint, register
from tests.unit.core.story import Story


def registered(story, name="model", **fields):
    """The id of a model that was just registered."""
    reply = story.ask(register(name, **fields))
    assert isinstance(reply, client.ModelAccepted)
    return reply.model_id


def test_only_a_model_in_error_can_be_tried_again():
    story = Story()
    assert story.refusal(client.RetryModel(model_id=CHECKPOINT)).code == "illegal_move"
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


def test_no_model_is_registered_or_retried_when_the_disk_is_low_or_the_manager_stops():
    story = Story()
    story.tell(StockTaken(free_bytes=0))
    assert story.refusal(register()).code == "disk_full"
    story.tell(StockTaken(free_bytes=1 << 40))
    registered(story)
    story.stop()
    for ask in (register("other"), client.RetryModel(model_id=CHECKPOINT)):
        refused = story.ask(ask)
        assert isinstance(refused, client.Refused)
        assert refused.code == "shutting_down"
