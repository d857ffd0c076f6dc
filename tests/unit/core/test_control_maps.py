"""What a worker sends beside images: control maps, which are kept; previews, which are not; its stages."""

import pytest

from kernel.core.actions import (
    AddBlob,
    ExpireBlobs,
    Folder,
    Order,
    Push,
    PushPreview,
    StoreOutput,
    TrashFile,
)
from kernel.core.events import InputsUnreadable, OutputNotStored, OutputStored, Peer, WatchAsked
from kernel.core.images.storing import MAX_TRIES
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import BlobKind, ControlType, InputKind, JobState, Stage
from kernel.protocol.ids import Lease
from tests.unit.core.samples import controlnet
from tests.unit.core.story import CORRELATION, Story, only, orders_to

CANNY, OPENPOSE = ControlType.CANNY, ControlType.OPENPOSE


class Scene:
    """A job with a pose image, in a worker."""

    def __init__(self) -> None:
        self.story = Story(controlnet(OPENPOSE), controlnet(CANNY))
        models = ("openpose", "canny")
        self.engine_id, self.worker_id = self.story.running_engine(
            control_net=OPENPOSE, control_models=models
        )
        self.job_id = self.story.submit(self.engine_id, inputs=(InputKind.POSE,))

    def sends_map(self, control_type=OPENPOSE):
        return self.story.map(self.job_id, control_type)

    def map_id(self):
        """The map that is on its way to the disk."""
        (found,) = (one for one in self.story.broker.world.pending_outputs if one not in self.image_ids())
        return found

    def image_ids(self):
        return self.story.database.jobs[self.job_id].image_ids

    def map_rows(self):
        return [row for row in self.story.database.blobs.values() if row.kind is not BlobKind.POSE]


def test_map_is_written_like_a_picture_and_acknowledged_after_its_row_is_saved():
    scene = Scene()
    (store,) = only(scene.sends_map(), StoreOutput)
    assert (store.folder, store.sha256) == (Folder.BLOBS, "1" * 64)
    found = scene.story.tell(OutputStored(store.output_id))
    stored = wire.MapStored(
        job_id=scene.job_id, lease=scene.story.gives[scene.job_id].lease, control_type=OPENPOSE
    )
    assert found.index(only(found, AddBlob)[0]) < found.index(Order(scene.worker_id, stored))
    (row,) = scene.map_rows()
    assert (row.kind, row.mime, row.file_name) == (BlobKind.MAP_OPENPOSE, "image/png", store.file_name)


def test_map_that_comes_twice_is_written_once_and_acknowledged_again():
    scene = Scene()
    scene.sends_map()
    assert scene.sends_map() == []
    scene.story.tell(OutputStored(scene.map_id()))
    (again,) = orders_to(scene.sends_map(), scene.worker_id)
    assert isinstance(again, wire.MapStored)
    assert len(scene.map_rows()) == 1


def test_job_is_finished_only_when_the_maps_that_its_worker_sent_are_on_the_disk():
    scene = Scene()
    scene.sends_map(OPENPOSE)
    scene.story.picture(scene.job_id)
    scene.story.done(scene.job_id, maps=(OPENPOSE, CANNY))
    scene.story.stored(scene.job_id)
    assert scene.story.job_state(scene.job_id) is JobState.PROCESSING
    scene.story.tell(OutputStored(scene.map_id()))
    assert scene.story.job_state(scene.job_id) is JobState.PROCESSING, "one map has not even come"
    scene.sends_map(CANNY)
    found = scene.story.tell(OutputStored(scene.map_id()))
    assert scene.story.job_state(scene.job_id) is JobState.FINISHED
    assert only(found, ExpireBlobs)
    assert all(row.expires_at_ms for row in scene.story.database.blobs.values())


def test_job_waits_for_a_map_of_which_its_end_said_nothing():
    scene = Scene()
    scene.sends_map()
    scene.story.picture(scene.job_id)
    scene.story.stored(scene.job_id)
    scene.story.done(scene.job_id)
    assert scene.story.job_state(scene.job_id) is JobState.PROCESSING
    scene.story.tell(OutputStored(scene.map_id()))
    assert scene.story.job_state(scene.job_id) is JobState.FINISHED


def test_map_outlives_the_worker_that_drew_it():
    scene = Scene()
    scene.sends_map()
    map_id = scene.map_id()
    scene.story.exits(scene.worker_id)
    scene.story.tell(OutputStored(map_id))
    scene.story.up()
    (again,) = orders_to(scene.sends_map(), scene.story.gives[scene.job_id].worker_id)
    assert isinstance(again, wire.MapStored)


def test_map_that_is_stored_is_known_after_a_restart():
    scene = Scene()
    scene.sends_map()
    scene.story.tell(OutputStored(scene.map_id()))
    scene.story.begin()
    scene.story.up()
    assert not only(scene.sends_map(), StoreOutput)


