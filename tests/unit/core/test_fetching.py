"""The pool of workers that look into models."""

from msgspec.structs import replace

from kernel.core.actions import Exit, ForgetWorker, KillWorker, LaunchWorker, TerminateWorker
from kernel.core.events import ReportUnreadable, WatchAsked
from kernel.core.ports import Limits
from kernel.core.state import model_refs
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import ControlType, ModelBase, ModelState, ModelType, WorkerRole
from tests.unit.core.samples import CHECKPOINT, downloading, fingerprint, register
from tests.unit.core.story import CORRELATION, PEER, Story, only, orders_to


def registered(story, name="model", **fields):
    """The id of a model that was just registered."""
    reply = story.ask(register(name, **fields))
    assert isinstance(reply, client.ModelAccepted)
    return reply.model_id


def inspections(found):
    """Which worker was given which model."""
    return [
        (order.worker_id, order.message.source.model_id)
        for order in found
        if hasattr(order, "message") and isinstance(order.message, wire.InspectModel)
    ]


def inspected(model_id):
    return wire.ModelInspected(model_id=model_id, fingerprint=fingerprint())


def test_new_model_is_inspected_by_a_worker_that_is_launched_for_it():
    story = Story()
    found = story.ask_actions(register())
    (launch,) = only(found, LaunchWorker)
    assert launch.role is WorkerRole.FETCH
    (model_id,) = story.database.models.keys() - {CHECKPOINT}
    assert story.model(model_id).status is ModelState.DOWNLOADING
    assert inspections(story.hello(launch.worker_id)) == [(launch.worker_id, model_id)]
    story.say(launch.worker_id, inspected(model_id))
    row = story.model(model_id)
    assert (row.status, row.model_base, row.sha256) == (ModelState.READY, ModelBase.SDXL, "f" * 64)
    assert row.native_size_px == 1024


def test_title_of_the_page_is_the_name_of_a_model_that_was_given_none():
    story = Story()
    uri = "civitai:12345@67890"
    named = registered(story, "mine", uri=uri)
    unnamed = registered(story, "civitai-12345-67890", uri=uri, model_base=ModelBase.SDXL)
    story.hello(worker_id := story.newcomers[0])
    title = " Furry\n<Friends>: v1 \x1b" + "!" * 300
    for model_id in (named, unnamed):
        story.say(worker_id, wire.ModelInspected(model_id=model_id, fingerprint=fingerprint(), title=title))
    assert story.model(named).name == "mine"
    found = story.model(unnamed).name
    assert (found[:24], len(found)) == ("Furry _Friends__ v1 ?!!!", 200)
    again = story.ask(register("civitai-12345-67890", uri=uri, model_base=ModelBase.SDXL))
    assert isinstance(again, client.ModelAccepted)
    assert again.model_id == unnamed


def test_title_of_a_controlnet_tells_the_maps_that_it_takes():
    story = Story()
    model_id = registered(story, "mine", uri="civitai:1", model_type=ModelType.CONTROLNET)
    story.hello(worker_id := story.newcomers[0])
    found = replace(fingerprint(), model_type=ModelType.CONTROLNET)
    story.say(worker_id, wire.ModelInspected(model_id=model_id, fingerprint=found, title="Depth v1"))
    assert story.model(model_id).control_type is ControlType.DEPTH


def test_model_is_fetched_again_in_the_revision_that_it_was():
    story = Story()
    model_id = registered(story, uri="hf://owner/fox")
    story.hello(worker_id := story.newcomers[0])
    found = wire.ModelInspected(model_id=model_id, fingerprint=fingerprint(), revision="abc")
    story.say(worker_id, found)
    assert model_refs.source(story.broker.world, model_id).revision == "abc"


def test_model_that_cannot_be_used_is_in_error_with_the_reason_and_can_be_tried_again():
    story = Story()
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    story.say(worker_id, wire.ModelFailed(model_id=model_id, code="model_unreadable", text="no header"))
    row = story.model(model_id)
    assert (row.status, row.error_code, row.error) == (ModelState.ERROR, "model_unreadable", "no header")
    found = story.ask_actions(client.RetryModel(model_id=model_id))
    assert inspections(found) == [(worker_id, model_id)]
    row = story.model(model_id)
    assert (row.status, row.error_code, row.error) == (ModelState.DOWNLOADING, None, None)
    story.say(worker_id, inspected(model_id))
    assert story.model(model_id).status is ModelState.READY


def test_pool_has_two_workers_at_most_and_each_takes_one_model_after_the_other():
    story = Story()
    models = [registered(story, f"model-{n}") for n in range(4)]
    assert len(story.newcomers) == 2
    first, second = story.newcomers
    given = inspections(story.hello(first) + story.hello(second))
    assert given == [(first, models[0]), (second, models[1])]
    assert inspections(story.say(second, inspected(models[1]))) == [(second, models[2])]
    assert inspections(story.say(first, inspected(models[0]))) == [(first, models[3])]


