"""Webhooks, and deliveries to them and to the receivers that jobs name; newest first."""

from kernel.protocol.ids import DeliveryId, JobId, KeyId, WebhookId
from kernel.protocol.rows import DeliveryRow, WebhookRow
from kernel.views.page import Page, id_cursor, number_cursor, page_of
from kernel.views.reader import Reader, SqlValue


def find_webhook(reader: Reader, webhook_id: WebhookId) -> WebhookRow | None:
    """One webhook by its id."""
    return reader.one("webhook", WebhookRow, {"webhook_id": webhook_id})


def list_webhooks(
    reader: Reader, key_id: KeyId | None, limit: int, after: str | None = None
) -> Page[WebhookRow]:
    """A page of the webhooks of one API key; None: of all.

    Raises: InvalidField, if `after` is not a cursor.
    """
    values = {"key_id": key_id, "after": id_cursor(after), "limit": limit + 1}
    return page_of(reader.all("webhooks", WebhookRow, values), limit, lambda row: row.webhook_id)


def find_delivery(reader: Reader, delivery_id: DeliveryId) -> DeliveryRow | None:
    """One delivery by its id."""
    return reader.one("delivery", DeliveryRow, {"delivery_id": delivery_id})


def deliveries_of_webhook(
    reader: Reader, webhook_id: WebhookId, limit: int, after: str | None = None
) -> Page[DeliveryRow]:
    """A page of what is sent to a webhook.

    Raises: InvalidField, if `after` is not a cursor.
    """
    values: dict[str, SqlValue] = {
        "webhook_id": webhook_id,
        "after": number_cursor(after),
        "limit": limit + 1,
    }
    return page_of(reader.all("deliveries_of_webhook", DeliveryRow, values), limit, lambda row: str(row.seq))


def deliveries_of_job(
    reader: Reader, job_id: JobId, limit: int, after: str | None = None
) -> Page[DeliveryRow]:
    """A page of what is sent to the receiver that a job names.

    Raises: InvalidField, if `after` is not a cursor.
    """
    values: dict[str, SqlValue] = {"job_id": job_id, "after": number_cursor(after), "limit": limit + 1}
    return page_of(reader.all("deliveries_of_job", DeliveryRow, values), limit, lambda row: str(row.seq))
