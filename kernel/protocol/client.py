"""Messages between a client (the REST API, the CLI) and the Manager.

A client sends `ClientMessage`, the Manager answers with `BrokerReply`. What changes something is an
`Ask` inside a `Command`, which carries the idempotency key and the digest of the ask, so that it can be
sent again without being done again. The union of a role says which messages that role may send.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from kernel.protocol.enums import (
    ChangeKind,
    ControlType,
    EngineState,
    InputKind,
    ModelBase,
    ModelState,
    ModelType,
    Phase,
    Stage,
    Variant,
    WaitsFor,
)
from kernel.protocol.errors import FieldProblem, NotEnoughMemory, SpoonError, error_of_code
from kernel.protocol.ids import (
    MAX_INTEGER,
    Count,
    EngineId,
    EventSeq,
    ImageId,
    JobId,
    ModelId,
    Ticket,
    WorkerId,
)
from kernel.protocol.memory import MemoryShortage
from kernel.protocol.model_refs import InputFile, Preparation
from kernel.protocol.specs import EngineSpec, JobRequest
from kernel.protocol.values import DurationS, Name, Sha256, Tags, Uri

# Asks: what a client wants done.


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
    """Of a ControlNet: the maps that it was trained on; left out, its name tells, if it can."""
    preparation: Preparation | None = None
    """Of a background remover: how it wants its pictures, where its file does not tell."""


class DeleteModel(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Forget a model that no engine and no open job uses."""

    model_id: ModelId
    files: bool = False
    """Remove what was downloaded for it, too, unless another model is made of the same."""


