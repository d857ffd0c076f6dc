"""models.folders: what is found in them, and what becomes of models whose files change, move or go."""

from dataclasses import replace as with_limits

import pytest
from msgspec.structs import replace

from kernel.core.actions import LaunchWorker, Order, TerminateWorker
from kernel.core.events import ModelMoved
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import ControlType, ModelState, ModelType
from tests.unit.core.folder import BROKEN, LIMITS, PLACE, Folder, Scanned
from tests.unit.core.samples import fingerprint, register
from tests.unit.core.story import only, orders_to


def scanned(**contents: str) -> Scanned:
    """A story whose first scan has found these files, `NAME.safetensors` each."""
    folder = Folder()
    for name, content in contents.items():
        folder.write(f"{name}.safetensors", content)
    story = Scanned(folder=folder)
    story.scan()
    return story


def test_a_file_becomes_a_ready_model_with_its_name_used_in_place():
    story = scanned(fur="a")
    row = story.there("fur.safetensors")
    assert (row.name, row.status, row.model_type) == ("fur", ModelState.READY, ModelType.LORA)
    assert (row.uri, row.stored) == (f"file://{PLACE}/fur.safetensors", None)
    done = story.database.scan
    assert (done.files, done.to_read, done.read, done.added, done.is_running) == (1, 1, 1, 1, False)


def test_what_cannot_be_used_is_remembered_with_its_reason_and_is_no_model():
    story = scanned(bad=BROKEN)
    (row,) = story.database.scanned_files.values()
    assert (row.model_id, row.code, row.reason) == (None, "model_unreadable", "it is broken")
    assert len(story.database.models) == 1


def test_the_next_scan_reads_only_what_is_new():
    story = scanned(fur="a", bad=BROKEN)
    story.folder.write("ink.safetensors", "b")
    story.again()
    assert (story.database.scan.files, story.database.scan.read, story.database.scan.added) == (3, 1, 1)


def test_a_moved_file_keeps_its_model():
    story = scanned(fur="a")
    before = story.there("fur.safetensors")
    story.folder.move("fur.safetensors", "animals/fox fur.safetensors")
    story.again()
    after = story.there("animals/fox fur.safetensors")
    assert (after.model_id, after.name, after.status) == (before.model_id, "fur", ModelState.READY)
    assert after.uri == f"file://{PLACE}/animals/fox%20fur.safetensors"
    assert (story.database.scan.moved, story.database.scan.gone, story.database.scan.added) == (1, 0, 0)
    assert list(story.database.scanned_files) == [f"{PLACE}/animals/fox fur.safetensors"]


def test_a_file_that_goes_takes_its_model_out_of_use_until_it_is_back_anywhere():
    story = scanned(fur="a")
    before = story.there("fur.safetensors")
    story.folder.delete("fur.safetensors")
    story.again()
    lost = story.model(before.model_id)
    assert (lost.status, lost.error_code) == (ModelState.ERROR, "model_lost")
    story.again()
    story.folder.write("back.safetensors", "a")
    story.again()
    after = story.there("back.safetensors")
    assert (after.model_id, after.status, after.error) == (before.model_id, ModelState.READY, None)


def test_a_copy_is_no_second_model_and_takes_over_when_the_first_one_goes():
    story = scanned(fur="a", zebra="a")
    row = story.database.scanned_files[f"{PLACE}/zebra.safetensors"]
    assert (row.model_id, row.code) == (None, "model_duplicate")
    assert row.reason is not None
    assert "fur.safetensors" in row.reason
    model_id = story.there("fur.safetensors").model_id
    story.folder.delete("fur.safetensors")
    story.again()
    after = story.there("zebra.safetensors")
    assert (after.model_id, after.status) == (model_id, ModelState.READY)
    assert after.uri == f"file://{PLACE}/zebra.safetensors"


def test_a_changed_file_is_the_same_model_with_what_is_in_it_now():
    story = scanned(fur="a")
    before = story.there("fur.safetensors")
    digested(story)
    story.folder.write("fur.safetensors", "b")
    story.again()
    after = story.there("fur.safetensors")
    assert (after.model_id, after.sha256, story.database.scan.changed) == (before.model_id, None, 1)


