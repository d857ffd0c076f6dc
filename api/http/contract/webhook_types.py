"""Webhooks and deliveries in HTTP requests and responses."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from api.http.contract.constraints import Limit
from api.http.contract.responses import moment, moment_or_none
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.enums import CallbackEvent, DeliveryState, WebhookState
from kernel.protocol.ids import WebhookId
from kernel.protocol.rows import DeliveryRow, WebhookRow
from kernel.protocol.webhooks import ENDS, CallbackEvents, CallbackUrl, EditWebhook, check_receiver


class WebhookInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A receiver to be told of events: by default, of the end of jobs."""

    url: CallbackUrl
    events: CallbackEvents = ENDS


class WebhookEdit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change of a webhook. One that has ended is active again, also if nothing changes."""

    url: CallbackUrl | UnsetType = UNSET
    events: CallbackEvents | UnsetType = UNSET


class PageQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of the list."""

    limit: Limit = 50
    after: str | None = None


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription. It has ended if its receiver answered 410 (Gone)."""

    webhook_id: str
    url: str
    events: tuple[CallbackEvent, ...]
    status: WebhookState
    key_id: str | None
    """The API key that it belongs to."""
    created_at: datetime
    ended_at: datetime | None


class NewWebhook(Webhook, frozen=True, kw_only=True):
    """A webhook that was just created, or has a new secret."""

    secret: str | None
    """`whsec_...`, this once; null if the request was sent again: then rotate it."""


class WebhookPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of webhooks, newest first; `next` is the cursor of the next page."""

    items: tuple[Webhook, ...]
    next: str | None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent to one receiver about one event, until it answers 2xx. `delivery_id` is its header
    `webhook-id`."""

    delivery_id: str
    event: str
    url: str
    webhook_id: str | None
    """Null: it is for the job's own receiver."""
    job_id: str | None
    """Null: a test."""
    status: DeliveryState
    attempts: int
    answered: int | None
    """The HTTP status of the last attempt."""
    error: str | None
    """Why the last attempt failed."""
    created_at: datetime
    next_at: datetime | None
    """When the next attempt is made."""
    ended_at: datetime | None


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of deliveries, newest first; `next` is the cursor of the next page."""

    items: tuple[Delivery, ...]
    next: str | None


class JobSecret(msgspec.Struct, frozen=True, kw_only=True):
    """The secret of the receivers that your jobs name."""

    secret: str


def check_webhook(found: WebhookInput | WebhookEdit, faults: ValidationErrors) -> None:
    """Check where a webhook goes."""
    check_callback_url("url", None if found.url is UNSET else found.url, faults)


def check_callback_url(field: str, url: str | None, faults: ValidationErrors) -> None:
    """Check that this can be a receiver."""
    if url is not None and (problem := check_receiver(url)) is not None:
        faults.wrong(field, problem)


def edit_webhook(found: WebhookEdit, webhook_id: WebhookId) -> EditWebhook:
    """The command for a checked change."""
    return EditWebhook(
        webhook_id=webhook_id,
        url=None if found.url is UNSET else found.url,
        events=None if found.events is UNSET else found.events,
    )


def webhook_of(row: WebhookRow) -> Webhook:
    """A row as it is shown."""
    return Webhook(
        webhook_id=row.webhook_id,
        url=row.url,
        events=row.events,
        status=WebhookState.ACTIVE if row.ended_at_ms is None else WebhookState.ENDED,
        key_id=row.key_id,
        created_at=moment(row.created_at_ms),
        ended_at=moment_or_none(row.ended_at_ms),
    )


def new_webhook(row: WebhookRow, secret: str | None) -> NewWebhook:
    """A row with its secret."""
    return NewWebhook(**asdict(webhook_of(row)), secret=secret)


def delivery_of(row: DeliveryRow) -> Delivery:
    """A row as it is shown."""
    return Delivery(
        delivery_id=row.delivery_id,
        event=row.event,
        url=row.url,
        webhook_id=row.webhook_id,
        job_id=row.job_id,
        status=row.status,
        attempts=row.attempts,
        answered=row.answered,
        error=row.error,
        created_at=moment(row.created_at_ms),
        next_at=moment_or_none(row.next_at_ms),
        ended_at=moment_or_none(row.ended_at_ms),
    )