def test_model_that_kills_two_workers_is_in_error():
    story = Story()
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    found = story.exits(worker_id)
    assert only(found, LaunchWorker)
    assert story.model(model_id).status is ModelState.DOWNLOADING
    story.hello(worker_id := story.newcomers[0])
    found = story.exits(worker_id, "signal SIGKILL")
    assert not only(found, LaunchWorker)
    row = story.model(model_id)
    assert (row.status, row.error_code) == (ModelState.ERROR, "worker_crashed")
    assert "SIGKILL" in (row.error or "")


def test_fetch_workers_that_cannot_start_are_not_launched_in_a_loop():
    story = Story()
    model_id = registered(story)
    for _ in range(3):
        assert not only(story.exits(story.newcomers[0], "exit code 1"), LaunchWorker)
        story.wait(1.1)
    assert not story.newcomers
    assert story.model(model_id).status is ModelState.ERROR
    registered(story, "other")
    assert story.newcomers


def test_fetch_workers_that_never_say_hello_are_not_launched_for_ever():
    story = Story()
    model_id = registered(story)
    for _ in range(3):
        assert TerminateWorker(story.newcomers[0]) in story.wait(61.0)
        story.exits(story.newcomers[0], "signal SIGTERM")
        story.wait(1.1)
    assert story.model(model_id).status is ModelState.ERROR


def test_fetch_worker_that_leaves_unasked_with_its_model_counts_as_dead():
    story = Story()
    model_id = registered(story)
    for _ in range(2):
        story.hello(worker_id := story.newcomers[0])
        story.say(worker_id, wire.Goodbye(reason="a signal"))
        story.exits(worker_id, "exit code 0")
    assert story.model(model_id).status is ModelState.ERROR


def test_model_that_is_being_inspected_is_not_given_up_for_workers_that_cannot_start():
    story = Story()
    models = [registered(story, f"model-{n}") for n in range(3)]
    story.hello(first := story.newcomers[0])
    for _ in range(3):
        story.exits(story.newcomers[0], "exit code 1")
        story.wait(1.1)
    states = [story.model(model_id).status for model_id in models]
    assert states == [ModelState.DOWNLOADING, ModelState.ERROR, ModelState.ERROR]
    story.say(first, inspected(models[0]))
    assert story.model(models[0]).status is ModelState.READY


def test_idle_fetch_worker_leaves_and_that_is_no_death():
    story = Story()
    for number in range(5):
        model_id = registered(story, f"model-{number}")
        story.hello(worker_id := story.newcomers[0])
        story.say(worker_id, inspected(model_id))
        assert wire.Drain() in orders_to(story.wait(10.0), worker_id)
        story.say(worker_id, wire.Goodbye(reason="drained"))
        story.exits(worker_id, "exit code 0")
        assert story.model(model_id).status is ModelState.READY
    assert story.ask_actions(register("last"))
    assert story.newcomers


def idle_worker(story):
    """A fetch worker that is about to leave, since it has had nothing to do."""
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    story.say(worker_id, inspected(model_id))
    story.wait(9.0)
    return worker_id


def test_idle_fetch_worker_that_is_slow_to_leave_a_manager_that_stops_is_not_told_twice():
    story = Story()
    worker_id = idle_worker(story)
    assert orders_to(story.stop(), worker_id) == [wire.Leave()]
    assert TerminateWorker(worker_id) in story.wait(2.1)
    assert Exit(0) in story.exits(worker_id, "signal SIGTERM")


def test_idle_fetch_worker_that_lingers_after_its_goodbye_is_ended():
    story = Story()
    worker_id = idle_worker(story)
    story.say(worker_id, wire.Goodbye(reason="a signal"))
    assert not only(story.wait(9.0), TerminateWorker)
    assert TerminateWorker(worker_id) in story.wait(1.1)
    assert ForgetWorker(worker_id) in story.exits(worker_id, "signal SIGTERM")


def test_model_whose_report_cannot_be_read_fails_at_once_and_its_worker_ends():
    story = Story()
    model_id, other = registered(story), registered(story, "other")
    story.hello(worker_id := story.newcomers[0])
    found = story.tell(ReportUnreadable(worker_id, "the body cannot be decoded"))
    row = story.model(model_id)
    assert (row.status, row.error_code) == (ModelState.ERROR, "bad_message")
    assert "the body cannot be decoded" in (row.error or "")
    assert TerminateWorker(worker_id) in found
    story.hello(second := story.newcomers[0])
    story.exits(worker_id, "signal SIGTERM")
    story.say(second, inspected(other))
    assert story.model(other).status is ModelState.READY


def test_unreadable_report_of_a_fetch_worker_without_a_model_changes_nothing():
    story = Story()
    worker_id = idle_worker(story)
    assert not story.tell(ReportUnreadable(worker_id, "nonsense"))


