"""Messages between a client (the REST API, the CLI), `ClientMessage`, and the Manager, `BrokerReply`."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kernel.protocol.api_keys import KeyAsk, KeyIssued
from kernel.protocol.enums import (
    ChangeKind,
    ControlType,
    EngineState,
    InputKind,
    JobState,
    ModelBase,
    ModelState,
    ModelType,
    Stage,
    Variant,
    WaitsFor,
)
from kernel.protocol.errors import FieldProblem
from kernel.protocol.ids import Count, EngineId, EventSeq, ImageId, JobId, KeyId, ModelId, Ticket
from kernel.protocol.memory import EngineValid, MemoryShortage
from kernel.protocol.model_refs import InputFile, Preparation
from kernel.protocol.presets import PresetAsk
from kernel.protocol.specs import EngineSpec, JobRequest, JobSpec
from kernel.protocol.status import Status
from kernel.protocol.values import MAX_DELETED, DurationS, Name, Note, Priority, Sha256, Tags, Uri
from kernel.protocol.webhooks import Callback, WebhookAsk, WebhookReply
from kernel.protocol.worker_tokens import WorkerAsk, WorkerTokenIssued

# Asks: requests that change something.


class RegisterModel(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Register a model, and have it downloaded and inspected."""

    name: Name
    uri: Uri
    model_type: ModelType
    model_base: ModelBase | None = None
    variant: Variant | None = None
    tags: Tags = ()
    sha256: Sha256 | None = None
    trigger_words: Tags = ()
    control_type: ControlType | None = None
    """The maps that a ControlNet was trained on; None: derived from its name, if possible."""
    preparation: Preparation | None = None
    """The input format of a background remover, where its file does not tell it."""