@pytest.mark.parametrize("content", [BROKEN, "checkpoint"])
def test_a_file_that_is_spoiled_or_another_type_puts_its_model_in_error_until_it_is_right_again(content):
    story = scanned(fur="a")
    story.folder.types["checkpoint"] = ModelType.CHECKPOINT
    before = story.there("fur.safetensors")
    story.folder.write("fur.safetensors", content)
    story.again()
    assert story.model(before.model_id).status is ModelState.ERROR
    story.folder.write("fur.safetensors", "a")
    story.again()
    after = story.model(before.model_id)
    assert (after.status, after.error_code, after.error) == (ModelState.READY, None, None)


def test_a_folder_that_cannot_be_read_changes_nothing():
    story = scanned(fur="a")
    story.folder.is_absent = True
    story.again()
    assert story.there("fur.safetensors").status is ModelState.READY
    assert story.database.scan.absent == (PLACE,)


def test_two_files_of_one_name_get_as_much_of_their_folders_as_tells_them_apart():
    folder = Folder()
    folder.write("a/fur.safetensors", "a")
    folder.write("b/fur.safetensors", "b")
    story = Scanned(folder=folder)
    story.scan()
    assert [story.there(f"{place}/fur.safetensors").name for place in "ab"] == ["fur", "b/fur"]


def test_a_deleted_model_stays_deleted_until_its_file_changes():
    story = scanned(fur="a")
    model_id = story.there("fur.safetensors").model_id
    assert story.ask(client.DeleteModel(model_id=model_id)) == client.Done()
    story.again()
    assert story.of("fur.safetensors") is None
    assert story.database.scanned_files[f"{PLACE}/fur.safetensors"].code == "model_deleted"
    story.folder.move("fur.safetensors", "fox.safetensors")
    story.folder.write("fur.safetensors", "a")
    story.again()
    assert story.of("fur.safetensors") is story.of("fox.safetensors") is None
    story.folder.write("fur.safetensors", "b")
    story.again()
    assert story.there("fur.safetensors").status is ModelState.READY


def test_a_file_that_a_person_has_registered_is_that_model():
    story = Scanned()
    story.scan()
    path = story.folder.write("fur.safetensors", "a")
    mine = story.ask(register("mine", uri=f"file://{path}", model_type=ModelType.LORA))
    story.hello(worker_id := story.newcomers[-1])
    found = replace(fingerprint(), model_type=ModelType.LORA)
    story.say(worker_id, wire.ModelInspected(model_id=mine.model_id, fingerprint=found))
    story.again()
    assert story.there("fur.safetensors").model_id == mine.model_id
    assert len(story.database.models) == 2


def test_registering_what_was_deleted_by_hand_makes_it_the_model_of_its_file_again():
    story = scanned(fur="a")
    story.ask(client.DeleteModel(model_id=story.there("fur.safetensors").model_id))
    mine = story.ask(register("mine", uri=f"file://{PLACE}/fur.safetensors", model_type=ModelType.LORA))
    assert story.there("fur.safetensors").model_id == mine.model_id
    assert story.database.scanned_files[f"{PLACE}/fur.safetensors"].code is None


def test_a_pickle_that_a_person_had_converted_is_used_whatever_becomes_of_it():
    story = scanned(old=BROKEN)
    path = f"{PLACE}/old.safetensors"
    mine = story.ask(register("mine", uri=f"file://{path}", model_type=ModelType.LORA))
    story.hello(worker_id := story.newcomers[-1])
    found, stored = replace(fingerprint(), model_type=ModelType.LORA), f"files/{'f' * 64}.safetensors"
    story.say(worker_id, wire.ModelInspected(model_id=mine.model_id, fingerprint=found, stored=stored))
    story.tell(ModelMoved(mine.model_id))
    story.folder.write("old.safetensors", BROKEN)
    story.again()
    assert story.model(mine.model_id).status is ModelState.READY
    assert story.database.scanned_files[path].code is None
    story.folder.delete("old.safetensors")
    story.again()
    assert story.model(mine.model_id).status is ModelState.READY
    assert path not in story.database.scanned_files


