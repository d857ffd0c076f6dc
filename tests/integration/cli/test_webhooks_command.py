"""`spoon webhooks` against a server, and the receiver of `listen` over a real socket."""

import json
import threading

import httpx
import pytest

from api.cli.client.callback_receiver import Arrived, open_receiver
from kernel.protocol.webhooks import secret_text, signed_headers
from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, FakeApi

KEY = b"k" * 32
WEBHOOK = {
    "webhook_id": "w1",
    "url": "https://a.example/",
    "events": ["job.finished"],
    "status": "active",
    "created_at": "2026-12-01T02:03:04Z",
}
DELIVERY = {
    "delivery_id": "d1",
    "event": "job.finished",
    "job_id": "j1",
    "status": "failed",
    "attempts": 11,
    "error": "the receiver answered 404",
    "created_at": "2026-12-01T02:03:04Z",
}


def test_the_secret_is_alone_on_stdout(spoon: Spoon, api: FakeApi) -> None:
    api.on("POST", "/v1/webhooks", Answer(201, WEBHOOK | {"secret": "whsec_MTIz"}))
    ended = spoon("webhooks", "create", "https://a.example/", "--event", "job.finished")
    assert ended.out == "whsec_MTIz\n"
    assert "w1" in ended.err
    assert api.asked[-1].body == {"url": "https://a.example/", "events": ["job.finished"]}


def test_webhooks_are_listed_shown_tested_and_deleted(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/webhooks", Answer(body={"items": [WEBHOOK], "next": None}))
    api.on("GET", "/v1/webhooks/w1", Answer(body=WEBHOOK))
    api.on("POST", "/v1/webhooks/w1/test", Answer(202, DELIVERY))
    api.on("DELETE", "/v1/webhooks/w1", Answer(204))
    assert spoon("webhooks", "list").out.splitlines()[1].split()[:3] == ["w1", "active", "job.finished"]
    assert json.loads(spoon("webhooks", "list", "--json").out) == [WEBHOOK]
    assert json.loads(spoon("webhooks", "show", "w1", "--json").out) == WEBHOOK
    assert spoon("webhooks", "test", "w1").out == "sending d1\n"
    assert spoon("webhooks", "delete", "w1").out == "deleted webhook w1\n"


def test_deliveries_are_listed_with_their_errors_and_sent_again(spoon: Spoon, api: FakeApi) -> None:
    path = "/v1/webhooks/w1/deliveries"
    api.on("GET", path, Answer(body={"items": [DELIVERY], "next": None}))
    api.on("POST", f"{path}/d1/redeliver", Answer(202, DELIVERY))
    assert "the receiver answered 404" in spoon("webhooks", "deliveries", "w1").out
    assert spoon("webhooks", "redeliver", "w1", "d1").out == "sending d1\n"


def test_what_was_sent_to_a_jobs_own_receiver_is_listed_and_sent_again(spoon: Spoon, api: FakeApi) -> None:
    path = "/v1/jobs/j1/deliveries"
    api.on("GET", path, Answer(body={"items": [DELIVERY], "next": None}))
    api.on("POST", f"{path}/d1/redeliver", Answer(202, DELIVERY))
    assert json.loads(spoon("webhooks", "deliveries", "--job", "j1", "--json").out) == [DELIVERY]
    assert spoon("webhooks", "redeliver", "j1", "d1", "--job").out == "sending d1\n"


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ((), {}),
        (("--url", "https://b.example/"), {"url": "https://b.example/"}),
        (
            ("--event", "job.failed", "--event", "job.created"),
            {"events": ["job.failed", "job.created"]},
        ),
    ],
)
def test_a_webhook_is_changed_in_what_is_named_alone(
    spoon: Spoon, api: FakeApi, options: tuple[str, ...], body: dict[str, object]
) -> None:
    api.on("PATCH", "/v1/webhooks/w1", Answer(body=WEBHOOK))
    ended = spoon("webhooks", "edit", "w1", *options)
    assert ended.out == "webhook w1 is active: job.finished to https://a.example/\n"
    assert api.asked[-1].body == body


def test_a_new_secret_is_alone_on_stdout_and_so_is_that_of_jobs(spoon: Spoon, api: FakeApi) -> None:
    api.on("POST", "/v1/webhooks/w1/rotate", Answer(body=WEBHOOK | {"secret": "whsec_bmV3"}))
    api.on("GET", "/v1/callbacks/secret", Answer(body={"secret": "whsec_am9icw"}))
    rotated = spoon("webhooks", "rotate", "w1")
    assert (rotated.out, "w1" in rotated.err) == ("whsec_bmV3\n", True)
    assert spoon("webhooks", "secret").out == "whsec_am9icw\n"


def test_an_unknown_event_is_a_mistake(spoon: Spoon) -> None:
    ended = spoon("webhooks", "create", "https://a.example/", "--event", "job.done")
    assert ended.code == 2
    assert "job.finished" in ended.err


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 204),
        ({"webhook-id": "other"}, 401),
        ({"webhook-timestamp": "1"}, 401),
        ({"webhook-timestamp": "x"}, 401),
        ({"webhook-signature": "v1,AAAA"}, 401),
        ({"webhook-signature": ""}, 401),
    ],
)
def test_the_receiver_takes_what_is_signed_alone(change: dict[str, str], status: int) -> None:
    came: list[Arrived] = []
    receiver = open_receiver(0, came.append, lambda: secret_text(KEY))
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    try:
        headers = signed_headers(KEY, "d1", 1_800_000_000, "{}") | change
        url = f"http://127.0.0.1:{receiver.server_port}/"
        answer = httpx.post(url, content=b"{}", headers=headers, trust_env=False)
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()
    assert (answer.status_code, [one.is_genuine for one in came]) == (status, [status == 204])
