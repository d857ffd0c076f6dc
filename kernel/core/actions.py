"""What the broker wants done, in the imperative. The shell does it in this order: saves, then the rest.

A *save* goes into the batch's one transaction. An *effect* happens after that transaction is durable, in
the order in which the core asked for it.
"""

from enum import StrEnum

from msgspec import Struct

from kernel.core.events import Peer
from kernel.core.memory_model.memory_demand import Reservation
from kernel.protocol import client, worker
from kernel.protocol.enums import GoneReason, WorkerRole
from kernel.protocol.ids import BlobId, EngineId, ImageId, JobId, Lease, ModelId, WorkerId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.rows import BlobRow, ChangeRow, EngineRow, ImageRow, JobRow, ModelRow
from kernel.protocol.specs import JobSpec

# Saves.


class SaveModel(Struct, frozen=True):
    row: ModelRow


class DropModel(Struct, frozen=True):
    model_id: ModelId


class NoteModel(Struct, frozen=True):
    """A model's row changes, but not its state. The files that it names are taken out of the trash."""

    row: ModelRow


class SaveEngine(Struct, frozen=True):
    row: EngineRow


class DropEngine(Struct, frozen=True):
    """Delete an engine with its jobs, their images and blobs; the files go to the trash."""

    engine_id: EngineId
    at_ms: int


class AddJob(Struct, frozen=True):
    row: JobRow
    spec: JobSpec


class SaveJob(Struct, frozen=True):
    """A job's changed row; its spec never changes."""

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
    """Mark an image as gone; its file goes to the trash, if it is not what is lost."""

    image_id: ImageId
    reason: GoneReason
    at_ms: int


class RestoreImage(Struct, frozen=True):
    """An image that was lost is there again."""

    image_id: ImageId


class AddBlob(Struct, frozen=True):
    row: BlobRow


class ExpireBlobs(Struct, frozen=True):
    """A job has ended: its blobs stay until then."""

    job_id: JobId
    expires_at_ms: int


class DropBlob(Struct, frozen=True):
    """Delete a blob whose time is over; its file goes to the trash."""

    blob_id: BlobId
    at_ms: int


class Folder(StrEnum):
    """The folders of files, by the names that the trash knows them by."""

    IMAGES = "images"
    BLOBS = "blobs"
    MODELS = "models"


class TrashFile(Struct, frozen=True):
    """A file was written for nothing, or is needed no more: to the trash with it."""

    folder: Folder
    file_name: str
    at_ms: int


class SaveReply(Struct, frozen=True):
    """Remember the answer to a command, for the case that it comes again."""

    key: str
    digest: bytes
    reply: client.SingleReply
    at_ms: int


class RecordChange(Struct, frozen=True):
    row: ChangeRow


class ForgetOld(Struct, frozen=True):
    """Delete remembered answers from before, and changes further back than the newest few."""

    replies_before_ms: int
    changes_to_keep: int


Save = (
    SaveModel
    | DropModel
    | NoteModel
    | SaveEngine
    | DropEngine
    | AddJob
    | SaveJob
    | DropJob
    | AddImage
    | CountDownload
    | EndImage
    | RestoreImage
    | AddBlob
    | ExpireBlobs
    | DropBlob
    | TrashFile
    | SaveReply
    | RecordChange
    | ForgetOld
)


# Effects.


class Reply(Struct, frozen=True):
    """Answer one client."""

    peer: Peer
    correlation: bytes
    message: client.SingleReply


class Push(Struct, frozen=True):
    """Tell watchers what they did not ask for just now."""

    peers: tuple[Peer, ...]
    message: client.SingleReply


class PushPreview(Struct, frozen=True):
    """Show watchers how a picture looks so far: with the blob of the event at hand."""

    peers: tuple[Peer, ...]
    message: client.JobPreview


class Order(Struct, frozen=True):
    """Send an order to a worker."""

    worker_id: WorkerId
    message: worker.WorkerOrder


class GiveJob(Struct, frozen=True):
    """Send RunJob to a worker; the shell reads the spec and the files that came with the job, which the core
    does not keep in memory. If a file cannot be read, it says InputsUnreadable instead."""

    worker_id: WorkerId
    job_id: JobId
    attempt: int
    lease: Lease
    image_ids: tuple[ImageId, ...]
    positions: tuple[int, ...]
    """Which of the pictures are still to be made."""
    models: tuple[ModelSource, ...] = ()
    """Every model that the spec names."""


class LaunchWorker(Struct, frozen=True):
    """Mint a key pair for a worker, allow it, and start its process."""

    worker_id: WorkerId
    role: WorkerRole
    token: str


class MintTicket(Struct, frozen=True):
    """Mint a key pair for a worker that a person will start, allow it, and answer with the ticket."""

    peer: Peer
    correlation: bytes
    worker_id: WorkerId
    token: str
    expires_in_s: float


class TerminateWorker(Struct, frozen=True):
    """Ask a local worker's process to end (SIGTERM)."""

    worker_id: WorkerId


class KillWorker(Struct, frozen=True):
    """End a local worker's process (SIGKILL)."""

    worker_id: WorkerId


class ForgetWorker(Struct, frozen=True):
    """Revoke a worker's key and its place on the bus."""

    worker_id: WorkerId


class StorePicture(Struct, frozen=True):
    """Write the blob of the event at hand to a file, durably, then say PictureStored."""

    picture_id: ImageId | BlobId
    folder: Folder
    file_name: str
    sha256: str


class StoreAgain(Struct, frozen=True):
    """Try once more to write a picture that could not be written."""

    picture_id: ImageId | BlobId


class ForgetPicture(Struct, frozen=True):
    """The bytes of this picture are not needed any more."""

    picture_id: ImageId | BlobId


class InputToStore(Struct, frozen=True):
    """A file that came with a job: its name below the folder of blobs, and what its bytes must be."""

    file_name: str
    sha256: str


class StoreInputs(Struct, frozen=True):
    """Write the blobs of the event at hand to these files, durably and all or none, then say InputsStored."""

    key: str
    files: tuple[InputToStore, ...]


class MoveModel(Struct, frozen=True):
    """Move a model that was gathered to its place below the models folder, durably, then say ModelMoved."""

    model_id: ModelId
    file_name: str


class CompareMemory(Struct, frozen=True):
    """Write into the log how well the need of an engine that is ready now was predicted."""

    worker_id: WorkerId
    reservation: Reservation
    reported_bytes: int


class SweepDisk(Struct, frozen=True):
    """Look at the disk and at what expires, then say DiskSwept."""


class LaunchApi(Struct, frozen=True):
    """Start the API process."""

    restarts: int = 0
    """How often it has been started again before, or is now."""


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
    | LaunchWorker
    | MintTicket
    | TerminateWorker
    | KillWorker
    | ForgetWorker
    | StorePicture
    | StoreAgain
    | ForgetPicture
    | MoveModel
    | StoreInputs
    | CompareMemory
    | SweepDisk
    | LaunchApi
    | TerminateApi
    | KillApi
    | Exit
)

Action = Save | Effect
