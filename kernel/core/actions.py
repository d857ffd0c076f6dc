"""The actions that the broker asks for, in the imperative. The shell does the saves first, then the effects.

A *save* is a part of the batch's one transaction. An *effect* happens after that transaction is durable, in
the order in which the core asked for it.
"""

from msgspec import Struct

from kernel.core.events import Peer, WantedPart
from kernel.core.memory_model.memory_demand import Reservation
from kernel.core.ports import Folder
from kernel.protocol import client, worker
from kernel.protocol.enums import GoneReason, WorkerRole
from kernel.protocol.ids import (
    BlobId,
    DeliveryId,
    EngineId,
    ImageId,
    JobId,
    KeyId,
    Lease,
    ModelId,
    WebhookId,
    WorkerId,
)
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.rows import (
    BlobRow,
    ChangeRow,
    DeliveryRow,
    EngineRow,
    ImageRow,
    JobRow,
    KeyRow,
    KeyUseRow,
    ModelRow,
    PresetRow,
    ScannedFile,
    ScanRow,
    WebhookRow,
    WorkerTokenRow,
)
from kernel.protocol.specs import JobSpec
from kernel.protocol.webhooks import Signer

# Saves.


class SaveModel(Struct, frozen=True):
    row: ModelRow


class DropModel(Struct, frozen=True):
    model_id: ModelId


class NoteModel(Struct, frozen=True):
    """Save a model's row without a change of state. The files that it names are taken out of the trash."""

    row: ModelRow


class SaveScannedFile(Struct, frozen=True):
    row: ScannedFile


class DropScannedFile(Struct, frozen=True):
    path: str


class SaveScan(Struct, frozen=True):
    row: ScanRow


class SaveEngine(Struct, frozen=True):
    row: EngineRow


class DropEngine(Struct, frozen=True):
    """Delete an engine with its jobs, their images and blobs; the files go to the trash. Or keep the images,
    the jobs that they belong to, and the engine's name."""

    engine_id: EngineId
    at_ms: int
    keeps_images: bool = False


class AddJob(Struct, frozen=True):
    row: JobRow
    spec: JobSpec


class SaveJob(Struct, frozen=True):
    """Save a job's changed row; its spec never changes."""

    row: JobRow


class DropJob(Struct, frozen=True):
    """Delete a job with its images and blobs; the files go to the trash."""

    job_id: JobId
    at_ms: int


class AddImage(Struct, frozen=True):
    row: ImageRow


class CountDownload(Struct, frozen=True):
    image_id: ImageId


class EndImage(Struct, frozen=True):
    """Mark an image as gone and move its file to the trash, unless the file itself is lost."""

    image_id: ImageId
    reason: GoneReason
    at_ms: int


class EditImage(Struct, frozen=True):
    """What people say of an image; None: as before."""

    image_id: ImageId
    tags: tuple[str, ...] | None
    favorite: bool | None
    note: str | None


class RestoreImage(Struct, frozen=True):
    """A lost image's file is back: mark the image as present."""

    image_id: ImageId


class AddBlob(Struct, frozen=True):
    row: BlobRow


class ExpireBlobs(Struct, frozen=True):
    """A job has ended: set the time until which its blobs stay."""

    job_id: JobId
    expires_at_ms: int


class DropBlob(Struct, frozen=True):
    """Delete an expired blob; its file goes to the trash."""

    blob_id: BlobId
    at_ms: int


class TrashFile(Struct, frozen=True):
    """Move a file that nothing needs any more to the trash."""

    folder: Folder
    file_name: str
    at_ms: int


class SaveKey(Struct, frozen=True):
    row: KeyRow


class SaveWorkerToken(Struct, frozen=True):
    row: WorkerTokenRow


class SaveKeyUse(Struct, frozen=True):
    """Save what a key has ordered in an hour, and forget its hours before another one."""

    row: KeyUseRow
    first_hour: int


class SaveWebhook(Struct, frozen=True):
    row: WebhookRow


class DropWebhook(Struct, frozen=True):
    """Delete a webhook with its deliveries."""

    webhook_id: WebhookId


class AddDelivery(Struct, frozen=True):
    row: DeliveryRow
    body: str


class SaveDelivery(Struct, frozen=True):
    """Save a delivery's changed row; its body never changes."""

    row: DeliveryRow


class ForgetDeliveries(Struct, frozen=True):
    """Delete deliveries that ended before this time, and all but so many of those that ended last."""

    before_ms: int
    kept: int


class SavePreset(Struct, frozen=True):
    row: PresetRow


class DropPreset(Struct, frozen=True):
    key_id: KeyId | None
    name: str


class SavePause(Struct, frozen=True):
    """Remember since when all queues are paused; None: they are not."""

    since_ms: int | None


class SaveReply(Struct, frozen=True):
    """Remember the reply to a command, in case the command is sent again."""

    key: str
    digest: bytes
    reply: client.SingleReply
    at_ms: int


class RecordChange(Struct, frozen=True):
    row: ChangeRow


class ForgetOld(Struct, frozen=True):
    """Delete replies older than `replies_before_ms`, and all but the newest changes."""

    replies_before_ms: int
    changes_to_keep: int