class DeleteModel(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Forget a model that no engine and no open job uses."""

    model_id: ModelId
    files: bool = False
    """Also remove its downloaded files, unless another model uses them."""


class RetryModel(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Try a model again after an error, resuming with the bytes that are there."""

    model_id: ModelId


class PruneModels(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Remove stored files of models that were deleted without their files."""

    dry_run: bool = False


class ScanModels(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Look through models.folders for new, changed, moved and lost models, now."""


class CreateEngine(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Create an engine, and start it unless `start` is false."""

    spec: EngineSpec
    start: bool = True
    validate_only: bool = False


class EditEngine(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Change some values of an engine, running or not."""

    engine_id: EngineId
    fields: Annotated[tuple[Name, ...], Meta(max_length=64)]
    """The names of the values to change; of the others `spec` says nothing."""
    spec: EngineSpec


class StartEngine(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Start an engine and keep it until it is stopped."""

    engine_id: EngineId


class StopEngine(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Stop an engine: after its running jobs, or now, with these jobs requeued."""

    engine_id: EngineId
    now: bool = False


class DeleteEngine(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Delete an engine that is not running, with its jobs and their images, or only the jobs without."""

    engine_id: EngineId
    keep_images: bool = False


class PauseQueue(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Give no more waiting jobs to workers, until ResumeQueue; running jobs finish. Durable."""

    engine_id: EngineId | None = None
    """None: the queues of all engines, also of those that are created later."""


class ResumeQueue(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """End a pause of one engine's queue, or the pause of all."""

    engine_id: EngineId | None = None


class SubmitJob(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Put a job into an engine's queue."""

    engine_id: EngineId | None = None
    engine_name: Name | None = None
    checkpoint: Name | None = None
    """Its id or name, in place of an engine: one of its engines, which is created if there is none."""
    request: JobRequest
    files: Annotated[tuple[InputFile, ...], Meta(max_length=len(InputKind))] = ()
    """The descriptions of `request.inputs`, one for each blob of the message, in the same order."""
    priority: Priority = 0
    validate_only: bool = False
    key_id: KeyId | None = None
    """The API key of the client; the job belongs to it."""
    callback: Callback | None = None


class EditJob(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Change the priority of a waiting job."""

    job_id: JobId
    priority: Priority


class CancelJob(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Cancel a waiting or running job."""

    job_id: JobId


class DeleteJob(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Delete an ended job and its images."""

    job_id: JobId


class DeleteImage(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Delete one image."""

    image_id: ImageId


class DeleteImages(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Delete images by their ids. Those that never were, or are gone and not merely lost, are passed over."""

    image_ids: Annotated[tuple[ImageId, ...], Meta(max_length=MAX_DELETED)]


class EditImage(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Set what people say of an image; None leaves it as it is. One that is gone can be edited, too."""

    image_id: ImageId
    tags: Tags | None = None
    """All of them."""
    favorite: bool | None = None
    note: Note | None = None
    """Empty: none any more."""


class PruneImages(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Delete images: the expired ones, those older than a given age, and the oldest beyond a size limit.

    A limited number at once; `ImagesPruned.has_more` says whether to send it again.
    """

    engine_id: EngineId | None = None
    """Only images of this engine."""
    older_than_s: DurationS | None = None
    keep_bytes: Count | None = None
    missing: bool = False
    """Also images whose files are missing."""
    dry_run: bool = False
    """Only count all images that would be deleted."""


class ClaimDownload(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Claim one download of an image file."""

    image_id: ImageId


class FinishDownload(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """End a claim, and say whether the whole file was sent."""

    image_id: ImageId
    ticket: Ticket
    whole: bool


class Shutdown(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Stop the Manager: after the running jobs, or now, with these jobs requeued."""

    now: bool = False


ApiAsk = (
    RegisterModel
    | DeleteModel
    | RetryModel
    | PruneModels
    | ScanModels
    | CreateEngine
    | EditEngine
    | StartEngine
    | StopEngine
    | DeleteEngine
    | PauseQueue
    | ResumeQueue
    | SubmitJob
    | EditJob
    | CancelJob
    | DeleteJob
    | DeleteImage
    | DeleteImages
    | EditImage
    | PruneImages
    | ClaimDownload
    | FinishDownload
    | KeyAsk
    | WebhookAsk
    | PresetAsk
    | WorkerAsk
)
Ask = ApiAsk | Shutdown


class Command(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A request to be carried out once, however often it arrives."""

    key: str
    digest: bytes
    ask: Ask


class ApiCommand(msgspec.Struct, frozen=True, kw_only=True, tag="Command"):
    """A Command as the API role may send it: the same bytes, without the administrator's asks."""

    key: str
    digest: bytes
    ask: ApiAsk


class Watch(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Subscribe to all changes from now on. Sent again, it refreshes the subscription."""

    takes_bundles: bool = False
    """Send the messages of one batch as one Bundle."""


class Unwatch(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """End the subscription to changes."""


class GetStatus(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Ask for the Manager's status."""


ClientMessage = Command | Watch | Unwatch | GetStatus
"""All messages of a client; the role `admin` may send any of them."""
ApiMessage = ApiCommand | Watch | Unwatch | GetStatus
"""The messages that the role `api` may send."""


# Replies of the Manager.


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The request was refused; nothing was changed."""

    code: str
    detail: str
    fields: tuple[FieldProblem, ...] = ()
    retry_after_s: float | None = None
    shortage: MemoryShortage | None = None
    """With `not_enough_memory`, if the amount of memory is the reason."""


class ModelAccepted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The model is registered; `created` is False if the same source was registered already."""

    model_id: ModelId
    status: ModelState
    created: bool = True


class EngineAccepted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine has accepted the command; `status` is its current state."""

    engine_id: EngineId
    status: EngineState
    reloads: bool = False
    """After an edit: the engine loads its checkpoint again, after its running jobs."""


class JobAccepted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The job is in the queue, durably: the whole job, as it was then."""

    job_id: JobId
    image_ids: tuple[ImageId, ...]
    created_at_ms: int
    engine_id: EngineId | None = None
    """None only in a reply that was stored by a version before 0.2."""
    status: JobState = JobState.WAITING
    priority: int = 0
    jobs_ahead: int | None = None
    """The jobs of its engine that go before it; None: it is with a worker already."""
    attempts: int = 0
    started_at_ms: int | None = None
    spec: JobSpec | None = None
    """Every value of the job; None, if the job has been deleted since."""
    names: dict[str, str] = {}
    """The names of its engine and models, by id."""
    waits_for: WaitsFor | None = None
    """What the job waits for; None: it is with a worker already."""
    error_code: str | None = None
    """The engine's last error, if it is why the job waits."""
    error: str | None = None
    key_id: KeyId | None = None
    """The API key that it belongs to."""


class JobValid(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The job would be accepted."""

    engine_id: EngineId | None
    """None: its engine would be created with it."""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The command was carried out."""


class ImagesPruned(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """These images are deleted, or would be; their files go at once, their rows stay with the reason."""

    images: int
    size_bytes: int
    has_more: bool = False
    missing: int = 0
    """How many of them had no file."""
    missing_files: tuple[str, ...] = ()
    """Names of the first of these files."""


class ModelsPruned(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Stored files of deleted models are removed, or would be."""

    models: int
    """Files and folders, one for each model."""
    size_bytes: int


class DownloadGranted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One download of the file is granted, under this ticket."""

    ticket: Ticket
    file_name: str
    is_limited: bool
    """True if downloads of this image count against a limit: then only whole files may be sent."""


class Watching(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """You are subscribed; `seq` is the last recorded change."""

    seq: EventSeq


class Changed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A durable change: read its subject in the database."""

    seq: EventSeq
    kind: ChangeKind
    id: str
    state: str
    at_ms: int


class JobProgress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The progress of a job. Not durable, not numbered."""

    job_id: JobId
    step: int
    steps: int
    eta_s: float | None = None
    stage: Stage = Stage.DENOISING
    key_id: KeyId | None = None
    """The API key that the job belongs to."""


class JobPreview(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A preview of an unfinished image: the message's blob, a small JPEG. Not durable, not numbered."""

    job_id: JobId
    index: int
    step: int


class ModelProgress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The progress of a model's download or inspection. Not durable, not numbered."""

    model_id: ModelId
    bytes: int
    total_bytes: int | None = None
    bytes_per_s: int | None = None


class EngineProgress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The progress of an engine that is being loaded. Not durable, not numbered."""

    engine_id: EngineId
    bytes: int
    total_bytes: int
    bytes_per_s: int | None = None


SingleReply = (
    Refused
    | ModelAccepted
    | EngineAccepted
    | EngineValid
    | JobAccepted
    | JobValid
    | Done
    | ImagesPruned
    | ModelsPruned
    | DownloadGranted
    | KeyIssued
    | WorkerTokenIssued
    | WebhookReply
    | Status
    | Watching
    | Changed
    | JobProgress
    | JobPreview
    | ModelProgress
    | EngineProgress
)


class Enclosed(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a bundle, with the correlation that its own header would have."""

    correlation: bytes
    message: SingleReply
    blobs: int = 0
    """The number of this message's blobs: the first of the bundle's blobs that no earlier message took."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Several messages at once, for a client whose Watch has `takes_bundles`."""

    messages: tuple[Enclosed, ...]


BrokerReply = SingleReply | Bundle
