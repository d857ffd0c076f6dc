"""Pictures on their way to the disk."""

from kernel.core.actions import Action, AddImage, ForgetOutput, Order, StoreAgain, StoreOutput
from kernel.core.events import OutputNotStored
from kernel.core.images.storing import LONG_RETRY_S, MAX_TRIES, RETRY_S
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState
from kernel.protocol.ids import JobId
from kernel.protocol.specs import JobRequest
from tests.unit.core.story import Story, only, orders_to


def test_job_is_finished_only_when_its_pictures_are_on_the_disk():
    story = Story()
    engine_id, _worker_id = story.running_engine()
    job_id = story.submit(engine_id, count=2)
    assert only(story.picture(job_id, 0), StoreOutput)
    story.picture(job_id, 1)
    story.done(job_id, warnings=("the prompt was cut",))
    assert story.job_state(job_id) is JobState.PROCESSING
    story.stored(job_id, 1)
    assert story.job_state(job_id) is JobState.PROCESSING
    story.stored(job_id, 0)
    row = story.job(job_id)
    assert (row.status, row.warnings) == (JobState.FINISHED, ("the prompt was cut",))
    assert row.finished_at_ms == 1_000_000
    assert story.engine_state(engine_id) is EngineState.READY


def test_worker_is_told_that_a_picture_is_durable_only_once_its_row_is_saved():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    assert not orders_to(story.picture(job_id), worker_id)
    found = story.stored(job_id)
    stored = wire.ImageStored(job_id=job_id, lease=story.gives[job_id].lease, index=0)
    assert found.index(only(found, AddImage)[0]) < found.index(Order(worker_id, stored))


def test_image_row_says_what_the_worker_said_and_what_the_settings_say():
    story = Story(limits=Limits(expire_after_s=60.0, delete_after_downloads=3))
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    story.make(job_id)
    row = story.database.images[story.image_id(job_id)]
    assert (row.job_id, row.engine_id, row.position, row.seed) == (job_id, engine_id, 0, 0)
    assert (row.mime, row.file_name) == ("image/png", f"{row.image_id}.png")
    assert (row.expires_at_ms, row.download_limit, row.downloads) == (1_060_000, 3, 0)


def test_image_without_a_time_limit_never_expires():
    story = Story(limits=Limits(expire_after_s=None))
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    story.make(job_id)
    assert story.database.images[story.image_id(job_id)].expires_at_ms is None


def test_picture_sent_twice_is_written_once():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id, count=2)
    story.picture(job_id, 0)
    assert not story.picture(job_id, 0)
    story.stored(job_id, 0)
    assert len(orders_to(story.picture(job_id, 0), worker_id)) == 1
    assert len(story.database.images) == 1


def test_picture_that_is_none_of_the_jobs_pictures_is_ignored():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id, count=2)
    give = story.gives[job_id]
    for index, image_id in ((2, give.image_ids[0]), (-1, give.image_ids[1]), (0, give.image_ids[1])):
        report = wire.ImageReady(
            job_id=job_id,
            lease=give.lease,
            index=index,
            image_id=image_id,
            seed=0,
            mime="image/png",
            width_px=64,
            height_px=64,
            size_bytes=3,
            sha256="0" * 64,
        )
        assert not story.say(worker_id, report, has_blob=True)


def test_picture_without_bytes_or_of_a_strange_type_is_ignored():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    give = story.gives[job_id]
    for mime, has_blob in (("image/png", False), ("text/html", True)):
        report = wire.ImageReady(
            job_id=job_id,
            lease=give.lease,
            index=0,
            image_id=give.image_ids[0],
            seed=0,
            mime=mime,
            width_px=64,
            height_px=64,
            size_bytes=3,
            sha256="0" * 64,
        )
        assert not story.say(worker_id, report, has_blob=has_blob)


def test_picture_stored_after_its_worker_died_counts():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.picture(job_id)
    story.exits(worker_id)
    assert story.job_state(job_id) is JobState.WAITING
    story.stored(job_id)
    assert story.job_state(job_id) is JobState.FINISHED
    story.up()
    assert story.engine_state(engine_id) is EngineState.READY


def test_picture_of_a_former_worker_is_told_to_the_present_one():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id, count=2)
    story.picture(job_id, 0)
    story.exits(worker_id)
    second = story.up()
    assert story.gives[job_id].positions == (0, 1)
    stored = wire.ImageStored(job_id=job_id, lease=story.gives[job_id].lease, index=0)
    assert stored in orders_to(story.stored(job_id, 0), second)
    story.picture(job_id, 1)
    story.stored(job_id, 1)
    assert story.job_state(job_id) is JobState.PROCESSING
    story.done(job_id)
    assert story.job_state(job_id) is JobState.FINISHED


def test_word_of_a_former_worker_that_it_is_done_does_not_count_for_the_next_one():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.done(job_id, warnings=("the prompt was cut",))
    story.exits(worker_id)
    story.up()
    story.picture(job_id)
    story.stored(job_id)
    assert story.job_state(job_id) is JobState.PROCESSING
    story.done(job_id)
    assert story.job(job_id).warnings == ()


