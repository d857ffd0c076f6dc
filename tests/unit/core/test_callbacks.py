"""Callbacks: who hears of what, in which order, how often it is tried, and what becomes of it."""

import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.core.callbacks.sending import DELAYS_S, JITTER
from kernel.core.commands.webhook_commands import MAX_WEBHOOKS
from kernel.core.ports import Limits
from kernel.core.state.delivery_queue import MAX_SENDING, MAX_SENDING_TO_HOST
from kernel.protocol import client
from kernel.protocol.api_keys import RevokeKey
from kernel.protocol.enums import CallbackEvent, DeliveryState, Role
from kernel.protocol.ids import DeliveryId, KeyId, WebhookId
from kernel.protocol.webhooks import (
    Callback,
    CallbackSecret,
    CreateWebhook,
    DeleteWebhook,
    DeliveryQueued,
    EditWebhook,
    Redeliver,
    RotateWebhook,
    ShowCallbackSecret,
    TestWebhook,
    WebhookIssued,
)
from tests.unit.core.receivers import URL, CallbackStory
from tests.unit.core.samples import create_key, submit
from tests.unit.core.story import only

ALL = tuple(CallbackEvent)
OWN = Callback(url=URL, events=ALL)
EVENTS = ["job.created", "job.started", "image.created", "job.finished"]


def story_with_a_job(callback: Callback = OWN) -> CallbackStory:
    """A job with a receiver of its own that is finished, and a worker that sends."""
    story = CallbackStory()
    story.make(story.job(callback))
    story.sender()
    return story


def test_the_receiver_of_a_job_hears_of_it_in_order_and_of_one_event_at_a_time():
    story = story_with_a_job()
    assert story.kinds() == EVENTS[:1]
    story.deliver_all()
    assert story.kinds() == EVENTS
    assert {row.status for row in story.deliveries()} == {DeliveryState.DELIVERED}


def test_the_body_says_what_happened_when_it_happened():
    story = CallbackStory(limits=Limits(callback_base_url="https://me.example/spoon/"))
    job_id = story.job(OWN)
    story.make(job_id)
    story.sender()
    story.deliver_all()
    image_id = story.database.jobs[job_id].image_ids[0]
    image = {"image_id": image_id, "url": f"https://me.example/spoon/v1/images/{image_id}/download"}
    first, last = story.sent[0].body, story.sent[-1].body
    assert first["data"] == {
        "job_id": job_id,
        "engine_id": story.engine_id,
        "status": "waiting",
        "images": [],
        "image_count": 0,
        "error": None,
    }
    assert last["timestamp"] == "1970-01-01T00:16:40.000Z"
    assert last["data"] == first["data"] | {"status": "finished", "images": [image], "image_count": 1}


def test_a_failed_job_tells_why():
    story = CallbackStory()
    story.failed(story.job(Callback(url=URL)))
    story.sender()
    assert story.sent[0].body["data"]["error"] == {"code": "out_of_memory", "detail": "it cannot be made"}


def test_without_a_choice_a_receiver_hears_of_the_end_alone():
    story = CallbackStory()
    story.make(story.job(Callback(url=URL)))
    story.ask(client.CancelJob(job_id=story.job(Callback(url=URL))))
    story.sender()
    story.deliver_all()
    assert story.kinds() == ["job.finished", "job.cancelled"]


def test_a_job_that_goes_with_its_engine_is_told_of_as_cancelled():
    story = CallbackStory()
    engine_id = story.engine(autostart=False)
    story.job(Callback(url=URL), engine_id=engine_id)
    story.ask(client.DeleteEngine(engine_id=engine_id))
    story.sender()
    assert story.kinds() == ["job.cancelled"]


def test_nobody_is_launched_for_jobs_without_receivers():
    story = CallbackStory()
    story.make(story.job())
    found = story.wait(10.0)
    assert not only(found, actions.LaunchWorker)
    assert not story.database.deliveries