def test_fetch_worker_gets_the_next_model_before_it_leaves():
    story = Story()
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    story.say(worker_id, inspected(model_id))
    story.wait(9.0)
    other = registered(story, "other")
    assert wire.Drain() not in orders_to(story.wait(60.0), worker_id)
    story.say(worker_id, inspected(other))
    assert story.model(other).status is ModelState.READY


def test_silent_idle_fetch_worker_is_killed_and_nothing_else_happens_to_it():
    story = Story()
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    story.say(worker_id, inspected(model_id))
    story.pinging.clear()
    assert KillWorker(worker_id) in story.wait(5.1)
    story.wait(100.0)
    assert ForgetWorker(worker_id) in story.exits(worker_id)


def test_inspection_that_makes_no_progress_is_ended_and_one_that_does_may_take_for_ever():
    story = Story(limits=Limits(load_timeout_s=30.0))
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    for step in range(5):
        found = story.wait(29.0)
        assert not only(found, TerminateWorker)
        story.say(worker_id, wire.ModelProgress(model_id=model_id, bytes=step, total_bytes=9))
    assert TerminateWorker(worker_id) in story.wait(31.0)


def test_model_of_a_worker_that_is_being_ended_is_not_given_to_another_one():
    story = Story(limits=Limits(load_timeout_s=30.0))
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    assert TerminateWorker(worker_id) in story.wait(30.1)
    other = registered(story, "other")
    story.hello(second := story.newcomers[0])
    story.say(second, inspected(other))
    assert story.model(model_id).status is ModelState.DOWNLOADING
    assert inspections(story.exits(worker_id)) == [(second, model_id)]
    story.say(second, inspected(model_id))
    assert story.model(model_id).status is ModelState.READY


def test_last_word_of_a_worker_that_is_being_ended_counts():
    story = Story(limits=Limits(load_timeout_s=30.0))
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    story.wait(30.1)
    story.say(worker_id, inspected(model_id))
    assert story.model(model_id).status is ModelState.READY
    story.exits(worker_id)
    assert story.model(model_id).status is ModelState.READY


def test_result_for_a_model_that_was_deleted_meanwhile_is_dropped():
    story = Story()
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    assert story.ask(client.DeleteModel(model_id=model_id)) == client.Done()
    story.say(worker_id, inspected(model_id))
    assert model_id not in story.database.models
    other = registered(story, "other")
    story.say(worker_id, inspected(other))
    assert story.model(other).status is ModelState.READY


def test_result_for_a_model_that_is_not_the_workers_is_dropped():
    story = Story()
    models = [registered(story, f"model-{n}") for n in range(2)]
    story.hello(worker_id := story.newcomers[0])
    story.say(worker_id, inspected(models[1]))
    story.say(worker_id, wire.ModelFailed(model_id=models[1], code="bad", text="bad"))
    assert [story.model(m).status for m in models] == [ModelState.DOWNLOADING] * 2


def test_models_that_were_not_inspected_yet_are_inspected_after_a_restart():
    story = Story()
    model_id = registered(story)
    story.hello(story.newcomers[0])
    assert only(story.begin(), LaunchWorker)
    story.hello(worker_id := story.newcomers[0])
    story.say(worker_id, inspected(model_id))
    assert story.model(model_id).status is ModelState.READY


def test_models_in_the_database_that_still_download_are_taken_up_at_the_start():
    story = Story(downloading("new"))
    assert len(story.newcomers) == 1


def test_shutdown_is_no_reason_to_give_a_model_up():
    story = Story()
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    story.exits(worker_id)
    story.hello(worker_id := story.newcomers[0])
    assert wire.Leave() in orders_to(story.stop(), worker_id)
    story.exits(worker_id, "exit code 0")
    assert story.model(model_id).status is ModelState.DOWNLOADING


def test_worker_that_was_dismissed_by_a_shutdown_is_not_blamed_for_its_silence():
    story = Story()
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    story.exits(worker_id)
    story.hello(worker_id := story.newcomers[0])
    story.wait(4.0)
    story.pinging.clear()
    story.stop()
    assert KillWorker(worker_id) in story.wait(15.0)
    story.exits(worker_id, "signal SIGKILL")
    assert story.model(model_id).status is ModelState.DOWNLOADING


def test_watchers_hear_how_far_an_inspection_is():
    story = Story()
    model_id = registered(story)
    story.hello(worker_id := story.newcomers[0])
    report = wire.ModelProgress(model_id=model_id, bytes=3, total_bytes=9)
    assert not story.say(worker_id, report)
    story.tell(WatchAsked(PEER, CORRELATION))
    (push,) = story.say(worker_id, report)
    assert push.message == client.ModelProgress(model_id=model_id, bytes=3, total_bytes=9)
