"""Downloaded models' files: their place, the trash, and what a crash in between leaves."""

from kernel.core.actions import KillWorker, LaunchWorker, MoveModel, Order
from kernel.core.events import ModelMoved, ModelNotMoved
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import ModelState
from kernel.protocol.ids import ModelId, WorkerId
from tests.unit.core.samples import fingerprint, register
from tests.unit.core.story import Story, only, orders_to

PLACE = f"files/{'f' * 64}.safetensors"
FAR = "https://example.org/dreams"


def registered(story: Story, name: str = "model", uri: str = FAR) -> ModelId:
    reply = story.ask(register(name, uri=uri))
    assert isinstance(reply, client.ModelAccepted)
    return reply.model_id


def downloading(story: Story, name: str = "model") -> tuple[ModelId, WorkerId]:
    """A model that a worker has begun to download."""
    found = story.ask_actions(register(name, uri=FAR))
    if story.newcomers:
        found += story.hello(story.newcomers[0])
    ((worker_id, order),) = [
        (one.worker_id, one.message)
        for one in only(found, Order)
        if isinstance(one.message, wire.InspectModel)
    ]
    return order.source.model_id, worker_id


def whole(model_id: ModelId, stored: str = PLACE) -> wire.ModelInspected:
    return wire.ModelInspected(model_id=model_id, fingerprint=fingerprint(), stored=stored, revision="abc")


def kept(story: Story, name: str = "model") -> ModelId:
    """A downloaded model that is ready."""
    model_id, worker_id = downloading(story, name)
    story.say(worker_id, whole(model_id))
    story.tell(ModelMoved(model_id))
    assert story.model(model_id).status is ModelState.READY
    return model_id


def test_a_whole_model_is_ready_once_it_has_its_place() -> None:
    story = Story()
    model_id, worker_id = downloading(story)
    found = story.say(worker_id, whole(model_id))
    assert only(found, MoveModel) == [MoveModel(model_id, PLACE)]
    row = story.model(model_id)
    assert (row.status, row.stored, row.revision) == (ModelState.DOWNLOADING, PLACE, "abc")
    story.tell(ModelMoved(model_id))
    assert story.model(model_id).status is ModelState.READY


def test_an_engine_is_told_the_place_and_not_where_it_came_from() -> None:
    story = Story()
    model_id = kept(story)
    story.engine(start=True, checkpoint=model_id)
    worker_id = story.newcomers[-1]
    (load,) = [
        one for one in orders_to(story.hello(worker_id), worker_id) if isinstance(one, wire.LoadEngine)
    ]
    assert load.load.checkpoint.uri == f"stored:{PLACE}"


def test_a_place_that_is_none_is_not_believed() -> None:
    for place in ("files/../../etc/passwd", "/etc/passwd", "incoming/x", f"files/{'g' * 64}.safetensors"):
        story = Story()
        model_id, worker_id = downloading(story)
        found = story.say(worker_id, whole(model_id, place))
        assert not only(found, MoveModel)
        assert story.model(model_id).status is ModelState.ERROR


def test_a_model_that_cannot_be_moved_is_in_error_and_can_be_tried_again() -> None:
    story = Story()
    model_id, worker_id = downloading(story)
    story.say(worker_id, whole(model_id))
    story.tell(ModelNotMoved(model_id, "No space left on device"))
    row = story.model(model_id)
    assert (row.status, row.stored) == (ModelState.ERROR, None)
    assert "No space left" in (row.error or "")
    story.ask(client.RetryModel(model_id=model_id))
    story.say(worker_id, whole(model_id))
    story.tell(ModelMoved(model_id))
    assert story.model(model_id).status is ModelState.READY


def test_a_crash_before_the_move_is_made_good_by_the_next_start() -> None:
    story = Story()
    model_id, worker_id = downloading(story)
    story.say(worker_id, whole(model_id))
    found = story.begin()
    assert only(found, MoveModel) == [MoveModel(model_id, PLACE)]
    assert not only(found, LaunchWorker)
    story.tell(ModelMoved(model_id))
    assert story.model(model_id).status is ModelState.READY


def test_a_model_that_is_neither_here_nor_there_is_fetched_again() -> None:
    story = Story()
    model_id, worker_id = downloading(story)
    story.say(worker_id, whole(model_id))
    story.begin()
    assert only(story.tell(ModelNotMoved(model_id)), LaunchWorker)
    assert story.model(model_id).stored is None