CallbackSave = AddDelivery | SaveDelivery | SaveWebhook | DropWebhook | ForgetDeliveries
Save = (
    RecordChange
    | SaveReply
    | AddJob
    | SaveJob
    | AddImage
    | SaveModel
    | DropModel
    | NoteModel
    | SaveScannedFile
    | DropScannedFile
    | SaveScan
    | SaveEngine
    | DropEngine
    | DropJob
    | CountDownload
    | EndImage
    | RestoreImage
    | EditImage
    | AddBlob
    | ExpireBlobs
    | DropBlob
    | TrashFile
    | SavePause
    | SaveKey
    | SaveKeyUse
    | SaveWorkerToken
    | SavePreset
    | DropPreset
    | CallbackSave
    | ForgetOld
)
"""What comes most is first: that is how `isinstance` looks for it."""


# Effects.


class Reply(Struct, frozen=True):
    """Answer one client."""

    peer: Peer
    correlation: bytes
    message: client.SingleReply


class Push(Struct, frozen=True):
    """Send watchers a message that is no reply."""

    peers: tuple[Peer, ...]
    message: client.SingleReply


class PushPreview(Struct, frozen=True):
    """Send watchers a preview of an unfinished image: the blob of the current event."""

    peers: tuple[Peer, ...]
    message: client.JobPreview


class Order(Struct, frozen=True):
    """Send an order to a worker, with the blob of the current event if it has one."""

    worker_id: WorkerId
    message: worker.WorkerOrder
    has_blob: bool = False


class GiveJob(Struct, frozen=True):
    """Send RunJob to a worker. The shell reads the spec and the job's input files, which the core does not
    keep in memory; if a file cannot be read, it reports InputsUnreadable."""

    worker_id: WorkerId
    job_id: JobId
    attempt: int
    lease: Lease
    image_ids: tuple[ImageId, ...]
    positions: tuple[int, ...]
    """Positions of the images that are not stored yet."""
    models: tuple[ModelSource, ...] = ()
    """Every model that the spec names."""


class GiveDelivery(Struct, frozen=True):
    """Send SendCallback to a worker. The shell reads the body, which the core does not keep in memory, and
    signs it."""

    worker_id: WorkerId
    delivery_id: DeliveryId
    attempt: int
    url: str
    signer: Signer
    at_s: int
    """The time that is signed. Units: seconds since 1970 UTC."""


class LaunchWorker(Struct, frozen=True):
    """Mint a key pair for a worker, allow it, and start its process."""

    worker_id: WorkerId
    role: WorkerRole
    token: str
    engine_id: EngineId | None = None
    """None: it fetches models."""


class AdmitWorker(Struct, frozen=True):
    """Know a worker of a pool by its CURVE key from now on; orders go to this connection."""

    worker_id: WorkerId
    key: str
    place: bytes


class RefuseStranger(Struct, frozen=True):
    """Tell a worker that is not admitted why."""

    place: bytes
    message: worker.Refuse


class LaunchInPool(Struct, frozen=True):
    """Have the launcher of a pool start a worker. It enrolls under this id."""

    worker_id: WorkerId
    pool: str
    engine_id: EngineId


class TerminateWorker(Struct, frozen=True):
    """Ask the process of a local or launched worker to end (SIGTERM)."""

    worker_id: WorkerId


class KillWorker(Struct, frozen=True):
    """End the process of a local or launched worker (SIGKILL)."""

    worker_id: WorkerId


class ForgetWorker(Struct, frozen=True):
    """Revoke a worker's key and its place on the bus."""

    worker_id: WorkerId


class StoreOutput(Struct, frozen=True):
    """Write the blob of the current event to a file, durably, then report OutputStored."""

    output_id: ImageId | BlobId
    folder: Folder
    file_name: str
    sha256: str


class StoreAgain(Struct, frozen=True):
    """Write an output again whose last write failed."""

    output_id: ImageId | BlobId


class ForgetOutput(Struct, frozen=True):
    """Free the bytes of this output."""

    output_id: ImageId | BlobId


class InputToStore(Struct, frozen=True):
    """An input file of a job: its name in the blobs folder, and the digest that its bytes must have."""

    file_name: str
    sha256: str


class StoreInputs(Struct, frozen=True):
    """Write the blobs of the current event to these files, durably, all or none, then report InputsStored."""

    key: str
    files: tuple[InputToStore, ...]


class MoveModel(Struct, frozen=True):
    """Move a downloaded model to its place in the models folder, durably, then report ModelMoved."""

    model_id: ModelId
    file_name: str


class ReadModelPart(Struct, frozen=True):
    """Read a part of a model's file, or list its files, then report ModelPartRead or another outcome."""

    part: WantedPart
    source: ModelSource


class CompareMemory(Struct, frozen=True):
    """Log the predicted and the actual memory of an engine that has become ready."""

    worker_id: WorkerId
    reservation: Reservation
    reported_bytes: int


class SweepDisk(Struct, frozen=True):
    """Measure free disk space and find expired images and blobs, then report DiskSwept."""


class LaunchApi(Struct, frozen=True):
    """Start the API process."""

    restarts: int = 0
    """How often it has been restarted, this start included."""


class TerminateApi(Struct, frozen=True):
    """Ask the API process to end."""


class KillApi(Struct, frozen=True):
    """End the API process."""


class Exit(Struct, frozen=True):
    """Leave the process with this code."""

    code: int


Effect = (
    Reply
    | Push
    | PushPreview
    | Order
    | GiveJob
    | GiveDelivery
    | LaunchWorker
    | LaunchInPool
    | AdmitWorker
    | RefuseStranger
    | TerminateWorker
    | KillWorker
    | ForgetWorker
    | StoreOutput
    | StoreAgain
    | ForgetOutput
    | MoveModel
    | ReadModelPart
    | StoreInputs
    | CompareMemory
    | SweepDisk
    | LaunchApi
    | TerminateApi
    | KillApi
    | Exit
)

Action = Save | Effect