def test_an_attempt_that_fails_is_made_again_later_each_time_and_given_up_after_a_day():
    story = story_with_a_job(Callback(url=URL))
    delivery_id = story.sent[0].give.delivery_id
    for attempt, delay_s in enumerate(DELAYS_S, start=1):
        assert story.under_way[delivery_id].attempt == attempt
        story.answer(delivery_id, 500)
        row = story.database.deliveries[delivery_id]
        waits_s = row.next_at_ms / 1000 - story.now_s
        assert delay_s <= waits_s <= delay_s * (1 + JITTER), "with a spread"
        assert (row.status, row.answered) == (DeliveryState.WAITING, 500)
        story.until_next(delivery_id, short_of_s=0.01)
        assert delivery_id not in story.under_way, "not too early"
        story.until_next(delivery_id)
    story.answer(delivery_id, None)
    row = story.database.deliveries[delivery_id]
    assert row.status is DeliveryState.FAILED
    assert row.error == f"cannot connect; it was the last of {len(DELAYS_S) + 1} attempts"
    assert 86_400 * 0.9 < sum(DELAYS_S) < 86_400 * 1.1


def test_a_receiver_that_asks_for_time_gets_it():
    story = story_with_a_job(Callback(url=URL))
    delivery_id = story.sent[0].give.delivery_id
    story.answer(delivery_id, 429, retry_after_s=1_000)
    assert story.database.deliveries[delivery_id].next_at_ms == int(story.now_s * 1000) + 1_000_000


def test_a_later_event_waits_for_an_earlier_one_that_is_tried_again():
    story = story_with_a_job()
    story.answer(story.sent[0].give.delivery_id, 500)
    story.wait(4.0)
    assert story.kinds() == EVENTS[:1]
    story.wait(3.0)
    story.sender()
    story.deliver_all()
    assert story.kinds() == [EVENTS[0], *EVENTS]


def test_the_next_event_follows_one_that_was_given_up():
    story = story_with_a_job()
    first = story.sent[0].give.delivery_id
    for _ in range(len(DELAYS_S) + 1):
        story.answer(first, 404)
        story.until_next(first)
    assert story.database.deliveries[first].status is DeliveryState.FAILED
    assert story.kinds()[-1] == EVENTS[1]


def test_a_receiver_that_answers_gone_hears_no_more_and_its_webhook_ends():
    story = CallbackStory()
    webhook_id = story.webhook(events=ALL)
    story.make(story.job())
    story.sender()
    story.answer(story.sent[0].give.delivery_id, 410)
    assert {row.status for row in story.deliveries()} == {DeliveryState.FAILED}
    assert story.database.webhooks[webhook_id].ended_at_ms is not None
    story.make(story.job())
    assert len(story.deliveries()) == len(EVENTS), "no new ones"
    assert story.refusal(TestWebhook(webhook_id=webhook_id)).code == "illegal_move"
    story.ask(EditWebhook(webhook_id=webhook_id))
    story.job()
    assert len(story.deliveries()) > len(EVENTS), "begun again"


def test_a_jobs_own_receiver_that_answers_gone_is_gone_for_that_job_alone():
    story = CallbackStory()
    jobs = [story.job(OWN), story.job(OWN)]
    for job_id in jobs:
        story.make(job_id)
    story.sender()
    story.answer(story.sent[0].give.delivery_id, 410)
    story.deliver_all()
    ends = {job_id: {row.status for row in story.deliveries() if row.job_id == job_id} for job_id in jobs}
    assert ends == {jobs[0]: {DeliveryState.FAILED}, jobs[1]: {DeliveryState.DELIVERED}}


@pytest.mark.parametrize("status", [200, 204, 299])
def test_any_success_is_a_delivery(status):
    story = story_with_a_job(Callback(url=URL))
    story.answer(story.sent[0].give.delivery_id, status)
    assert story.deliveries()[0].status is DeliveryState.DELIVERED


@pytest.mark.parametrize("status", [199, 301, 302, 307, 400, 503])
def test_nothing_else_is(status):
    story = story_with_a_job(Callback(url=URL))
    story.answer(story.sent[0].give.delivery_id, status)
    row = story.deliveries()[0]
    assert (row.status, str(status) in row.error) == (DeliveryState.WAITING, True)
    assert ("redirects are not followed" in row.error) is (300 <= status < 400)


def test_a_dead_host_takes_one_place_and_delays_no_other():
    story = CallbackStory()
    for _ in range(30):
        story.ask(client.CancelJob(job_id=story.job(Callback(url="https://dead.example/"))))
    story.sender()
    assert len(story.under_way) == MAX_SENDING_TO_HOST
    story.answer(next(iter(story.under_way)), None)
    for _ in range(MAX_SENDING_TO_HOST - 1):
        story.answer(next(iter(story.under_way)), None)
    assert len(story.under_way) == 1, "while it fails it is asked for one at a time"
    story.ask(client.CancelJob(job_id=story.job(Callback(url="https://well.example/"))))
    story.wait(0.0)
    assert story.sent[-1].give.url == "https://well.example/"