def test_what_a_file_does_not_tell_a_person_says_of_the_model_that_was_found():
    folder = Folder(types={"a": ModelType.CONTROLNET})
    folder.write("more.safetensors", "a")
    story = Scanned(folder=folder)
    story.scan()
    before = story.there("more.safetensors")
    said = {"model_type": ModelType.CONTROLNET, "control_type": ControlType.CANNY, "tags": ("mine",)}
    told = story.ask(register("edges", uri=before.uri, **said))
    assert told == client.ModelAccepted(model_id=before.model_id, status=ModelState.READY, created=False)
    after = story.there("more.safetensors")
    assert (after.name, after.control_type, after.tags) == ("edges", ControlType.CANNY, ("mine",))
    other = story.ask(register("wrong", uri=before.uri, model_type=ModelType.LORA))
    assert other.model_id != before.model_id, "it contradicts the file, which its inspection will say"


def digested(story: Scanned) -> None:
    """The fetch worker of digests is there and computes the next one."""
    worker_id = story.newcomers[-1] if story.newcomers else None
    assert worker_id is not None
    (order,) = [
        one for one in orders_to(story.hello(worker_id), worker_id) if isinstance(one, wire.InspectModel)
    ]
    story.say(worker_id, wire.ModelInspected(model_id=order.source.model_id, fingerprint=fingerprint()))


def test_digests_are_computed_after_the_scan_one_by_one():
    story = scanned(fur="a", ink="b")
    assert story.there("fur.safetensors").sha256 is None
    worker_id = story.newcomers[-1]
    found = story.hello(worker_id)
    for name in ("fur", "ink"):
        row = story.there(f"{name}.safetensors")
        assert [one.source.model_id for one in orders_to(found, worker_id)[-1:]] == [row.model_id]
        found = story.say(worker_id, wire.ModelInspected(model_id=row.model_id, fingerprint=fingerprint()))
        row = story.there(f"{name}.safetensors")
        assert (row.sha256, row.status, row.model_type) == ("f" * 64, ModelState.READY, ModelType.LORA)
    assert not story.broker.world.models_to_digest


def test_a_digest_that_fails_leaves_the_model_as_it_is_and_is_tried_after_the_next_scan():
    story = scanned(fur="a")
    story.hello(worker_id := story.newcomers[-1])
    row = story.there("fur.safetensors")
    story.say(worker_id, wire.ModelFailed(model_id=row.model_id, code="model_unreadable", text="it changed"))
    assert story.there("fur.safetensors") == row
    assert not story.broker.world.models_to_digest
    story.again()
    assert list(story.broker.world.models_to_digest) == [row.model_id]


@pytest.mark.parametrize("fails", [True, False])
def test_a_digest_of_what_a_file_was_before_is_computed_again(fails):
    story = scanned(fur="a")
    story.hello(worker_id := story.newcomers[-1])
    model_id = story.there("fur.safetensors").model_id
    if fails:
        story.folder.move("fur.safetensors", "moved.safetensors")
        report = wire.ModelFailed(model_id=model_id, code="model_unreadable", text="it is not there")
    else:
        story.folder.write("fur.safetensors", "b")
        report = wire.ModelInspected(model_id=model_id, fingerprint=fingerprint())
    story.again()
    found = story.say(worker_id, report)
    assert story.model(model_id).sha256 is None
    assert [one.source.model_id for one in orders_to(found, worker_id)] == [model_id]
    story.say(worker_id, wire.ModelInspected(model_id=model_id, fingerprint=fingerprint()))
    assert story.model(model_id).sha256 == "f" * 64
    assert not story.broker.world.outdated_digests


def test_a_registered_model_goes_before_a_digest():
    story = scanned(fur="a", ink="b")
    mine = story.ask(register("mine"))
    story.hello(worker_id := story.newcomers[0])
    assert story.broker.world.workers[worker_id].model_id == mine.model_id


def test_digests_go_on_after_a_restart():
    story = scanned(fur="a")
    story.begin()
    assert list(story.broker.world.models_to_digest) == [story.there("fur.safetensors").model_id]


def test_a_moved_file_keeps_its_digest():
    story = scanned(fur="a")
    digested(story)
    story.folder.move("fur.safetensors", "other.safetensors")
    story.again()
    assert story.there("other.safetensors").sha256 == "f" * 64


