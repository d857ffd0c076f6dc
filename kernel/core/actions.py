"""What the broker wants done, in the imperative. The shell does it in this order: saves, then the rest.

A *save* goes into the batch's one transaction. An *effect* happens after that transaction is durable, in
the order in which the core asked for it.
"""

from dataclasses import dataclass
from enum import StrEnum

from kernel.core.events import Peer
from kernel.core.memory import Reservation
from kernel.core.rows import BlobRow, ChangeRow, EngineRow, ImageRow, JobRow, ModelRow
from kernel.protocol import client, worker
from kernel.protocol.ids import BlobId, EngineId, ImageId, JobId, Lease, ModelId, WorkerId
from kernel.protocol.ingredients import ModelSource
from kernel.protocol.specs import JobSpec
from kernel.protocol.vocabulary import GoneReason, WorkerRole

# Saves.


@dataclass(frozen=True, slots=True)
class SaveModel:
    row: ModelRow


@dataclass(frozen=True, slots=True)
class DropModel:
    model_id: ModelId


@dataclass(frozen=True, slots=True)
class NoteModel:
    """A model's row changes, but not its state. The files that it names are taken out of the trash."""

    row: ModelRow


@dataclass(frozen=True, slots=True)
class SaveEngine:
    row: EngineRow


@dataclass(frozen=True, slots=True)
class DropEngine:
    """Delete an engine with its jobs, their images and blobs; the files go to the trash."""

    engine_id: EngineId
    at_ms: int


@dataclass(frozen=True, slots=True)
class AddJob:
    row: JobRow
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class SaveJob:
    """A job's changed row; its spec never changes."""

    row: JobRow


@dataclass(frozen=True, slots=True)
class DropJob:
    """Delete a job with its images and blobs; the files go to the trash."""

    job_id: JobId
    at_ms: int


@dataclass(frozen=True, slots=True)
class AddImage:
    row: ImageRow


@dataclass(frozen=True, slots=True)
class CountDownload:
    image_id: ImageId


@dataclass(frozen=True, slots=True)
class EndImage:
    """Mark an image as gone; its file goes to the trash, if it is not what is lost."""

    image_id: ImageId
    reason: GoneReason
    at_ms: int


@dataclass(frozen=True, slots=True)
class RestoreImage:
    """An image that was lost is there again."""

    image_id: ImageId


@dataclass(frozen=True, slots=True)
class AddBlob:
    row: BlobRow


@dataclass(frozen=True, slots=True)
class ExpireBlobs:
    """A job has ended: its blobs stay until then."""

    job_id: JobId
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class DropBlob:
    """Delete a blob whose time is over; its file goes to the trash."""

    blob_id: BlobId
    at_ms: int


class Folder(StrEnum):
    """The folders of files, by the names that the trash knows them by."""

    IMAGES = "images"
    BLOBS = "blobs"
    MODELS = "models"


@dataclass(frozen=True, slots=True)
class TrashFile:
    """A file was written for nothing, or is needed no more: to the trash with it."""

    folder: Folder
    file_name: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class SaveReply:
    """Remember the answer to a command, for the case that it comes again."""

    key: str
    digest: bytes
    reply: client.SingleReply
    at_ms: int


@dataclass(frozen=True, slots=True)
class RecordChange:
    row: ChangeRow


@dataclass(frozen=True, slots=True)
class ForgetOld:
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


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer one client."""

    peer: Peer
    correlation: bytes
    message: client.SingleReply


@dataclass(frozen=True, slots=True)
class Push:
    """Tell watchers what they did not ask for just now."""

    peers: tuple[Peer, ...]
    message: client.SingleReply


@dataclass(frozen=True, slots=True)
class PushPreview:
    """Show watchers how a picture looks so far: with the blob of the event at hand."""

    peers: tuple[Peer, ...]
    message: client.JobPreview


@dataclass(frozen=True, slots=True)
class Order:
    """Send an order to a worker."""

    worker_id: WorkerId
    message: worker.WorkerOrder


@dataclass(frozen=True, slots=True)
class GiveJob:
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


@dataclass(frozen=True, slots=True)
class LaunchWorker:
    """Mint a key pair for a worker, allow it, and start its process."""

    worker_id: WorkerId
    role: WorkerRole
    token: str


@dataclass(frozen=True, slots=True)
class MintTicket:
    """Mint a key pair for a worker that a person will start, allow it, and answer with the ticket."""

    peer: Peer
    correlation: bytes
    worker_id: WorkerId
    token: str
    expires_in_s: float


@dataclass(frozen=True, slots=True)
class TerminateWorker:
    """Ask a local worker's process to end (SIGTERM)."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class KillWorker:
    """End a local worker's process (SIGKILL)."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class ForgetWorker:
    """Revoke a worker's key and its place on the bus."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class StorePicture:
    """Write the blob of the event at hand to a file, durably, then say PictureStored."""

    picture_id: ImageId | BlobId
    folder: Folder
    file_name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class StoreAgain:
    """Try once more to write a picture that could not be written."""

    picture_id: ImageId | BlobId


@dataclass(frozen=True, slots=True)
class ForgetPicture:
    """The bytes of this picture are not needed any more."""

    picture_id: ImageId | BlobId


@dataclass(frozen=True, slots=True)
class InputToStore:
    """A file that came with a job: its name below the folder of blobs, and what its bytes must be."""

    file_name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class StoreInputs:
    """Write the blobs of the event at hand to these files, durably and all or none, then say InputsStored."""

    key: str
    files: tuple[InputToStore, ...]


@dataclass(frozen=True, slots=True)
class MoveModel:
    """Move a model that was gathered to its place below the models folder, durably, then say ModelMoved."""

    model_id: ModelId
    file_name: str


@dataclass(frozen=True, slots=True)
class CompareMemory:
    """Write into the log how well the need of an engine that is ready now was predicted."""

    worker_id: WorkerId
    reservation: Reservation
    reported_bytes: int


@dataclass(frozen=True, slots=True)
class TakeStock:
    """Look at the disk and at what expires, then say StockTaken."""


@dataclass(frozen=True, slots=True)
class LaunchCompanion:
    """Start the API process."""


@dataclass(frozen=True, slots=True)
class TerminateCompanion:
    """Ask the API process to end."""


@dataclass(frozen=True, slots=True)
class KillCompanion:
    """End the API process."""


@dataclass(frozen=True, slots=True)
class Exit:
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
    | TakeStock
    | LaunchCompanion
    | TerminateCompanion
    | KillCompanion
    | Exit
)

Action = Save | Effect
