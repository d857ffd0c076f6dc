"""Commands on webhooks and deliveries: create, edit, rotate, delete, test, send again.

A secret is derived (`kernel/protocol/webhooks.py:signing_key`), leaves in one reply, and is stored nowhere.
"""

from typing import Final

from msgspec.structs import replace

from kernel.core import due
from kernel.core.events import Facts
from kernel.core.state import callback_log, transitions
from kernel.core.state.delivery_queue import MAX_OPEN
from kernel.core.state.world import World
from kernel.protocol import client
from kernel.protocol.enums import DeliveryState
from kernel.protocol.errors import DeliveryNotFound, IllegalMove, TooManyWebhooks, WebhookNotFound
from kernel.protocol.ids import WebhookId
from kernel.protocol.rows import WebhookRow
from kernel.protocol.webhooks import (
    TEST_EVENT,
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
    body_of,
    signer_of,
    signer_of_jobs,
)

MAX_WEBHOOKS: Final = 200
"""Each event of a job looks at all of them."""


def create(world: World, ask: CreateWebhook) -> WebhookIssued:
    """Subscribe a receiver.

    Raises: TooManyWebhooks.
    """
    if len(world.webhooks) >= MAX_WEBHOOKS:
        raise TooManyWebhooks(f"there are {MAX_WEBHOOKS} webhooks already: delete one first")
    row = WebhookRow(
        webhook_id=WebhookId(world.id_source.id()),
        url=ask.url,
        events=tuple(dict.fromkeys(ask.events)),
        created_at_ms=world.now.unix_ms,
        key_id=ask.key_id,
    )
    transitions.save_webhook(world, row)
    return _issued(world, row)


def edit(world: World, ask: EditWebhook) -> client.Done:
    """Change a webhook, and begin again with one that had ended. What waits already goes where it was to go.

    Raises: WebhookNotFound.
    """
    row = _webhook(world, ask.webhook_id)
    events = row.events if ask.events is None else tuple(dict.fromkeys(ask.events))
    edited = replace(row, url=ask.url or row.url, events=events, ended_at_ms=None)
    if edited != row:
        transitions.save_webhook(world, edited)
    return client.Done()


def rotate(world: World, ask: RotateWebhook) -> WebhookIssued:
    """Replace the secret.

    Raises: WebhookNotFound.
    """
    row = _webhook(world, ask.webhook_id)
    row = replace(row, generation=row.generation + 1)
    transitions.save_webhook(world, row)
    return _issued(world, row)


def delete(world: World, ask: DeleteWebhook) -> client.Done:
    """Raises: WebhookNotFound."""
    transitions.drop_webhook(world, _webhook(world, ask.webhook_id).webhook_id)
    world.timers.set(due.Callbacks(), world.now.mono_s)
    return client.Done()


def test(world: World, ask: TestWebhook) -> DeliveryQueued:
    """Send a test.

    Raises: WebhookNotFound; IllegalMove, if it has ended.
    """
    webhook = _webhook(world, ask.webhook_id)
    _check_active(webhook)
    row = callback_log.test_row(world, webhook, TEST_EVENT)
    callback_log.add(world, row, body_of(TEST_EVENT, world.now.unix_ms, None))
    return DeliveryQueued(delivery_id=row.delivery_id)


def redeliver(world: World, ask: Redeliver, facts: Facts) -> DeliveryQueued:
    """Send an ended delivery again, with a new series of attempts, to where it went before.

    Raises: DeliveryNotFound; IllegalMove, if it has not ended, its webhook has, or too many wait.
    """
    if ask.delivery_id in world.deliveries.rows:
        raise IllegalMove("the delivery has not ended: it is still being tried")
    if (row := facts.delivery) is None:
        raise DeliveryNotFound
    if row.webhook_id is not None:
        _check_active(_webhook(world, row.webhook_id))
    if not world.deliveries.has_room(row.url):
        raise IllegalMove(f"too many deliveries wait, of at most {MAX_OPEN}: try again later")
    world.last_delivery_seq += 1
    now_ms = world.now.unix_ms
    again = replace(row, seq=world.last_delivery_seq, since_ms=now_ms, attempts=0, next_at_ms=now_ms)
    transitions.move_delivery(world, replace(again, ended_at_ms=None), DeliveryState.WAITING)
    world.timers.set(due.Callbacks(), world.now.mono_s)
    return DeliveryQueued(delivery_id=row.delivery_id)


def show_secret(world: World, ask: ShowCallbackSecret) -> CallbackSecret:
    """The secret of the receivers that jobs name."""
    return CallbackSecret(secret=world.id_source.signing_secret(signer_of_jobs(ask.key_id)))


def _issued(world: World, row: WebhookRow) -> WebhookIssued:
    secret = world.id_source.signing_secret(signer_of(row.webhook_id, row.generation))
    return WebhookIssued(webhook_id=row.webhook_id, secret=secret)


def _webhook(world: World, webhook_id: WebhookId) -> WebhookRow:
    if (row := world.webhooks.get(webhook_id)) is None:
        raise WebhookNotFound
    return row


def _check_active(webhook: WebhookRow) -> None:
    if webhook.ended_at_ms is not None:
        raise IllegalMove("the webhook has ended, since its receiver answered 410: edit it to begin again")