def test_picture_stored_after_its_job_was_cancelled_goes_to_the_trash():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    story.picture(job_id)
    story.ask(client.CancelJob(job_id=job_id))
    story.stored(job_id)
    assert not story.database.images
    assert story.database.trash == [f"{story.image_id(job_id)}.png"]


def test_picture_that_cannot_be_written_is_tried_again():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    story.picture(job_id)
    story.not_stored(job_id)
    assert StoreAgain(story.image_id(job_id)) in story.wait(1.0)
    story.stored(job_id)
    story.done(job_id)
    assert story.job_state(job_id) is JobState.FINISHED


def stuck(story: Story, job_id: JobId) -> list[Action]:
    """A picture cannot be written as often as is tried in a row. Returns: what came of the last try."""
    for _ in range(MAX_TRIES - 1):
        story.not_stored(job_id)
        assert only(story.wait(RETRY_S), StoreAgain)
    return story.not_stored(job_id)


def test_job_whose_picture_cannot_be_written_waits_for_the_disk_and_is_finished_by_it():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.picture(job_id)
    found = stuck(story, job_id)
    row = story.job(job_id)
    assert (row.status, row.error_code) == (JobState.WAITING, "disk_full")
    assert "no space left on device" in (row.error or "")
    order = wire.CancelJob(job_id=job_id, lease=story.gives[job_id].lease)
    assert order in orders_to(found, worker_id)
    story.dropped(job_id)
    for _ in range(20):
        assert only(story.wait(LONG_RETRY_S), StoreAgain)
        assert not only(story.not_stored(job_id), ForgetOutput)
    story.stored(job_id)
    row = story.job(job_id)
    assert (row.status, row.error_code, row.attempts) == (JobState.FINISHED, None, 1)


def test_no_job_is_given_out_while_a_picture_cannot_be_written():
    story = Story()
    engine_id, _ = story.running_engine()
    terminating, beside, waiting = (story.submit(engine_id) for _ in range(3))
    story.picture(terminating)
    story.not_stored(terminating)
    story.make(beside)
    assert story.job_state(waiting) is JobState.WAITING
    ask = client.SubmitJob(engine_id=engine_id, request=JobRequest(prompt="a fox"))
    assert story.refusal(ask).code == "disk_full"
    assert story.status().is_disk_low
    story.stored(terminating)
    assert story.job_state(waiting) is JobState.PROCESSING
    assert not story.status().is_disk_low


def test_job_that_was_set_aside_is_not_given_to_a_worker_that_still_holds_it():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id, count=2)
    story.picture(job_id)
    stuck(story, job_id)
    story.stored(job_id)
    assert story.job_state(job_id) is JobState.WAITING
    story.dropped(job_id)
    assert story.job_state(job_id) is JobState.PROCESSING
    assert story.gives[job_id].positions == (1,)


def test_manager_that_leaves_does_not_wait_for_a_disk_and_the_job_waits():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.picture(job_id)
    stuck(story, job_id)
    story.dropped(job_id)
    story.stop()
    assert only(story.wait(0.0), StoreAgain)
    assert only(story.not_stored(job_id), ForgetOutput)
    story.exits(worker_id)
    assert story.database.jobs[job_id].status is JobState.WAITING


def test_bytes_that_are_not_those_that_were_sent_fail_their_job_and_hold_nothing_up():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.picture(job_id)
    found = story.tell(OutputNotStored(story.image_id(job_id), "its bytes are others", is_damaged=True))
    assert only(found, ForgetOutput)
    row = story.job(job_id)
    assert (row.status, row.error_code) == (JobState.FAILED, "job_broke")
    assert orders_to(found, worker_id)
    assert not story.status().is_disk_low


def test_waiting_job_whose_former_picture_cannot_be_written_goes_on_waiting():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.picture(job_id)
    story.exits(worker_id)
    stuck(story, job_id)
    story.up()
    assert story.job_state(job_id) is JobState.WAITING
    story.stored(job_id)
    assert story.job_state(job_id) is JobState.FINISHED


def test_picture_of_an_ended_job_is_not_tried_again():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    story.picture(job_id)
    story.ask(client.CancelJob(job_id=job_id))
    assert only(story.not_stored(job_id), ForgetOutput)
    assert not only(story.wait(20.0), StoreAgain)


def test_ended_job_is_deleted_with_its_images_and_an_open_one_is_not():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    assert story.refusal(client.DeleteJob(job_id=job_id)).code == "job_unfinished"
    story.make(job_id)
    image_id = story.image_id(job_id)
    assert story.ask(client.DeleteJob(job_id=job_id)) == client.Done()
    assert not story.database.jobs
    assert not story.database.images
    assert story.database.trash == [f"{image_id}.png"]
    assert story.refusal(client.DeleteJob(job_id=job_id)).code == "job_not_found"