class RetryModel(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Try a model again after an error, with what is there of it."""

    model_id: ModelId


class PruneModels(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Remove what is kept in the models folder of models that were deleted without their files."""

    dry_run: bool = False


class CreateEngine(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Create an engine, and start it unless told otherwise."""

    spec: EngineSpec
    start: bool = True


class StartEngine(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Start an engine and keep it until it is stopped."""

    engine_id: EngineId


class StopEngine(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Stop an engine: after its running jobs, or now, with these jobs waiting again."""

    engine_id: EngineId
    now: bool = False


class DeleteEngine(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Delete an engine that is not running, with its jobs and their images."""

    engine_id: EngineId


class SubmitJob(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Put a job into an engine's queue."""

    engine_id: EngineId | None = None
    engine_name: Name | None = None
    request: JobRequest
    files: Annotated[tuple[InputFile, ...], Meta(max_length=len(InputKind))] = ()
    """What `request.inputs` names, one by one: the message's blobs, in the same order."""
    priority: Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)] = 0
    validate_only: bool = False


class CancelJob(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Cancel a job that waits or is being processed."""

    job_id: JobId


class DeleteJob(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Delete an ended job and its images."""

    job_id: JobId


class DeleteImage(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Delete one image."""

    image_id: ImageId


class PruneImages(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Delete images: the expired ones, those older than a time, and the oldest beyond so many bytes.

    A part of them at once; `ImagesPruned.has_more` says whether to ask again.
    """

    engine_id: EngineId | None = None
    """Of this engine alone."""
    older_than_s: DurationS | None = None
    keep_bytes: Count | None = None
    missing: bool = False
    """Also those whose files are not there any more."""
    dry_run: bool = False
    """Only say how many they are, all of them."""


class ClaimDownload(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Ask for the right to hand out an image file once."""

    image_id: ImageId


class FinishDownload(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Give a download right back, and say whether the whole file was handed out."""

    image_id: ImageId
    ticket: Ticket
    whole: bool


class InviteWorker(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Mint a ticket with which a worker that was started by hand joins an engine."""

    engine_id: EngineId


class Shutdown(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Stop the Manager: after the running jobs, or now, with these jobs waiting again."""

    now: bool = False


ApiAsk = (
    RegisterModel
    | DeleteModel
    | RetryModel
    | PruneModels
    | CreateEngine
    | StartEngine
    | StopEngine
    | DeleteEngine
    | SubmitJob
    | CancelJob
    | DeleteJob
    | DeleteImage
    | PruneImages
    | ClaimDownload
    | FinishDownload
)
Ask = ApiAsk | InviteWorker | Shutdown


# What a client sends.


class Command(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something to be done once, however often it arrives."""

    key: str
    digest: bytes
    ask: Ask


class ApiCommand(msgspec.Struct, frozen=True, kw_only=True, tag="Command"):
    """A Command as the API role may send it: the same bytes, without the administrator's asks."""

    key: str
    digest: bytes
    ask: ApiAsk


class Watch(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Send me every change from now on. Sent again it refreshes the subscription."""

    takes_bundles: bool = False
    """Send me what belongs to one batch as one Bundle."""


class Unwatch(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Send me no more changes."""


class GetStatus(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How is the Manager?"""


ClientMessage = Command | Watch | Unwatch | GetStatus
"""Everything that a client can say; the role `admin` may say all of it."""
ApiMessage = ApiCommand | Watch | Unwatch | GetStatus
"""What the role `api` may say."""


# What the Manager answers.


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No, and nothing was changed."""

    code: str
    detail: str
    fields: tuple[FieldProblem, ...] = ()
    retry_after_s: float | None = None
    shortage: MemoryShortage | None = None
    """With `not_enough_memory`, where memory is what is missing."""


class ModelAccepted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The model is registered; `created` is False when the same recipe was there already."""

    model_id: ModelId
    status: ModelState
    created: bool = True


class EngineAccepted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine has taken the command; `status` is its state now."""

    engine_id: EngineId
    status: EngineState


class JobAccepted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The job is in the queue, durably; its images will bear these ids."""

    job_id: JobId
    image_ids: tuple[ImageId, ...]
    created_at_ms: int
    waits_for: WaitsFor | None = None
    """As it was accepted; None: a worker has it already."""
    error_code: str | None = None
    """Why its engine does not run: what it failed of when it last should."""
    error: str | None = None


class JobValid(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The job would be accepted."""

    engine_id: EngineId


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """It is done, and there is nothing more to say."""


class ImagesPruned(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """So many images are deleted, or would be; their files go at once, their rows stay and say why."""

    images: int
    size_bytes: int
    has_more: bool = False
    missing: int = 0
    """So many of them had no file."""
    missing_files: tuple[str, ...] = ()
    """The first of these files, by their names."""


class ModelsPruned(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """So much that was kept of deleted models is removed, or would be."""

    models: int
    """Files and folders, each of which was a model."""
    size_bytes: int


class DownloadGranted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The file may be handed out once, under this ticket."""

    ticket: Ticket
    file_name: str
    is_limited: bool
    """True when downloads of this image are counted against a limit: then hand it out whole."""


class WorkerInvited(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """All that a worker needs to join: a secret for the one who asked, stored nowhere."""

    worker_id: WorkerId
    endpoint: str
    server_public_key: str
    public_key: str
    secret_key: str
    token: str
    expires_in_s: float


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One device that engines can run on."""

    device: str
    name: str
    total_bytes: int
    free_bytes: int


class ApiLife(msgspec.Struct, frozen=True, kw_only=True):
    """How the API process is that the Manager runs beside itself, and starts again whenever it dies."""

    is_running: bool
    restarts: int
    last_failure: str | None = None
    next_start_s: float | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How the Manager is."""

    version: str
    pid: int
    phase: Phase
    uptime_s: float
    jobs_waiting: int
    jobs_processing: int
    engines_running: int
    is_disk_low: bool
    devices: tuple[DeviceStatus, ...]
    is_models_disk_low: bool = False
    api: ApiLife | None = None
    """None, if the Manager runs none."""
    standbys: int = 0
    """Processes that have imported what an engine needs, and wait for the next one."""
    internal_errors: int = 0
    last_internal_error: str | None = None


class Watching(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """You are subscribed; the last recorded change is this one."""

    seq: EventSeq


class Changed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something durable changed: read it in the database."""

    seq: EventSeq
    kind: ChangeKind
    id: str
    state: str
    at_ms: int


class JobProgress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How far a job is. Not durable, not numbered."""

    job_id: JobId
    step: int
    steps: int
    eta_s: float | None = None
    stage: Stage = Stage.DENOISING


class JobPreview(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How one picture of a job looks so far: the message's blob, a small JPEG. Not durable, not numbered."""

    job_id: JobId
    index: int
    step: int


class ModelProgress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How far a model's download or inspection is. Not durable, not numbered."""

    model_id: ModelId
    bytes: int
    total_bytes: int | None = None
    bytes_per_s: int | None = None


SingleReply = (
    Refused
    | ModelAccepted
    | EngineAccepted
    | JobAccepted
    | JobValid
    | Done
    | ImagesPruned
    | ModelsPruned
    | DownloadGranted
    | WorkerInvited
    | Status
    | Watching
    | Changed
    | JobProgress
    | JobPreview
    | ModelProgress
)


class Enclosed(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a bundle, with the correlation that its own head would bear."""

    correlation: bytes
    message: SingleReply
    blobs: int = 0
    """So many of the bundle's blobs are this message's: the first ones that no message before it took."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Several messages at once, for a client whose Watch said that it takes them so."""

    messages: tuple[Enclosed, ...]


BrokerReply = SingleReply | Bundle


def error_of(refused: Refused) -> SpoonError:
    """The error that a refusal stands for."""
    error = error_of_code(refused.code, refused.detail, refused.fields, refused.retry_after_s)
    if isinstance(error, NotEnoughMemory):
        error.shortage = refused.shortage
    return error


def refusal_of(error: SpoonError) -> Refused:
    """The refusal that stands for an error."""
    return Refused(
        code=error.code,
        detail=error.detail,
        fields=error.fields,
        retry_after_s=error.retry_after_s,
        shortage=error.shortage if isinstance(error, NotEnoughMemory) else None,
    )