def test_many_hosts_share_the_places():
    story = CallbackStory()
    for number in range(MAX_SENDING + 5):
        story.ask(client.CancelJob(job_id=story.job(Callback(url=f"https://host{number}.example/"))))
    story.sender()
    assert len(story.under_way) == MAX_SENDING
    story.answer(next(iter(story.under_way)))
    assert len(story.under_way) == MAX_SENDING


def test_an_attempt_is_made_again_after_the_manager_died():
    story = story_with_a_job()
    story.begin()
    story.sender()
    story.deliver_all()
    assert story.kinds() == [EVENTS[0], *EVENTS]
    assert story.sent[0].give.delivery_id == story.sent[1].give.delivery_id


def test_an_attempt_is_made_again_after_its_worker_died():
    story = story_with_a_job(Callback(url=URL))
    give = story.under_way.pop(story.sent[0].give.delivery_id)
    story.exits(give.worker_id)
    assert story.database.deliveries[give.delivery_id].status is DeliveryState.WAITING
    story.wait(7.0)
    story.sender()
    story.deliver_all()
    assert story.kinds() == ["job.finished"] * 2
    assert story.deliveries()[0].attempts == 2


def test_workers_that_die_at_once_are_launched_with_pauses():
    story = CallbackStory()
    story.ask(client.CancelJob(job_id=story.job(Callback(url=URL))))
    story.wait(0.0)
    for pause_s in (1.0, 2.0, 4.0):
        story.exits(story.newcomers[0])
        assert not only(story.wait(pause_s - 0.1), actions.LaunchWorker)
        assert len(only(story.wait(0.2), actions.LaunchWorker)) == 1


def test_a_worker_that_hangs_is_killed():
    story = story_with_a_job(Callback(url=URL))
    found = story.wait(91.0)
    assert [kill.worker_id for kill in only(found, actions.KillWorker)] == [story.sent[0].give.worker_id]


def test_an_idle_worker_leaves():
    story = story_with_a_job(Callback(url=URL))
    story.deliver_all()
    worker_id = story.sent[0].give.worker_id
    found = story.wait(11.0)
    assert worker_id in {order.worker_id for order in only(found, actions.Order)}
    story.exits(worker_id, "exit code 0")
    assert not only(story.wait(100.0), actions.LaunchWorker)


def test_a_report_on_another_attempt_changes_nothing():
    story = story_with_a_job(Callback(url=URL))
    give = story.sent[0].give
    story.under_way[give.delivery_id] = replace(give, attempt=7)
    story.answer(give.delivery_id, 200)
    assert story.deliveries()[0].status is DeliveryState.SENDING


def test_what_is_beyond_the_limit_of_what_waits_is_given_up_at_once():
    story = CallbackStory()
    story.broker.world.deliveries.max_open = 2
    story.make(story.job(OWN))
    given_up = [row.error for row in story.deliveries() if row.status is DeliveryState.FAILED]
    assert given_up == ["too many deliveries wait to be sent: this one was not tried"] * 2


# Webhooks.


def test_a_webhook_hears_of_jobs_and_its_secret_is_told_once():
    story = CallbackStory()
    ask = CreateWebhook(url=URL, events=(CallbackEvent.JOB_FINISHED,))
    reply = story.ask(ask, key="once")
    assert isinstance(reply, WebhookIssued)
    assert reply.secret == f"whsec_webhook:{reply.webhook_id}.1"
    assert story.ask(ask, key="once") == replace(reply, secret=None)
    story.make(story.job())
    story.sender()
    assert story.sent[0].give.signer == (signer := story.sent[0].give.signer)
    assert (signer.subject, signer.generation) == (f"webhook:{reply.webhook_id}", 1)


def test_a_rotated_secret_signs_what_is_sent_from_then_on():
    story = CallbackStory()
    webhook_id = story.webhook()
    story.make(story.job())
    reply = story.ask(RotateWebhook(webhook_id=webhook_id))
    assert isinstance(reply, WebhookIssued)
    assert reply.secret == f"whsec_webhook:{webhook_id}.2"
    story.sender()
    assert story.sent[0].give.signer.generation == 2


def test_the_receivers_of_jobs_have_one_secret_for_each_key():
    story = CallbackStory()
    alice = story.ask(create_key()).key_id
    story.make(story.job(Callback(url=URL), key_id=alice))
    story.sender()
    reply = story.ask(ShowCallbackSecret(key_id=alice))
    signer = story.sent[0].give.signer
    assert reply == CallbackSecret(secret=f"whsec_{signer.subject}.{signer.generation}")
    assert reply != story.ask(ShowCallbackSecret())


