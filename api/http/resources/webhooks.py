"""/v1/webhooks, and the deliveries to webhooks and to the receivers that jobs name."""

import falcon

from api.http.contract.caller import caller_of
from api.http.contract.request_parsing import BodyReader, QueryReader, read_key, refuse_key
from api.http.contract.responses import send, send_nothing
from api.http.contract.webhook_types import (
    DeliveryPage,
    JobSecret,
    PageQuery,
    WebhookEdit,
    WebhookInput,
    WebhookPage,
    check_webhook,
    delivery_of,
    edit_webhook,
    new_webhook,
    webhook_of,
)
from api.port import BusPort
from kernel.protocol.client import Done
from kernel.protocol.errors import DeliveryNotFound, JobNotFound, WebhookNotFound
from kernel.protocol.ids import DeliveryId, JobId, WebhookId
from kernel.protocol.rows import DeliveryRow, WebhookRow
from kernel.protocol.webhooks import (
    CallbackSecret,
    CreateWebhook,
    DeleteWebhook,
    DeliveryQueued,
    Redeliver,
    RotateWebhook,
    ShowCallbackSecret,
    TestWebhook,
    WebhookIssued,
)
from kernel.views.jobs import find_job
from kernel.views.page import Page
from kernel.views.reader import Reader
from kernel.views.webhooks import (
    deliveries_of_job,
    deliveries_of_webhook,
    find_delivery,
    find_webhook,
    list_webhooks,
)


class Webhooks:
    """Create, list, show, edit, rotate, test and delete webhooks; read deliveries, and repeat them.

    A user's webhooks are those of its key, and so are a user's deliveries; an admin has all.
    """

    def __init__(self, bus: BusPort, reader: Reader) -> None:
        self._bus = bus
        self._reader = reader
        self._body = BodyReader(WebhookInput, frozenset(), check_webhook)
        self._edit_body = BodyReader(WebhookEdit, frozenset(), check_webhook)
        self._page_query = QueryReader(PageQuery)

    def create(self, req: falcon.Request, resp: falcon.Response) -> None:
        found, caller = self._body.read(req), caller_of(req)
        ask = CreateWebhook(url=found.url, events=found.events, key_id=caller.key_id)
        self._send_issued(req, resp, ask, 201)

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = self._page_query.read(req)
        page = list_webhooks(self._reader, caller_of(req).sees_only, query.limit, query.after)
        send(resp, 200, WebhookPage(items=tuple(map(webhook_of, page.items)), next=page.next_after))

    def show(self, req: falcon.Request, resp: falcon.Response, webhook_id: str) -> None:
        send(resp, 200, webhook_of(self._find(req, webhook_id)))

    def edit(self, req: falcon.Request, resp: falcon.Response, webhook_id: str) -> None:
        """Repeating it changes nothing, so it takes no key."""
        refuse_key(req)
        found = self._find(req, webhook_id).webhook_id
        self._bus.ask(edit_webhook(self._edit_body.read(req), found), Done)
        send(resp, 200, webhook_of(self._find(req, found)))

    def rotate(self, req: falcon.Request, resp: falcon.Response, webhook_id: str) -> None:
        self._send_issued(req, resp, RotateWebhook(webhook_id=self._find(req, webhook_id).webhook_id), 200)

    def delete(self, req: falcon.Request, resp: falcon.Response, webhook_id: str) -> None:
        self._bus.ask(DeleteWebhook(webhook_id=self._find(req, webhook_id).webhook_id), Done)
        send_nothing(resp)

    def test(self, req: falcon.Request, resp: falcon.Response, webhook_id: str) -> None:
        """202: the test is on its way; its delivery tells what becomes of it."""
        ask = TestWebhook(webhook_id=self._find(req, webhook_id).webhook_id)
        queued = self._bus.ask(ask, DeliveryQueued, read_key(req))
        self._send_delivery(resp, queued.delivery_id)

    def list_deliveries(self, req: falcon.Request, resp: falcon.Response, webhook_id: str) -> None:
        query, found = self._page_query.read(req), self._find(req, webhook_id).webhook_id
        _send_page(resp, deliveries_of_webhook(self._reader, found, query.limit, query.after))

    def redeliver(
        self, req: falcon.Request, resp: falcon.Response, webhook_id: str, delivery_id: str
    ) -> None:
        found = self._find(req, webhook_id).webhook_id
        row = find_delivery(self._reader, DeliveryId(delivery_id))
        self._send_again(req, resp, row if row is not None and row.webhook_id == found else None)

    def list_of_job(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        query, found = self._page_query.read(req), self._find_job(req, job_id)
        _send_page(resp, deliveries_of_job(self._reader, found, query.limit, query.after))

    def redeliver_of_job(
        self, req: falcon.Request, resp: falcon.Response, job_id: str, delivery_id: str
    ) -> None:
        found = self._find_job(req, job_id)
        row = find_delivery(self._reader, DeliveryId(delivery_id))
        is_its_own = row is not None and row.webhook_id is None and row.job_id == found
        self._send_again(req, resp, row if is_its_own else None)

    def show_secret(self, req: falcon.Request, resp: falcon.Response) -> None:
        """That of the receivers which jobs of the caller's key name."""
        found = self._bus.ask(ShowCallbackSecret(key_id=caller_of(req).key_id), CallbackSecret)
        resp.set_header("Cache-Control", "no-store")
        send(resp, 200, JobSecret(secret=found.secret))

    def _send_issued(
        self, req: falcon.Request, resp: falcon.Response, ask: CreateWebhook | RotateWebhook, status: int
    ) -> None:
        issued = self._bus.ask(ask, WebhookIssued, read_key(req))
        resp.set_header("Cache-Control", "no-store")
        send(resp, status, new_webhook(self._find(req, issued.webhook_id), issued.secret))

    def _send_again(self, req: falcon.Request, resp: falcon.Response, row: DeliveryRow | None) -> None:
        if row is None:
            raise DeliveryNotFound
        self._bus.ask(Redeliver(delivery_id=row.delivery_id), DeliveryQueued, read_key(req))
        self._send_delivery(resp, row.delivery_id)

    def _send_delivery(self, resp: falcon.Response, delivery_id: DeliveryId) -> None:
        row = find_delivery(self._reader, delivery_id)
        if row is None:
            raise DeliveryNotFound
        send(resp, 202, delivery_of(row))

    def _find(self, req: falcon.Request, webhook_id: str) -> WebhookRow:
        """Raises: WebhookNotFound, also for one that the caller does not see."""
        row = find_webhook(self._reader, WebhookId(webhook_id))
        if row is None or not caller_of(req).sees(row.key_id):
            raise WebhookNotFound(f"no webhook has the id {webhook_id!r}")
        return row

    def _find_job(self, req: falcon.Request, job_id: str) -> JobId:
        """Raises: JobNotFound, also for one that the caller does not see."""
        row = find_job(self._reader, JobId(job_id))
        if row is None or not caller_of(req).sees(row.key_id):
            raise JobNotFound(f"no job has the id {job_id!r}")
        return row.job_id


def _send_page(resp: falcon.Response, page: Page[DeliveryRow]) -> None:
    send(resp, 200, DeliveryPage(items=tuple(map(delivery_of, page.items)), next=page.next_after))