def test_files_stay_unless_they_are_to_go_too() -> None:
    story = Story()
    model_id = kept(story)
    story.ask(client.DeleteModel(model_id=model_id))
    assert PLACE not in story.database.trash
    again = kept(story)
    story.ask(client.DeleteModel(model_id=again, files=True))
    assert PLACE in story.database.trash


def test_files_stay_for_as_long_as_another_model_is_made_of_them() -> None:
    story = Story()
    first, second = kept(story), kept(story, "other")
    story.ask(client.DeleteModel(model_id=first, files=True))
    assert PLACE not in story.database.trash
    story.ask(client.DeleteModel(model_id=second, files=True))
    assert PLACE in story.database.trash


def test_files_stay_for_a_model_that_is_just_being_moved_to_them() -> None:
    story = Story()
    first = kept(story)
    second, worker_id = downloading(story, "other")
    story.say(worker_id, whole(second))
    story.ask(client.DeleteModel(model_id=first, files=True))
    assert PLACE not in story.database.trash


def test_the_trash_gives_back_what_a_new_model_is_made_of() -> None:
    story = Story()
    story.ask(client.DeleteModel(model_id=kept(story), files=True))
    assert PLACE in story.database.trash
    model_id, worker_id = downloading(story, "other")
    story.say(worker_id, whole(model_id))
    assert PLACE not in story.database.trash


def test_a_model_that_is_deleted_while_it_comes_ends_its_worker_and_leaves_nothing() -> None:
    story = Story()
    model_id, worker_id = downloading(story)
    found = story.ask_actions(client.DeleteModel(model_id=model_id))
    assert KillWorker(worker_id) in found
    assert f"incoming/{model_id}" in story.database.trash
    story.exits(worker_id)
    registered(story, "other")
    assert story.newcomers, "its death is held against nobody"


def test_what_else_was_gathered_goes_when_the_model_has_its_place() -> None:
    story = Story()
    model_id, worker_id = downloading(story)
    story.say(worker_id, whole(model_id))
    assert f"incoming/{model_id}" not in story.database.trash
    story.tell(ModelMoved(model_id))
    assert story.database.trash == [f"incoming/{model_id}"]


def test_an_upload_that_no_worker_has_taken_over_goes_with_its_model() -> None:
    story = Story()
    model_id = registered(story, uri=f"upload:{'1' * 32}/dreams.safetensors")
    story.ask(client.DeleteModel(model_id=model_id))
    assert f"uploads/{'1' * 32}" in story.database.trash


def test_a_local_file_is_never_put_into_the_trash() -> None:
    story = Story()
    model_id = registered(story, uri="file:///models/dreams")
    story.hello(worker_id := story.newcomers[0])
    story.say(worker_id, wire.ModelInspected(model_id=model_id, fingerprint=fingerprint()))
    story.ask(client.DeleteModel(model_id=model_id, files=True))
    assert story.database.trash == []


def test_downloads_are_bounded_and_local_models_do_not_wait_for_them() -> None:
    story = Story(limits=Limits(max_downloads=3))
    for number in range(5):
        registered(story, f"far-{number}", f"{FAR}/{number}")
    assert len(story.newcomers) == 3
    for worker_id in list(story.newcomers):
        story.hello(worker_id)
    local = [registered(story, f"near-{number}", f"file:///models/{number}") for number in range(3)]
    assert len(story.newcomers) == 2
    story.hello(worker_id := story.newcomers[0])
    found = story.say(worker_id, wire.ModelInspected(model_id=local[0], fingerprint=fingerprint()))
    given = [one.source.uri for one in orders_to(found, worker_id) if isinstance(one, wire.InspectModel)]
    assert given == ["file:///models/1"], "a download that waits has no right to this place"


def test_watchers_hear_the_speed() -> None:
    from kernel.core.events import WatchAsked
    from tests.unit.core.story import CORRELATION, PEER

    story = Story()
    model_id, worker_id = downloading(story)
    story.tell(WatchAsked(PEER, CORRELATION))
    report = wire.ModelProgress(model_id=model_id, bytes=3, total_bytes=9, bytes_per_s=2)
    (push,) = story.say(worker_id, report)
    assert push.message == client.ModelProgress(model_id=model_id, bytes=3, total_bytes=9, bytes_per_s=2)
