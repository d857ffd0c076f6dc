"""Notes what receivers are to hear: a delivery for each that wants to hear of an event.

Called where rows change (`transitions`), so that a delivery is saved in the transaction of what it is about.
It only sets the deadline that has it sent.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from kernel.core import actions, due
from kernel.core.state.world import Job, World
from kernel.protocol.api_keys import key_state
from kernel.protocol.enums import CallbackEvent, DeliveryState, JobState, KeyState, Role
from kernel.protocol.ids import DeliveryId, ImageId, KeyId, WebhookId
from kernel.protocol.rows import DeliveryRow, JobRow, WebhookRow
from kernel.protocol.webhooks import MAX_IMAGES, CallbackError, CallbackImage, CallbackJob, body_of

EVENTS: Final[Mapping[JobState, CallbackEvent]] = {
    JobState.PROCESSING: CallbackEvent.JOB_STARTED,
    JobState.FINISHED: CallbackEvent.JOB_FINISHED,
    JobState.FAILED: CallbackEvent.JOB_FAILED,
    JobState.CANCELLED: CallbackEvent.JOB_CANCELLED,
}
TOO_MANY: Final = "too many deliveries wait to be sent: this one was not tried"


def job_moved(world: World, job: Job) -> None:
    """A job is in another state."""
    if (event := EVENTS.get(job.row.status)) is not None:
        job_happened(world, job, event)


def job_happened(world: World, job: Job, event: CallbackEvent, image_id: ImageId | None = None) -> None:
    """Something happened to a job, or to one image of it."""
    row = job.row
    if row.callback is None and not world.webhooks:
        return
    receivers = list(_receivers(world, row, event))
    if not receivers:
        return
    stored = [row.image_ids[n] for n in sorted(job.stored)] if image_id is None else [image_id]
    data = CallbackJob(
        job_id=row.job_id,
        engine_id=row.engine_id,
        status=row.status,
        images=tuple(_image(world, one) for one in stored[:MAX_IMAGES]),
        image_count=len(stored),
        error=CallbackError(code=row.error_code, detail=row.error or "")
        if event is CallbackEvent.JOB_FAILED and row.error_code is not None
        else None,
    )
    body = body_of(event, world.now.unix_ms, data)
    for webhook_id, url in receivers:
        add(world, _new_row(world, event, url, webhook_id=webhook_id, job=row), body)


def test_row(world: World, webhook: WebhookRow, event: str) -> DeliveryRow:
    """The delivery of a test."""
    return _new_row(world, event, webhook.url, webhook_id=webhook.webhook_id, key_id=webhook.key_id)


def add(world: World, row: DeliveryRow, body: str) -> None:
    """Save a new delivery, and have it sent; one for which there is no room is given up at once."""
    if world.deliveries.has_room(row.url):
        world.act(actions.AddDelivery(row, body))
        world.deliveries.put(row)
        world.timers.set(due.Callbacks(), world.now.mono_s)
    else:
        world.act(actions.AddDelivery(given_up(row, world.now.unix_ms, TOO_MANY), body))


def given_up(row: DeliveryRow, now_ms: int, why: str) -> DeliveryRow:
    """A delivery that is not tried any more."""
    return replace(row, status=DeliveryState.FAILED, next_at_ms=None, ended_at_ms=now_ms, error=why)


def _receivers(world: World, row: JobRow, event: CallbackEvent) -> Iterator[tuple[WebhookId | None, str]]:
    if row.callback is not None and event in row.callback.events:
        yield None, row.callback.url
    for webhook in world.webhooks.values():
        if event in webhook.events and webhook.ended_at_ms is None and _may_hear(world, webhook, row.key_id):
            yield webhook.webhook_id, webhook.url


def _may_hear(world: World, webhook: WebhookRow, key_id: KeyId | None) -> bool:
    """A webhook of a user hears of that key's jobs, others of all; none, once its key is not valid."""
    if webhook.key_id is None:
        return True
    if (key := world.keys.get(webhook.key_id)) is None:
        return False
    is_valid = key_state(key.expires_at_ms, key.revoked_at_ms, world.now.unix_ms) is KeyState.ACTIVE
    return is_valid and (key.role is not Role.USER or webhook.key_id == key_id)


def _image(world: World, image_id: ImageId) -> CallbackImage:
    base = (world.limits.callback_base_url or "").rstrip("/")
    return CallbackImage(image_id=image_id, url=f"{base}/v1/images/{image_id}/download")


def _new_row(
    world: World,
    event: str,
    url: str,
    *,
    webhook_id: WebhookId | None,
    job: JobRow | None = None,
    key_id: KeyId | None = None,
) -> DeliveryRow:
    world.last_delivery_seq += 1
    now_ms = world.now.unix_ms
    return DeliveryRow(
        delivery_id=DeliveryId(world.id_source.id()),
        seq=world.last_delivery_seq,
        event=event,
        url=url,
        status=DeliveryState.WAITING,
        created_at_ms=now_ms,
        since_ms=now_ms,
        webhook_id=webhook_id,
        job_id=None if job is None else job.job_id,
        key_id=key_id if job is None else job.key_id,
        next_at_ms=now_ms,
    )