def test_a_person_can_ask_for_a_scan_and_one_that_runs_is_followed_by_another():
    story = scanned(fur="a")
    assert only(story.ask_actions(client.ScanModels()), LaunchWorker)
    worker_id, order = story.scanner()
    reports = list(story.folder.reports(order))
    story.folder.write("late.safetensors", "b")
    assert story.ask(client.ScanModels()) == client.Done()
    for report in reports:
        story.say(worker_id, report)
    assert story.database.scan.is_running
    story.exits(worker_id, "exit 0")
    story.scan()
    assert story.there("late.safetensors").status is ModelState.READY
    assert not story.database.scan.is_running


def test_without_folders_there_is_nothing_to_scan():
    story = Scanned(limits=Limits())
    assert not story.newcomers
    assert story.refusal(client.ScanModels()).code == "no_model_folders"


def test_without_automatic_scans_only_a_person_starts_one():
    story = Scanned(limits=with_limits(LIMITS, scan_every_s=None))
    assert not story.newcomers
    story.ask(client.ScanModels())
    story.scan()
    story.wait(100_000.0)
    assert not story.newcomers


def test_a_worker_that_dies_is_replaced_and_the_file_that_kills_two_is_left_out():
    story = Scanned()
    for name in ("a", "b", "c"):
        story.folder.write(f"{name}.safetensors", name)
    for _ in range(2):
        worker_id, order = story.scanner()
        for report in story.folder.reports(order):
            story.say(worker_id, report)
            if isinstance(report, wire.ScanProgress) and report.path.endswith("b.safetensors"):
                break
        story.exits(worker_id)
        story.wait(2.0)
    story.scan()
    killer = story.database.scanned_files[f"{PLACE}/b.safetensors"]
    assert (killer.code, killer.model_id) == ("worker_crashed", None)
    assert story.there("a.safetensors").status is story.there("c.safetensors").status is ModelState.READY
    assert story.database.scan.error is None


def test_a_scan_whose_workers_cannot_even_start_ends_with_the_reason_and_is_tried_later():
    story = Scanned()
    for _ in range(3):
        story.exits(story.newcomers[-1], "exit 1")
        story.wait(2.0)
    assert not story.database.scan.is_running
    assert story.database.scan.error is not None
    assert "exit 1" in story.database.scan.error
    story.again()
    assert story.database.scan.error is None


def test_a_scanner_that_hangs_is_ended():
    story = Scanned()
    story.scanner()
    found = story.wait(story.limits.load_timeout_s + 1)
    assert only(found, TerminateWorker)


def test_a_report_that_cannot_be_true_makes_no_model():
    story = Scanned()
    worker_id, _ = story.scanner()
    story.say(worker_id, wire.ScanBegun(files=3, unknown=3))
    huge = replace(fingerprint(), sha256=None, size_bytes=1 << 60)
    story.say(worker_id, wire.FileScanned(path="/w/huge.safetensors", stamp=1, fingerprint=huge))
    story.say(worker_id, wire.FileScanned(path="relative", stamp=2, fingerprint=fingerprint()))
    story.say(worker_id, wire.FileScanned(path="/" + "x" * 5_000, stamp=3, fingerprint=fingerprint()))
    assert len(story.database.models) == 1
    assert [row.code for row in story.database.scanned_files.values()] == ["model_unreadable"]


def test_a_stranger_has_nothing_to_report_of_scans():
    story = Scanned()
    story.scan()
    story.ask(register("mine"))
    story.hello(worker_id := story.newcomers[-1])
    story.say(worker_id, wire.FileScanned(path="/w/fur.safetensors", stamp=1, fingerprint=fingerprint()))
    assert not story.database.scanned_files


def test_a_restart_during_a_scan_begins_it_anew_with_what_was_read():
    story = Scanned()
    for name in ("a", "b"):
        story.folder.write(f"{name}.safetensors", name)
    worker_id, order = story.scanner()
    for report in list(story.folder.reports(order))[:3]:
        story.say(worker_id, report)
    assert story.there("a.safetensors").status is ModelState.READY
    story.begin()
    found = story.scanner()[1]
    assert len(found.known) == 1


def test_a_stop_does_not_wait_for_a_scan():
    story = Scanned()
    worker_id, _ = story.scanner()
    found = story.stop()
    assert wire.Leave() in [one.message for one in only(found, Order) if one.worker_id == worker_id]
