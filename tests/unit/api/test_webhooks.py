"""/v1/webhooks and deliveries: what each request asks of the Manager, what it shows, and to whom."""

from typing import Any, Final

import falcon.testing
import pytest

from kernel.protocol.client import Done
from kernel.protocol.enums import CallbackEvent, Role
from kernel.protocol.errors import IllegalMove, TooManyWebhooks
from kernel.protocol.ids import DeliveryId, WebhookId
from kernel.protocol.webhooks import (
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
from tests.unit.api.stage import Stage, fields_of
from tests.unit.api.test_access import bearer

SECRET: Final = "whsec_MTIz"
URL: Final = "https://a.example/hook"
MISSING: Final = (404, "webhook_not_found")


class Shared:
    """A server whose users alice and bob have a webhook and a job each, with deliveries of both."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.bus = stage, stage.bus
        roles = {"alice": Role.USER, "bob": Role.USER, "eve": Role.VIEWER, "root": Role.ADMIN}
        self.headers = {name: bearer(stage.add_key(name, role)) for name, role in roles.items()}
        stage.database.add_model("m1")
        stage.database.add_engine("e1")
        for number, name in enumerate(("alice", "bob")):
            key_id = stage.keys[name]
            stage.database.add_webhook(f"w-{name}", key_id=key_id, created_at_ms=number, url=URL)
            stage.database.add_job(number, f"j-{name}", key_id=key_id)
            sent = {"key_id": key_id, "job_id": f"j-{name}"}
            stage.database.add_delivery(10 * number, f"d-{name}", webhook_id=f"w-{name}", **sent)
            stage.database.add_delivery(10 * number + 1, f"own-{name}", **sent)

    def ask(self, name: str, method: str, path: str, json: Any = None) -> falcon.testing.Result:
        return self.stage.call(method, path, json, headers=dict(self.headers[name]))

    def refusal(self, name: str, method: str, path: str, json: Any = None) -> tuple[int, str]:
        result = self.ask(name, method, path, json)
        return result.status_code, result.json["code"]


@pytest.fixture
def shared(stage: Stage) -> Shared:
    return Shared(stage)


def issued(secret: str | None = SECRET) -> WebhookIssued:
    return WebhookIssued(webhook_id=WebhookId("w-alice"), secret=secret)


def test_a_webhook_is_created_for_the_key_that_asks_and_its_secret_shown_once(shared: Shared) -> None:
    shared.bus.reactions[CreateWebhook] = issued()
    made = shared.ask("alice", "POST", "/v1/webhooks", {"url": URL, "events": ["job.failed"]})
    assert (made.status_code, made.json["secret"], made.json["url"]) == (201, SECRET, URL)
    assert made.headers["cache-control"] == "no-store"
    assert shared.stage.last_ask == CreateWebhook(
        url=URL, events=(CallbackEvent.JOB_FAILED,), key_id=shared.stage.keys["alice"]
    )
    shared.bus.reactions[CreateWebhook] = issued(None)
    assert shared.ask("alice", "POST", "/v1/webhooks", {"url": URL}).json["secret"] is None
    assert "secret" not in shared.ask("alice", "GET", "/v1/webhooks/w-alice").json


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://a.example"}, "url"),
        ({"url": "https://user:pw@a.example"}, "url"),
        ({"url": URL, "events": ["job.exploded"]}, "events[0]"),
        ({"url": URL, "secret": "whsec_x"}, "secret"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_asked(shared: Shared, body: Any, field: str) -> None:
    assert field in fields_of(shared.ask("alice", "POST", "/v1/webhooks", body))
    assert shared.bus.asked == []


def test_a_refusal_of_the_manager_is_passed_on(shared: Shared) -> None:
    shared.bus.reactions[CreateWebhook] = TooManyWebhooks()
    assert shared.refusal("alice", "POST", "/v1/webhooks", {"url": URL})[1] == TooManyWebhooks.code


@pytest.mark.parametrize(
    ("name", "ids"), [("alice", ["w-alice"]), ("bob", ["w-bob"]), ("root", ["w-bob", "w-alice"])]
)
def test_users_see_their_own_webhooks_and_admins_all(shared: Shared, name: str, ids: list[str]) -> None:
    listed = shared.ask(name, "GET", "/v1/webhooks").json
    assert ([one["webhook_id"] for one in listed["items"]], listed["next"]) == (ids, None)
    for webhook_id in ("w-alice", "w-bob"):
        expected = 200 if webhook_id in ids else 404
        assert shared.ask(name, "GET", f"/v1/webhooks/{webhook_id}").status_code == expected


def test_a_list_goes_on_after_its_page(shared: Shared) -> None:
    shared.stage.database.connection.execute("DELETE FROM webhook")
    ids = [f"019b0000-0000-7000-8000-{number:012}" for number in range(2)]
    for webhook_id in ids:
        shared.stage.database.add_webhook(webhook_id)
    page: dict[str, Any] = {"headers": shared.headers["root"], "params": {"limit": 1}}
    first = shared.stage.get("/v1/webhooks", **page).json
    page["params"]["after"] = first["next"]
    rest = shared.stage.get("/v1/webhooks", **page).json
    assert [one["webhook_id"] for one in (*first["items"], *rest["items"])] == ids[::-1]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ({}, {}),
        ({"url": "https://b.example/"}, {"url": "https://b.example/"}),
        ({"events": ["job.created"]}, {"events": (CallbackEvent.JOB_CREATED,)}),
    ],
)
def test_an_edit_changes_what_it_names_alone(
    shared: Shared, body: dict[str, Any], changed: dict[str, Any]
) -> None:
    shared.bus.reactions[EditWebhook] = Done()
    assert shared.ask("alice", "PATCH", "/v1/webhooks/w-alice", body).status_code == 200
    assert shared.stage.last_ask == EditWebhook(webhook_id=WebhookId("w-alice"), **changed)


def test_an_edit_takes_no_key_and_no_wrong_url(shared: Shared) -> None:
    wrong = shared.ask("alice", "PATCH", "/v1/webhooks/w-alice", {"url": "x"})
    assert "url" in fields_of(wrong)
    shared.headers["alice"]["Idempotency-Key"] = "k"
    assert shared.ask("alice", "PATCH", "/v1/webhooks/w-alice", {"url": URL}).status_code == 422
    assert shared.bus.asked == []


def test_a_secret_is_replaced_a_webhook_tested_and_deleted(shared: Shared) -> None:
    found = WebhookId("w-alice")
    shared.bus.reactions |= {
        RotateWebhook: issued(),
        TestWebhook: DeliveryQueued(delivery_id=DeliveryId("d-alice")),
        DeleteWebhook: Done(),
    }
    rotated = shared.ask("alice", "POST", "/v1/webhooks/w-alice/rotate")
    assert (rotated.status_code, rotated.json["secret"]) == (200, SECRET)
    assert rotated.headers["cache-control"] == "no-store"
    tested = shared.ask("alice", "POST", "/v1/webhooks/w-alice/test")
    assert (tested.status_code, tested.json["delivery_id"]) == (202, "d-alice")
    assert shared.ask("alice", "DELETE", "/v1/webhooks/w-alice").status_code == 204
    assert shared.bus.asked == [
        RotateWebhook(webhook_id=found), TestWebhook(webhook_id=found), DeleteWebhook(webhook_id=found)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("POST", "/rotate", None),
        ("POST", "/test", None),
        ("GET", "/deliveries", None),
        ("POST", "/deliveries/d-bob/redeliver", None),
    ],
)
def test_a_webhook_of_somebody_else_is_as_one_that_does_not_exist(
    shared: Shared, method: str, path: str, body: Any
) -> None:
    for webhook_id in ("w-bob", "absent"):
        assert shared.refusal("alice", method, f"/v1/webhooks/{webhook_id}{path}", body) == MISSING
    assert shared.bus.asked == []


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_viewer_changes_nothing(shared: Shared, method: str) -> None:
    path = "/v1/webhooks" if method == "POST" else "/v1/webhooks/w-alice"
    assert shared.refusal("eve", method, path, {"url": URL}) == (403, "key_not_allowed")
    assert shared.bus.asked == []


@pytest.mark.parametrize(
    ("path", "delivery"),
    [("/v1/webhooks/w-alice/deliveries", "d-alice"), ("/v1/jobs/j-alice/deliveries", "own-alice")],
)
def test_deliveries_are_listed_and_sent_again_where_they_belong(
    shared: Shared, path: str, delivery: str
) -> None:
    shared.bus.reactions[Redeliver] = DeliveryQueued(delivery_id=DeliveryId(delivery))
    listed = shared.ask("alice", "GET", path).json["items"]
    assert [(one["delivery_id"], one["job_id"]) for one in listed] == [(delivery, "j-alice")]
    again = shared.ask("alice", "POST", f"{path}/{delivery}/redeliver")
    assert (again.status_code, again.json["delivery_id"]) == (202, delivery)
    assert shared.bus.asked == [Redeliver(delivery_id=DeliveryId(delivery))]


@pytest.mark.parametrize("delivery", ["own-alice", "d-bob", "own-bob", "absent"])
def test_a_delivery_is_found_at_its_own_webhook_alone(shared: Shared, delivery: str) -> None:
    path = f"/v1/webhooks/w-alice/deliveries/{delivery}/redeliver"
    assert shared.refusal("alice", "POST", path) == (404, "delivery_not_found")
    assert shared.bus.asked == []


@pytest.mark.parametrize("delivery", ["d-alice", "d-bob", "own-bob", "absent"])
def test_a_delivery_is_found_at_its_own_job_alone(shared: Shared, delivery: str) -> None:
    path = f"/v1/jobs/j-alice/deliveries/{delivery}/redeliver"
    assert shared.refusal("alice", "POST", path) == (404, "delivery_not_found")
    assert shared.refusal("alice", "POST", path.replace("j-alice", "j-bob")) == (404, "job_not_found")
    assert shared.refusal("alice", "GET", "/v1/jobs/j-bob/deliveries") == (404, "job_not_found")
    assert shared.bus.asked == []


def test_what_has_not_ended_is_not_sent_again(shared: Shared) -> None:
    shared.bus.reactions[Redeliver] = IllegalMove("the delivery has not ended")
    path = "/v1/webhooks/w-alice/deliveries/d-alice/redeliver"
    assert shared.refusal("alice", "POST", path) == (409, "illegal_move")


def test_the_secret_of_jobs_is_that_of_the_key_that_asks(shared: Shared) -> None:
    shared.bus.reactions[ShowCallbackSecret] = CallbackSecret(secret=SECRET)
    shown = shared.ask("bob", "GET", "/v1/callbacks/secret")
    assert (shown.json, shown.headers["cache-control"]) == ({"secret": SECRET}, "no-store")
    assert shared.stage.last_ask == ShowCallbackSecret(key_id=shared.stage.keys["bob"])
