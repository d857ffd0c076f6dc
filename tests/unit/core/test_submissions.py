"""Jobs that come with pictures: the files are on the disk first, and nothing is left of what is refused."""

import pytest
from msgspec.structs import replace

from kernel.core.actions import AddBlob, AddJob, ExpireBlobs, Reply, Save, StoreInputs, TrashFile
from kernel.core.commands import submissions
from kernel.core.events import Asked, DiskSwept, InputsNotStored, InputsStored, Peer
from kernel.core.ports import Folder, Limits
from kernel.protocol import client
from kernel.protocol.enums import BlobKind, ControlType, InputKind, JobState, Phase
from tests.unit.core.samples import controlnet, submit
from tests.unit.core.story import CORRELATION, PEER, Story, only

REFERENCE, MASK, POSE = InputKind.REFERENCE, InputKind.MASK, InputKind.POSE
BOTH = (REFERENCE, MASK)


def the(kind, found):
    """The one action of this kind."""
    (one,) = only(found, kind)
    return one


def test_job_exists_only_once_its_pictures_are_on_the_disk():
    story = Story()
    engine_id = story.engine(autostart=False)
    found = story.ask_actions(submit(engine_id, inputs=BOTH), key="mine")
    assert not only(found, Save)
    assert not only(found, Reply)
    assert not story.database.jobs
    store = the(StoreInputs, found)
    assert [file.sha256 for file in store.files] == ["a" * 64] * 2
    found = story.tell(InputsStored("mine"))
    reply = the(Reply, found).message
    assert story.job_state(reply.job_id) is JobState.WAITING
    blobs = {row.kind: row for row in story.database.blobs.values()}
    assert {kind: row.file_name for kind, row in blobs.items()} == {
        BlobKind.REFERENCE: store.files[0].file_name,
        BlobKind.MASK: store.files[1].file_name,
    }
    assert [blobs[kind].size_bytes for kind in (BlobKind.REFERENCE, BlobKind.MASK)] == [19, 14]
    kinds = [type(action) for action in found]
    assert kinds.index(AddJob) < kinds.index(AddBlob) < kinds.index(Reply)


def test_command_that_comes_again_while_its_pictures_are_written_is_done_once_and_answered_each_time():
    story = Story()
    engine_id = story.engine(autostart=False)
    ask = submit(engine_id, inputs=(REFERENCE,))
    story.ask_actions(ask, key="mine")
    assert story.ask_actions(ask, key="mine") == []
    assert story.ask_actions(ask, key="mine", peer=Peer(b"other")) == []
    replies = only(story.tell(InputsStored("mine")), Reply)
    assert [reply.peer for reply in replies] == [PEER, b"other"]
    assert [reply.message for reply in replies] == 2 * [replies[0].message]
    assert len(story.database.jobs) == 1
    assert story.ask(ask, key="mine") == replies[0].message


def test_another_command_under_the_key_of_one_that_is_being_written_is_refused():
    story = Story()
    engine_id = story.engine()
    story.ask_actions(submit(engine_id, inputs=(REFERENCE,)), key="mine")
    assert story.refusal(submit(engine_id), key="mine", digest=b"two").code == "idempotency_key_reused"


def test_check_without_a_submission_stores_nothing():
    story = Story()
    engine_id = story.engine()
    ask = replace(submit(engine_id, inputs=BOTH), validate_only=True)
    found = story.ask_actions(ask)
    assert [type(action) for action in found] == [Reply]
    assert isinstance(found[0].message, client.JobValid)


@pytest.mark.parametrize(
    ("is_damaged", "code"), [(False, "disk_full"), (True, "bad_message")], ids=["disk", "bytes"]
)
def test_pictures_that_cannot_be_stored_are_a_refusal_that_leaves_nothing(is_damaged, code):
    story = Story()
    ask = submit(story.engine(), inputs=(REFERENCE,))
    story.ask_actions(ask, key="mine")
    found = story.tell(InputsNotStored("mine", "no space left on device", is_damaged))
    assert [type(action) for action in found] == [Reply]
    assert found[0].message.code == code
    assert "no space left on device" in found[0].message.detail
    assert only(story.ask_actions(ask, key="mine"), StoreInputs), "it may be tried again"


def test_engine_that_is_deleted_meanwhile_is_a_refusal_and_the_files_go_to_the_trash():
    story = Story()
    engine_id = story.engine()
    files = the(StoreInputs, story.ask_actions(submit(engine_id, inputs=BOTH), key="mine")).files
    story.ask(client.DeleteEngine(engine_id=engine_id))
    found = story.tell(InputsStored("mine"))
    assert the(Reply, found).message.code == "engine_not_found"
    trashed = [(action.folder, action.file_name) for action in only(found, TrashFile)]
    assert trashed == [(Folder.BLOBS, file.file_name) for file in files]
    assert "mine" not in story.database.replies


def test_manager_that_stops_waits_for_files_that_are_being_written():
    story = Story()
    story.ask_actions(submit(story.engine(), inputs=(REFERENCE,)), key="mine")
    story.stop()
    assert story.broker.world.phase is Phase.DRAINING
    found = story.tell(InputsStored("mine"))
    assert the(Reply, found).message.code == "shutting_down"
    assert only(found, TrashFile)
    assert story.broker.world.phase is Phase.EXITED


