"""Database rows: one class for each table, for the core and the views. Times are ms since 1970 UTC."""

from msgspec import Struct

from kernel.protocol.api_keys import KeyLimits
from kernel.protocol.enums import (
    BlobKind,
    CallbackEvent,
    ChangeKind,
    ControlType,
    DeliveryState,
    EngineState,
    GoneReason,
    JobState,
    ModelBase,
    ModelState,
    ModelType,
    Role,
    Variant,
)
from kernel.protocol.ids import (
    BlobId,
    DeliveryId,
    EngineId,
    EventSeq,
    ImageId,
    JobId,
    KeyId,
    Lease,
    ModelId,
    TokenId,
    WebhookId,
)
from kernel.protocol.memory import MemoryProfile
from kernel.protocol.model_refs import Preparation
from kernel.protocol.specs import EngineSpec
from kernel.protocol.webhooks import Callback


class ModelRow(Struct, frozen=True):
    model_id: ModelId
    name: str
    uri: str
    status: ModelState
    model_type: ModelType
    model_base: ModelBase | None
    variant: Variant | None
    tags: tuple[str, ...]
    trigger_words: tuple[str, ...]
    declared_base: ModelBase | None
    declared_sha256: str | None
    created_at_ms: int
    error_code: str | None = None
    error: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    memory_bytes: int | None = None
    parameters: int | None = None
    prediction_type: str | None = None
    native_size_px: int | None = None
    control_type: ControlType | None = None
    memory: MemoryProfile | None = None
    found_words: tuple[str, ...] = ()
    """The trigger words in the model's own metadata; those that a person gave come first."""
    stored: str | None = None
    """Its name in the models folder; None for a model that is used in place."""
    revision: str | None = None
    warnings: tuple[str, ...] = ()
    """Of its inspection."""
    inspection_rules: int = 0
    """The version of the rules by which it was inspected."""
    beside: str | None = None
    """What the inspection found in a file beside it; None before."""
    preparation: Preparation | None = None
    thumbnail: str | None = None
    """The path of the image beside its file in one of models.folders."""


class ScannedFile(Struct, frozen=True):
    """A file in one of models.folders, or a folder that is one model, as it was last read."""

    path: str
    stamp: int
    """Changes with the file; 0: the file has gone, but its model is kept."""
    mark: str
    """The same for files with the same content; empty: not known."""
    model_id: ModelId | None = None
    code: str | None = None
    """Why it cannot be used; then the reason in words."""
    reason: str | None = None


class ScanRow(Struct, frozen=True, kw_only=True):
    """The last scan of models.folders. It runs, if it has begun and not ended."""

    began_at_ms: int | None = None
    ended_at_ms: int | None = None
    files: int = 0
    """That may be models, as listed at its beginning."""
    to_read: int = 0
    read: int = 0
    added: int = 0
    changed: int = 0
    moved: int = 0
    gone: int = 0
    absent: tuple[str, ...] = ()
    """Folders that could not be read."""
    error: str | None = None
    """Why it ended early."""

    @property
    def is_running(self) -> bool:
        return self.began_at_ms is not None and self.ended_at_ms is None


class EngineRow(Struct, frozen=True):
    engine_id: EngineId
    name: str | None
    spec: EngineSpec
    status: EngineState
    created_at_ms: int
    error_code: str | None = None
    error: str | None = None
    device: str | None = None
    memory_bytes: int | None = None
    started_at_ms: int | None = None
    waits_since_ms: int | None = None
    """When it began to wait for memory, or for a worker of its pool; None, if it does not wait."""
    waits_reason: str | None = None
    """For what an engine of a pool waits, for a person."""
    failing_since_ms: int | None = None
    """When it first went into error since it was last ready."""
    retry_at_ms: int | None = None
    """When an engine in error is tried again."""
    paused_since_ms: int | None = None
    """When a person paused its queue."""


CallGroup = tuple[int | None, int | None, tuple[ModelId, ...]]
"""The width, height and models of a job: those with the same ones can share calls of the UNet."""


