"""Models whose files are gone, and come back."""

import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.core.events import ModelFilesSeen, ModelMoved, ModelNotMoved
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import ModelState
from kernel.protocol.ids import ModelId
from tests.unit.core.samples import CHECKPOINT, checkpoint
from tests.unit.core.story import Story, only

PLACE = f"files/{'a' * 64}.safetensors"
KEPT = replace(checkpoint(ModelId("kept")), uri="https://a.org/kept", stored=PLACE, sha256="a" * 64)
LOCAL = replace(checkpoint(ModelId("local")), sha256="b" * 64)
BOTH = frozenset({KEPT.model_id, LOCAL.model_id})


@pytest.fixture
def story() -> Story:
    """Both models are lost."""
    story = Story(KEPT, LOCAL)
    story.tell(ModelFilesSeen(BOTH))
    return story


def inspections(found):
    return [
        one.message.source for one in found if isinstance(getattr(one, "message", None), wire.InspectModel)
    ]


def test_model_that_is_not_where_it_should_be_is_in_error_and_says_the_way_out(story):
    for model_id, words in (
        (KEPT.model_id, "or retry to download them again"),
        (LOCAL.model_id, "put it back"),
    ):
        row = story.model(model_id)
        assert (row.status, row.error_code) == (ModelState.ERROR, "model_lost")
        assert words in row.error
        refused = story.refusal(client.CreateEngine(spec=client.EngineSpec(checkpoint=model_id)))
        assert (refused.code, refused.fields[0].field) == ("model_not_ready", "checkpoint")
        assert words in refused.detail
    assert story.model(CHECKPOINT).status is ModelState.READY, "nothing is wrong with the others"


def test_engine_is_not_started_on_models_that_are_gone():
    story = Story()
    engine_id = story.engine()
    story.tell(ModelFilesSeen(frozenset({CHECKPOINT})))
    assert story.refusal(client.StartEngine(engine_id=engine_id)).code == "model_not_ready"
    assert not story.newcomers


def test_start_that_finds_them_gone_says_so_once_before_anything_is_launched():
    story = Story(KEPT, LOCAL)
    found = story.begin(absent_models=BOTH)
    assert [save.row.model_id for save in only(found, actions.SaveModel)] == [KEPT.model_id, LOCAL.model_id]
    assert only(story.begin(absent_models=BOTH), actions.SaveModel) == []


def test_what_is_there_again_is_kept_as_it_is_or_looked_into_anew(story):
    found = story.begin(absent_models=frozenset())
    assert only(found, actions.MoveModel) == [actions.MoveModel(KEPT.model_id, PLACE)]
    story.tell(ModelMoved(KEPT.model_id))
    assert story.model(KEPT.model_id) == KEPT
    (source,) = inspections(story.hello(story.newcomers[0]))
    assert (source.model_id, source.sha256) == (LOCAL.model_id, None), "it may be another file by now"


def test_retry_of_what_was_kept_looks_for_it_and_fetches_it_if_it_is_still_gone(story):
    found = story.ask_actions(client.RetryModel(model_id=KEPT.model_id))
    assert only(found, actions.MoveModel) == [actions.MoveModel(KEPT.model_id, PLACE)]
    story.tell(ModelNotMoved(KEPT.model_id))
    (source,) = inspections(story.hello(story.newcomers[0]))
    assert (source.model_id, source.uri, source.sha256) == (KEPT.model_id, KEPT.uri, None)


def test_model_in_error_for_another_reason_is_not_tried_again_because_something_is_there():
    broken = replace(KEPT, status=ModelState.ERROR, error_code="model_unreadable", error="it is truncated")
    story = Story(broken)
    assert only(story.tell(ModelFilesSeen(frozenset())), actions.SaveModel) == []
    assert story.model(KEPT.model_id) == broken
