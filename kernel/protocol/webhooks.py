"""Callbacks: what is sent to receivers, how it is signed, and the messages about them.

A *webhook* is a subscription; a job may also name a receiver of its own. What goes to one receiver about one
event is a *delivery*. Signatures follow Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256
over `id.timestamp.body`. No secret is stored: each is derived from one private file (adr/0069).
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from kernel.protocol.enums import CallbackEvent, JobState
from kernel.protocol.ids import DeliveryId, EngineId, ImageId, JobId, KeyId, WebhookId
from kernel.protocol.sources import BadSource, check_url

SECRET_PREFIX: Final = "whsec_"
MAX_IMAGES: Final = 100
"""Images that one body names; `image_count` tells how many there are."""
MAX_ERROR: Final = 2_000
TEST_EVENT: Final = "webhook.test"

CallbackUrl = Annotated[str, Meta(min_length=1, max_length=2_048)]
CallbackEvents = Annotated[tuple[CallbackEvent, ...], Meta(min_length=1, max_length=len(CallbackEvent))]
ENDS: Final = (CallbackEvent.JOB_FINISHED, CallbackEvent.JOB_FAILED, CallbackEvent.JOB_CANCELLED)
"""The events of a receiver that names none."""


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """A job's own receiver."""

    url: CallbackUrl
    events: CallbackEvents = ENDS


# What is sent.


class CallbackImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is stored."""

    image_id: ImageId
    url: str
    """Where it is downloaded; a path, unless `callbacks.base_url` is set."""


class CallbackError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job failed."""

    code: str
    detail: str


class CallbackJob(msgspec.Struct, frozen=True, kw_only=True):
    """The job that an event is about, as it was then."""

    job_id: JobId
    engine_id: EngineId
    status: JobState
    images: tuple[CallbackImage, ...] = ()
    image_count: int = 0
    error: CallbackError | None = None


class CallbackBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a delivery."""

    type: str
    timestamp: str
    """When it happened: ISO 8601, UTC."""
    data: CallbackJob | None = None
    """None in a test."""


def body_of(event: str, at_ms: int, data: CallbackJob | None) -> str:
    """The body of a delivery as JSON. It is fixed when the event happens."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    body = CallbackBody(type=event, timestamp=moment.replace("+00:00", "Z"), data=data)
    return msgspec.json.encode(body).decode()


# How it is signed.


class Signer(msgspec.Struct, frozen=True):
    """Names the secret that a callback is signed with."""

    subject: str
    generation: int = 1


def signer_of(webhook_id: WebhookId, generation: int) -> Signer:
    """A webhook has a secret of its own."""
    return Signer(f"webhook:{webhook_id}", generation)


def signer_of_jobs(key_id: KeyId | None) -> Signer:
    """The receivers that jobs name share one secret for each API key."""
    return Signer(f"jobs:{key_id or ''}")


def signing_key(master: bytes, signer: Signer) -> bytes:
    """The key that a secret stands for: 32 bytes, derived from the installation's master key."""
    named = f"automatic-spoon callbacks\n{signer.generation}\n{signer.subject}"
    return hmac.digest(master, named.encode(), hashlib.sha256)


def secret_text(key: bytes) -> str:
    """A signing key as its receiver keeps it. Secret."""
    return SECRET_PREFIX + b64encode(key).decode()


def key_in(secret: str) -> bytes:
    """The signing key in `whsec_...`.

    Raises: ValueError, if it is malformed.
    """
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(f"the secret must begin with {SECRET_PREFIX}")
    return b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)


def signature_of(key: bytes, delivery_id: str, at_s: int, body: str) -> str:
    """The value of the header `webhook-signature`."""
    signed = hmac.digest(key, f"{delivery_id}.{at_s}.{body}".encode(), hashlib.sha256)
    return f"v1,{b64encode(signed).decode()}"


def signed_headers(key: bytes, delivery_id: str, at_s: int, body: str) -> dict[str, str]:
    """The headers of one attempt. Units: `at_s` in seconds since 1970 UTC."""
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": signature_of(key, delivery_id, at_s, body),
    }


# Where it goes.


def check_receiver(url: str) -> str | None:
    """Why this cannot be a receiver's URL; None, if it can. Where its host leads is checked when it is
    connected."""
    if "@" in urlsplit_or_none(url):
        return "must not contain a user name or password: the receiver checks the signature instead"
    try:
        check_url(url)
    except BadSource as error:
        return str(error)
    return None if url.isascii() else "must be written in ASCII: percent-encode other characters"


def urlsplit_or_none(url: str) -> str:
    """The host of a URL with everything before the path; empty, if it has none that can be read."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


# Messages.


class CreateWebhook(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Subscribe a receiver to events. Its secret is in the first reply alone."""

    url: CallbackUrl
    events: CallbackEvents = ENDS
    key_id: KeyId | None = None
    """The API key that it belongs to: with the role user, it hears of that key's jobs."""


class EditWebhook(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Change a webhook; None leaves a value as it is. One that has ended is active again."""

    webhook_id: WebhookId
    url: CallbackUrl | None = None
    events: CallbackEvents | None = None


class RotateWebhook(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Replace the secret of a webhook, also for what was not delivered yet."""

    webhook_id: WebhookId


class DeleteWebhook(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Forget a webhook, with its deliveries."""

    webhook_id: WebhookId


class TestWebhook(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Send a test to a webhook."""

    __test__ = False  # pytest takes it for a class of tests

    webhook_id: WebhookId


class Redeliver(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Send again what was delivered, or could not be."""

    delivery_id: DeliveryId


class ShowCallbackSecret(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Tell the secret that the callbacks of jobs with this API key are signed with."""

    key_id: KeyId | None = None


WebhookAsk = (
    CreateWebhook | EditWebhook | RotateWebhook | DeleteWebhook | TestWebhook | Redeliver | ShowCallbackSecret
)


class WebhookIssued(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A webhook was created, or has a new secret."""

    webhook_id: WebhookId
    secret: str | None = None
    """`whsec_...`. The Manager does not store it: None, if the command was sent again."""


class CallbackSecret(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The secret of the callbacks of jobs."""

    secret: str


class DeliveryQueued(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The delivery waits to be sent."""

    delivery_id: DeliveryId


WebhookReply = WebhookIssued | CallbackSecret | DeliveryQueued