class JobRow(Struct, frozen=True, gc=False):
    """A job without its spec: the part that the core keeps while it is open.

    The garbage collector need not look at the thousands that wait: values alone are in no cycle.
    """

    job_id: JobId
    seq: int
    engine_id: EngineId
    status: JobState
    priority: int
    seed: int
    image_ids: tuple[ImageId, ...]
    attempts: int
    crashes: int
    created_at_ms: int
    started_at_ms: int | None = None
    finished_at_ms: int | None = None
    error_code: str | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()
    expire_after_s: float | None = None
    delete_after_downloads: int | None = None
    models: tuple[ModelId, ...] = ()
    """Every model that the spec refers to: none of them can be deleted while the job is open."""
    give_up_after_s: float | None = None
    checkpoint: ModelId | None = None
    """That of the worker that has or had it, at last; None: it has not begun."""
    names_checkpoint: bool = False
    """It named its checkpoint instead of an engine, so that no other one will do."""
    key_id: KeyId | None = None
    """The API key that it was submitted with; None: without one."""
    callback: Callback | None = None
    """Its own receiver; None: it has none."""
    width_px: int | None = None
    height_px: int | None = None
    lease: Lease | None = None
    """Under which it was last given to a worker; None: never."""

    @property
    def group(self) -> CallGroup:
        return self.width_px, self.height_px, self.models


class ImageRow(Struct, frozen=True):
    image_id: ImageId
    job_id: JobId
    engine_id: EngineId
    position: int
    file_name: str
    mime: str
    width_px: int
    height_px: int
    size_bytes: int
    sha256: str
    seed: int
    downloads: int
    download_limit: int | None
    created_at_ms: int
    expires_at_ms: int | None
    gone_reason: GoneReason | None = None
    gone_at_ms: int | None = None
    checkpoint: ModelId | None = None
    """That it was made with; None: not known."""


class BlobRow(Struct, frozen=True):
    """A file of a job besides its images. It expires some time after the job has ended; None: not ended
    yet."""

    blob_id: BlobId
    job_id: JobId
    kind: BlobKind
    file_name: str
    mime: str
    size_bytes: int
    sha256: str
    created_at_ms: int
    expires_at_ms: int | None = None


class KeyRow(Struct, frozen=True):
    """An API key. Its secret is not kept: `digest` only recognizes it."""

    key_id: KeyId
    name: str
    role: Role
    digest: str
    created_at_ms: int
    issued_at_ms: int
    """When its present secret was made."""
    weight: int = 1
    limits: KeyLimits = KeyLimits()
    expires_at_ms: int | None = None
    revoked_at_ms: int | None = None


class WorkerTokenRow(Struct, frozen=True):
    """An enrollment token of a pool. Its secret is not kept: `digest` only recognizes it."""

    token_id: TokenId
    pool: str
    digest: str
    created_at_ms: int
    max_workers: int | None = None
    """At a time."""
    expires_at_ms: int | None = None
    revoked_at_ms: int | None = None
    used_at_ms: int | None = None
    """When a worker last joined with it."""


class KeyUseRow(Struct, frozen=True):
    """What an API key with a limit by the day has ordered in an hour since 1970 UTC."""

    key_id: KeyId
    hour: int
    images: int = 0
    pixels: int = 0


class WebhookRow(Struct, frozen=True):
    """A subscription. Its secret is not kept: it is derived from its id and `generation`."""

    webhook_id: WebhookId
    url: str
    events: tuple[CallbackEvent, ...]
    created_at_ms: int
    generation: int = 1
    key_id: KeyId | None = None
    """The API key that it belongs to; None: it was created without one."""
    ended_at_ms: int | None = None
    """When its receiver answered 410."""


class DeliveryRow(Struct, frozen=True, gc=False):
    """What is sent to one receiver about one event, without its body."""

    delivery_id: DeliveryId
    seq: int
    """Those of one job to one receiver are sent in this order. One that is sent again has a new one."""
    event: str
    url: str
    status: DeliveryState
    created_at_ms: int
    since_ms: int
    """When its present series of attempts began."""
    webhook_id: WebhookId | None = None
    """None: it is for the job's own receiver."""
    job_id: JobId | None = None
    """None: a test."""
    key_id: KeyId | None = None
    """Of the job, or the webhook."""
    attempts: int = 0
    """Of its present series."""
    next_at_ms: int | None = None
    """When it may be sent; None, unless it waits."""
    ended_at_ms: int | None = None
    answered: int | None = None
    """The HTTP status of the last attempt."""
    error: str | None = None
    """Why the last attempt failed."""


class PresetRow(Struct, frozen=True):
    """A named set of a job's fields."""

    name: str
    fields: str
    """A JSON object, as the API has checked it."""
    created_at_ms: int
    changed_at_ms: int
    key_id: KeyId | None = None
    """The API key that it belongs to; None: it is everybody's."""


class ChangeRow(Struct, frozen=True):
    """A numbered change. That of an image gets its key when it is saved."""

    seq: EventSeq
    kind: ChangeKind
    id: str
    state: str
    at_ms: int
    key_id: KeyId | None = None
    """The API key of the job that it is about."""