def test_map_of_a_job_that_is_no_more_goes_to_the_trash():
    scene = Scene()
    scene.sends_map()
    map_id = scene.map_id()
    scene.story.ask(client.CancelJob(job_id=scene.job_id))
    (trashed,) = only(scene.story.tell(OutputStored(map_id)), TrashFile)
    assert trashed.folder is Folder.BLOBS
    assert not scene.map_rows()


def test_job_waits_for_the_disk_that_takes_its_map():
    scene = Scene()
    scene.sends_map()
    map_id = scene.map_id()
    for _ in range(MAX_TRIES):
        scene.story.tell(OutputNotStored(map_id, "no space left on device"))
        scene.story.wait(1.0)
    row = scene.story.job(scene.job_id)
    assert (row.status, row.error_code) == (JobState.WAITING, "disk_full")
    scene.story.dropped(scene.job_id)
    scene.story.tell(OutputStored(map_id))
    assert scene.story.job_state(scene.job_id) is JobState.PROCESSING


@pytest.mark.parametrize("is_late", [False, True])
def test_map_without_its_file_or_under_an_old_lease_is_not_taken(is_late):
    scene = Scene()
    give = scene.story.gives[scene.job_id]
    report = wire.ControlMap(
        job_id=scene.job_id,
        lease=Lease(give.lease - is_late),
        control_type=CANNY,
        size_bytes=3,
        sha256="1" * 64,
    )
    assert not only(scene.story.say(scene.worker_id, report, has_blob=is_late), StoreOutput)


# Previews and stages.


def preview(scene: Scene, step: int = 3, has_blob: bool = True):
    give = scene.story.gives[scene.job_id]
    report = wire.Preview(job_id=scene.job_id, lease=give.lease, index=0, step=step)
    return scene.story.say(scene.worker_id, report, has_blob=has_blob)


def test_preview_is_shown_to_who_watches_and_stored_nowhere():
    scene = Scene()
    assert preview(scene) == [], "nobody watches"
    scene.story.tell(WatchAsked(Peer(b"w"), CORRELATION))
    message = client.JobPreview(job_id=scene.job_id, index=0, step=4)
    assert preview(scene, step=4) == [PushPreview((Peer(b"w"),), message)]
    assert preview(scene, has_blob=False) == []


def test_preview_of_a_cancelled_job_is_not_shown():
    scene = Scene()
    scene.story.tell(WatchAsked(Peer(b"w"), CORRELATION))
    scene.story.ask(client.CancelJob(job_id=scene.job_id))
    assert preview(scene) == []


def test_watchers_hear_of_the_stage_and_other_stages_do_not_count_as_steps():
    scene = Scene()
    scene.story.tell(WatchAsked(Peer(b"w"), CORRELATION))
    give = scene.story.gives[scene.job_id]
    told = []
    for seconds, step, stage in (
        (0.0, 0, Stage.PREPARING),
        (9.0, 1, Stage.DENOISING),
        (1.0, 2, Stage.DENOISING),
        (5.0, 2, Stage.FINISHING),
    ):
        scene.story.wait(seconds)
        report = wire.Progress(job_id=scene.job_id, lease=give.lease, step=step, steps=4, stage=stage)
        told += [push.message for push in only(scene.story.say(scene.worker_id, report), Push)]
    assert [message.stage for message in told] == [
        Stage.PREPARING,
        Stage.DENOISING,
        Stage.DENOISING,
        Stage.FINISHING,
    ]
    assert [message.eta_s for message in told] == [None, None, 2.0, 2.0]


# What came with a job and cannot be read.


def unreadable(scene: Scene, lease: Lease):
    return scene.story.tell(InputsUnreadable(scene.worker_id, scene.job_id, lease, "the pose image is gone"))


def test_job_whose_picture_cannot_be_read_fails_and_its_place_is_free():
    scene = Scene()
    other = scene.story.submit(scene.engine_id)
    unreadable(scene, scene.story.gives[scene.job_id].lease)
    row = scene.story.job(scene.job_id)
    assert (row.status, row.error_code, row.error) == (
        JobState.FAILED,
        "inputs_lost",
        "the pose image is gone",
    )
    assert list(scene.story.broker.world.workers[scene.worker_id].slots) == [other]


def test_picture_that_cannot_be_read_for_a_worker_that_is_gone_changes_nothing():
    scene = Scene()
    lease = scene.story.gives[scene.job_id].lease
    scene.story.exits(scene.worker_id)
    scene.story.up()
    assert unreadable(scene, lease) == []
    assert scene.story.job_state(scene.job_id) is JobState.PROCESSING


def test_picture_of_a_job_that_is_being_cancelled_cannot_be_read_either():
    scene = Scene()
    lease = scene.story.gives[scene.job_id].lease
    scene.story.ask(client.CancelJob(job_id=scene.job_id))
    unreadable(scene, lease)
    assert scene.story.job_state(scene.job_id) is JobState.CANCELLED
    assert not scene.story.broker.world.workers[scene.worker_id].slots
