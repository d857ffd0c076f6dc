"""The limits of a key on waiting jobs, the size of images, and images and pixels by the day."""

import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.core.commands.key_limits import HOUR_MS, HOURS
from kernel.core.events import InputsStored
from kernel.protocol import client
from kernel.protocol.api_keys import ChangeKey, KeyIssued, KeyLimits
from kernel.protocol.enums import InputKind
from kernel.protocol.ids import EngineId, KeyId
from tests.unit.core.samples import create_key, submit
from tests.unit.core.story import Story, only

HOUR_S = HOUR_MS / 1000
PIXELS = 512 * 512


def key(story: Story, name: str = "anna", **limits: int) -> KeyId:
    reply = story.ask(create_key(name, limits=KeyLimits(**limits)))
    assert isinstance(reply, KeyIssued)
    return reply.key_id


def wish(engine_id: EngineId, key_id: KeyId | None, **fields: object) -> client.SubmitJob:
    return replace(submit(engine_id, **fields), key_id=key_id)  # type: ignore[arg-type]


def accepted(story: Story, ask: client.SubmitJob) -> client.JobAccepted:
    reply = story.ask(ask)
    assert isinstance(reply, client.JobAccepted), reply
    return reply


def test_a_key_has_as_many_waiting_jobs_as_it_may_and_others_do_not_count() -> None:
    story = Story()
    anna, bert = key(story, max_waiting_jobs=2), key(story, "bert")
    engine_id = story.engine(autostart=False)
    accepted(story, wish(engine_id, bert))
    accepted(story, wish(engine_id, None))
    first = accepted(story, wish(engine_id, anna))
    accepted(story, wish(engine_id, anna))
    refused = story.refusal(wish(engine_id, anna))
    assert (refused.code, refused.retry_after_s) == ("key_max_waiting_jobs", 5.0)
    story.ask(client.CancelJob(job_id=first.job_id))
    accepted(story, wish(engine_id, anna))
    assert story.refusal(replace(wish(engine_id, anna), validate_only=True)).code == "key_max_waiting_jobs"


def test_running_jobs_do_not_wait() -> None:
    story = Story()
    anna = key(story, max_waiting_jobs=1, max_running_jobs=1)
    engine_id = story.engine(start=True)
    accepted(story, wish(engine_id, anna))
    story.up()
    accepted(story, wish(engine_id, anna))
    assert story.refusal(wish(engine_id, anna)).code == "key_max_waiting_jobs"


def test_an_image_has_as_many_pixels_as_the_key_may() -> None:
    story = Story()
    anna = key(story, max_pixels=PIXELS)
    engine_id = story.engine(autostart=False)
    accepted(story, wish(engine_id, anna, width_px=512, height_px=512, count=2))
    refused = story.refusal(wish(engine_id, anna, width_px=520, height_px=512))
    assert (refused.code, refused.fields[0].field) == ("invalid_field", "width")
    accepted(story, wish(engine_id, None, width_px=520, height_px=512))


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_images_a_day": 4}, "key_max_images_a_day"),
        ({"max_pixels_a_day": 4 * PIXELS}, "key_max_pixels_a_day"),
    ],
)
def test_a_day_slides_by_the_hour(limits: dict[str, int], code: str) -> None:
    story = Story()
    anna = key(story, **limits)
    engine_id = story.engine(autostart=False)
    story.wait(HOUR_S - story.now.unix_ms % HOUR_MS / 1000)

    def order(count: int) -> client.SubmitJob:
        return wish(engine_id, anna, count=count, width_px=512, height_px=512)

    accepted(story, order(1))
    story.wait(2 * HOUR_S)
    accepted(story, order(2))
    accepted(story, order(1))
    for count, hours in ((1, HOURS - 2), (2, HOURS), (4, HOURS)):
        refused = story.refusal(order(count))
        assert (refused.code, refused.retry_after_s) == (code, hours * HOUR_S)
    refused = story.refusal(order(5))
    assert (refused.code, refused.fields[0].field) == ("invalid_field", "count")
    story.wait((HOURS - 2) * HOUR_S - 1)
    assert story.refusal(order(1)).retry_after_s == 1
    story.wait(1)
    accepted(story, order(1))
    assert story.refusal(order(1)).code == code


def test_the_day_outlives_a_restart_and_the_job() -> None:
    story = Story()
    anna = key(story, max_images_a_day=1)
    engine_id = story.engine(autostart=False)
    job = accepted(story, wish(engine_id, anna))
    story.ask(client.CancelJob(job_id=job.job_id))
    story.ask(client.DeleteJob(job_id=job.job_id))
    story.begin()
    assert story.refusal(wish(engine_id, anna)).code == "key_max_images_a_day"


def test_the_same_command_again_counts_once() -> None:
    story = Story()
    anna = key(story, max_images_a_day=2)
    engine_id = story.engine(autostart=False)
    ask = wish(engine_id, anna)
    assert story.ask(ask, key="once") == story.ask(ask, key="once")
    accepted(story, wish(engine_id, anna))


def test_what_was_ordered_before_there_was_a_limit_does_not_count() -> None:
    story = Story()
    anna = key(story)
    engine_id = story.engine(autostart=False)
    accepted(story, wish(engine_id, anna))
    assert not story.database.key_uses
    limits = KeyLimits(max_images_a_day=1)
    story.ask(ChangeKey(key_id=anna, fields=("max_images_a_day",), limits=limits))
    accepted(story, wish(engine_id, anna))
    assert story.refusal(wish(engine_id, anna)).code == "key_max_images_a_day"


def test_old_hours_are_forgotten() -> None:
    story = Story()
    anna = key(story, max_images_a_day=100)
    engine_id = story.engine(autostart=False)
    for _ in range(3 * HOURS):
        accepted(story, wish(engine_id, anna))
        story.wait(HOUR_S)
    assert len(story.database.key_uses) == len(story.broker.world.key_uses[anna]) == HOURS


def test_of_two_jobs_with_images_that_arrive_at_once_only_one_is_within_the_limit() -> None:
    story = Story()
    anna = key(story, max_images_a_day=1)
    engine_id = story.engine(autostart=False)
    ask = wish(engine_id, anna, inputs=(InputKind.REFERENCE,))
    for name in ("one", "two"):
        assert not only(story.ask_actions(ask, name), actions.Reply)
    replies = [only(story.tell(InputsStored(name)), actions.Reply)[0].message for name in ("one", "two")]
    assert isinstance(replies[0], client.JobAccepted)
    assert isinstance(replies[1], client.Refused)
    assert replies[1].code == "key_max_images_a_day"