def test_disk_that_runs_low_meanwhile_refuses_the_job():
    story = Story()
    story.ask_actions(submit(story.engine(), inputs=(REFERENCE,)), key="mine")
    story.tell(DiskSwept(free_bytes=0))
    assert the(Reply, story.tell(InputsStored("mine"))).message.code == "disk_full"
    assert story.refusal(submit(story.engine(), inputs=(REFERENCE,))).code == "disk_full"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"files": ()}, "inputs"),
        ({"mime": "image/gif"}, "reference"),
        ({"size_bytes": 0}, "reference"),
        ({"size_bytes": 101}, "reference"),
        ({"sha256": "A" * 64}, "reference"),
        ({"sha256": "a" * 63}, "reference"),
    ],
    ids=str,
)
def test_picture_that_is_not_described_as_one_is_refused_by_its_name(change, field):
    story = Story(limits=Limits(max_input_bytes=100))
    ask = submit(story.engine(), inputs=(REFERENCE,))
    files = change["files"] if "files" in change else (replace(ask.files[0], **change),)
    refused = story.refusal(replace(ask, files=files))
    assert [problem.field for problem in refused.fields] == [field]
    assert not story.broker.world.submissions


@pytest.mark.parametrize(("sizes", "field"), [((), "inputs"), ((19, 14), "inputs"), ((18,), "reference")])
def test_pictures_that_did_not_come_as_they_are_described_are_refused(sizes, field):
    story = Story()
    ask = submit(story.engine(), inputs=(REFERENCE,))
    found = story.tell(Asked(PEER, CORRELATION, "mine", b"digest", ask, blob_bytes=sizes))
    assert [problem.field for problem in found[0].message.fields] == [field]
    assert not story.broker.world.submissions


def test_pictures_beyond_what_memory_shall_hold_are_told_to_come_again():
    story = Story(limits=Limits(max_input_bytes=1 << 30))
    ask = submit(story.engine(autostart=False), inputs=(REFERENCE,))
    third = replace(ask, files=(replace(ask.files[0], size_bytes=submissions.MAX_BYTES // 3),))
    for number in range(3):
        assert only(story.ask_actions(third, key=f"key-{number}"), StoreInputs)
    refused = story.refusal(third, key="mine")
    assert (refused.code, refused.retry_after_s) == ("too_many_requests", 1.0)
    story.tell(InputsStored("key-1"))
    assert only(story.ask_actions(third, key="mine"), StoreInputs)


# Their life.


def test_what_came_with_a_job_has_no_end_while_it_is_open_and_a_day_from_then_on():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id, inputs=(REFERENCE,))
    (blob,) = story.database.blobs.values()
    assert blob.expires_at_ms is None
    found = story.make(job_id)
    assert the(ExpireBlobs, found).expires_at_ms == 1_000_000 + 86_400_000


@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_job_that_ends_otherwise_lets_go_of_its_pictures_as_well(end):
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id, inputs=(REFERENCE,))
    if end == "failed":
        story.failed(job_id)
    else:
        story.ask(client.CancelJob(job_id=job_id))
    (blob,) = story.database.blobs.values()
    assert blob.expires_at_ms is not None


def test_time_of_a_blob_begins_after_a_restart_too():
    story = Story()
    job_id = story.submit(story.engine(autostart=False), inputs=(REFERENCE,))
    story.begin()
    assert only(story.ask_actions(client.CancelJob(job_id=job_id)), ExpireBlobs)


def test_job_without_pictures_has_no_blobs_to_let_go_of():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    assert not only(story.make(job_id), ExpireBlobs)


def test_blob_whose_time_is_over_goes_row_and_file():
    story = Story()
    job_id = story.submit(story.engine(autostart=False), inputs=(REFERENCE,))
    story.ask(client.CancelJob(job_id=job_id))
    (blob,) = story.database.blobs.values()
    story.tell(DiskSwept(free_bytes=1 << 40, blobs_due=(blob.blob_id,)))
    assert story.database.blobs == {}
    assert story.database.trash == [blob.file_name]


@pytest.mark.parametrize("deletes", ["job", "engine"])
def test_pictures_go_with_their_job_and_their_engine(deletes):
    story = Story()
    engine_id = story.engine(autostart=False)
    job_id = story.submit(engine_id, inputs=(REFERENCE,))
    (blob,) = story.database.blobs.values()
    story.ask(client.CancelJob(job_id=job_id))
    ask = client.DeleteJob(job_id=job_id) if deletes == "job" else client.DeleteEngine(engine_id=engine_id)
    assert story.ask(ask) == client.Done()
    assert (story.database.blobs, story.database.trash) == ({}, [blob.file_name])


def test_pose_image_is_given_under_the_models_that_work_on_it():
    story = Story(controlnet(ControlType.OPENPOSE))
    engine_id, _ = story.running_engine(control_net=ControlType.OPENPOSE, control_models=("openpose",))
    job_id = story.submit(engine_id, inputs=(POSE,))
    assert [source.model_id for source in story.gives[job_id].models] == ["openpose"]