@pytest.mark.parametrize(("role", "hears"), [(Role.USER, 1), (Role.ADMIN, 3)])
def test_a_users_webhook_hears_of_its_own_jobs_and_an_admins_of_all(role, hears):
    story = CallbackStory()
    alice, bob = (story.ask(create_key(name, role)).key_id for name in ("alice", "bob"))
    story.webhook(key_id=alice, events=(CallbackEvent.JOB_CREATED,))
    for key_id in (alice, bob, None):
        story.job(key_id=key_id)
    assert len(story.deliveries()) == hears


def test_the_webhook_of_a_revoked_key_hears_nothing():
    story = CallbackStory()
    alice = story.ask(create_key(role=Role.ADMIN)).key_id
    story.webhook(key_id=alice, events=ALL)
    story.ask(RevokeKey(key_id=alice))
    story.webhook(key_id=KeyId("never"), events=ALL)
    story.job()
    assert not story.deliveries()


def test_a_deleted_webhook_takes_its_deliveries_along():
    story = CallbackStory()
    webhook_id = story.webhook(events=ALL)
    story.make(story.job())
    story.sender()
    story.ask(DeleteWebhook(webhook_id=webhook_id))
    assert not story.database.deliveries
    assert not story.broker.world.deliveries.rows
    story.answer(next(iter(story.under_way)), 500)
    story.wait(100.0)
    assert not story.database.deliveries, "what is said of it later is ignored"


def test_a_test_is_sent():
    story = CallbackStory()
    reply = story.ask(TestWebhook(webhook_id=story.webhook()))
    assert isinstance(reply, DeliveryQueued)
    story.sender()
    assert (story.kinds(), story.sent[0].body["data"]) == (["webhook.test"], None)
    story.deliver_all()
    assert story.database.deliveries[reply.delivery_id].status is DeliveryState.DELIVERED


def test_what_was_delivered_is_sent_again_under_its_id_and_not_while_it_is_tried():
    story = story_with_a_job(Callback(url=URL))
    delivery_id = story.sent[0].give.delivery_id
    assert story.refusal(Redeliver(delivery_id=delivery_id)).code == "illegal_move"
    story.deliver_all()
    assert story.ask(Redeliver(delivery_id=delivery_id)) == DeliveryQueued(delivery_id=delivery_id)
    story.sender()
    assert [sent.give.delivery_id for sent in story.sent] == [delivery_id] * 2
    assert story.under_way[delivery_id].attempt == 1, "a new series"


def test_unknown_ones_are_refused():
    story = CallbackStory()
    nothing = WebhookId("nothing")
    for ask in (EditWebhook, RotateWebhook, DeleteWebhook, TestWebhook):
        assert story.refusal(ask(webhook_id=nothing)).code == "webhook_not_found"
    assert story.refusal(Redeliver(delivery_id=DeliveryId("nothing"))).code == "delivery_not_found"


def test_there_may_be_so_many_webhooks():
    story = CallbackStory()
    for _ in range(MAX_WEBHOOKS):
        story.webhook()
    assert story.refusal(CreateWebhook(url=URL)).code == "too_many_webhooks"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://user:pass@example.org/",
        "https://user@example.org/",
        "https://@example.org/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://exa mple.org/",
        "http://example.org/\r\nX: y",
        "http://example.org\\@evil.example/",
        "http://[::1%25eth0]/",
        "http://[::1/",
        "http://example.org:99999/",
        "http://example.org:0/",
        "http:///nothing",
        "//example.org/",
        "https://ex\u00e4mple.org/",
        "https://example.org/\u2028",
    ],
)
def test_what_is_no_receiver_is_refused(url):
    story = CallbackStory()
    refused = story.refusal(replace(submit(story.engine_id), callback=Callback(url=url)))
    assert (refused.code, refused.fields[0].field) == ("invalid_field", "callback_url")
    assert story.refusal(CreateWebhook(url=url)).fields[0].field == "url"


def test_a_stopping_manager_sends_nothing_more_and_the_next_one_does():
    story = CallbackStory()
    story.make(story.job(Callback(url=URL)))
    story.ask(client.Shutdown())
    assert not only(story.wait(1.0), actions.LaunchWorker)
    story.begin()
    story.sender()
    assert story.kinds() == ["job.finished"]
