"""The events that the broker handles, in the past tense. Facts that the core lacks ride along."""

from collections.abc import Mapping
from typing import NewType

from msgspec import Struct, field

from kernel.protocol import client, worker
from kernel.protocol.enums import BlobKind, ControlType, GoneReason
from kernel.protocol.ids import BlobId, Epoch, EventSeq, ImageId, JobId, Lease, ModelId, WorkerId
from kernel.protocol.rows import EngineRow, ImageRow, JobRow, ModelRow

Peer = NewType("Peer", bytes)
"""The routing id under which a socket knows a client."""


class Now(Struct, frozen=True):
    """The moment at which an event is handled: a monotonic clock for deadlines, a calendar for rows."""

    mono_s: float
    unix_ms: int


class StoredReply(Struct, frozen=True):
    """What was answered the last time that a command with this key came."""

    digest: bytes
    reply: client.SingleReply


class DeviceFact(Struct, frozen=True):
    """A device as the shell saw it, and how much of it each local worker held just then."""

    status: client.DeviceStatus
    held: Mapping[WorkerId, int] = field(default_factory=dict)
    """In bytes; workers of which the system does not tell are left out."""


class Prunable(Struct, frozen=True):
    """The images that PruneImages is about, oldest first; `has_more` of them than can be ended at once."""

    images: tuple[tuple[ImageId, GoneReason], ...]
    size_bytes: int
    """What they take on the disk."""
    has_more: bool = False
    missing_files: tuple[str, ...] = ()
    """The names of those among them whose files are not there."""
    unreadable: str | None = None
    """Why it could not be seen which files are there."""
    counted: int = 0
    """So many more, which are counted and not named: a dry run needs no more."""


class KeptModel(Struct, frozen=True):
    """A file or folder that the models folder keeps, by its name there."""

    name: str
    size_bytes: int


class Facts(Struct, frozen=True):
    """What the shell knows and the core's memory does not. None: there is no such row."""

    stored_reply: StoredReply | None = None
    image: ImageRow | None = None
    ended_job: JobRow | None = None
    devices: tuple[DeviceFact, ...] = ()
    """Only with asks that may start an engine."""
    prunable: Prunable | None = None
    """Only with PruneImages."""
    kept_models: tuple[KeptModel, ...] = ()
    """Only with PruneModels."""
    absent_detectors: Mapping[ControlType, str] = field(default_factory=dict)
    """Those that workers of this host cannot load, and how to get their files. Only with a SubmitJob that
    brings a pose image."""


NO_FACTS = Facts()


class Asked(Struct, frozen=True):
    """A client sent a command."""

    peer: Peer
    correlation: bytes
    key: str
    digest: bytes
    ask: client.Ask
    facts: Facts = NO_FACTS
    unanswered: int = 1
    """How many commands of this peer have arrived and not been answered, this one included."""
    blob_bytes: tuple[int, ...] = ()
    """The sizes of the files that came along."""


class WatchAsked(Struct, frozen=True):
    """A client wants to hear of every change, or wants no more of it."""

    peer: Peer
    correlation: bytes
    is_on: bool = True


class StatusAsked(Struct, frozen=True):
    """A client wants to know how the Manager is; the devices are read by the shell."""

    peer: Peer
    correlation: bytes
    version: str
    pid: int
    devices: tuple[client.DeviceStatus, ...] = ()
    standbys: int = 0
    """Processes that wait to become a worker."""
    internal_errors: int = 0
    last_internal_error: str | None = None


class PeerLost(Struct, frozen=True):
    """A client cannot be reached any more."""

    peer: Peer


class Reported(Struct, frozen=True):
    """A worker said something. `worker_id` is who it proved to be by its key."""

    worker_id: WorkerId
    report: worker.WorkerReport
    has_blob: bool = False


class ReportUnreadable(Struct, frozen=True):
    """A worker said something that is no message for one of its role."""

    worker_id: WorkerId
    reason: str


class WorkerExited(Struct, frozen=True):
    """A local worker's process is gone."""

    worker_id: WorkerId
    status: str
    """How it ended, for a person: `exit code 1`, `signal SIGKILL`."""
    last_words: str = ""
    """The end of its stderr."""


class PictureStored(Struct, frozen=True):
    """The file of an image or of a control map is on the disk, durably."""

    picture_id: ImageId | BlobId


class PictureNotStored(Struct, frozen=True):
    """The file could not be written."""

    picture_id: ImageId | BlobId
    reason: str
    is_damaged: bool = False
    """The disk is not to blame: the bytes are not those that their sender described."""


class InputsStored(Struct, frozen=True):
    """All files that came with a job are on the disk, durably."""

    key: str
    """That of the command which they came with."""


class InputsNotStored(Struct, frozen=True):
    """A file that came with a job could not be written; none of them is there."""

    key: str
    reason: str
    is_damaged: bool = False
    """The disk is not to blame: the bytes are not those that their sender described."""


class InputsUnreadable(Struct, frozen=True):
    """A job was to be sent to a worker, but a file that came with it cannot be read."""

    worker_id: WorkerId
    job_id: JobId
    lease: Lease
    reason: str


class ModelMoved(Struct, frozen=True):
    """A model's files are in their place, durably."""

    model_id: ModelId


class ModelNotMoved(Struct, frozen=True):
    """A model's files could not be moved; without a reason, they were neither here nor there."""

    model_id: ModelId
    reason: str | None = None


class ModelFilesSeen(Struct, frozen=True):
    """The shell looked whether models are where they should be, since something may depend on it now."""

    absent: frozenset[ModelId]


class DiskSwept(Struct, frozen=True):
    """The shell looked at the disks, as SweepDisk asked; what is due rides on the event when it is handled.

    Units: bytes.
    """

    free_bytes: int
    """On the fullest of the disks that jobs write to."""
    models_free_bytes: int | None = None
    """On the disk that models come to, where it was looked at."""
    images_due: tuple[tuple[ImageId, GoneReason], ...] = ()
    blobs_due: tuple[BlobId, ...] = ()
    has_more_due: bool = False
    devices: tuple[DeviceFact, ...] = ()


class DeadlinePassed(Struct, frozen=True):
    """It is as late as `next_deadline` said, or later."""


class StopAsked(Struct, frozen=True):
    """A signal asked the Manager to stop. The second one means: now."""


class ApiExited(Struct, frozen=True):
    """The API process is gone."""

    status: str
    exit_code: int | None = None
    """None, if a signal ended it or it could not be started."""


Event = (
    Asked
    | WatchAsked
    | StatusAsked
    | PeerLost
    | Reported
    | ReportUnreadable
    | WorkerExited
    | PictureStored
    | PictureNotStored
    | ModelMoved
    | ModelNotMoved
    | ModelFilesSeen
    | InputsStored
    | InputsNotStored
    | InputsUnreadable
    | DiskSwept
    | DeadlinePassed
    | StopAsked
    | ApiExited
)


class Snapshot(Struct, frozen=True):
    """What the database holds of everything that is still open, as a start finds it."""

    epoch: Epoch
    models: tuple[ModelRow, ...] = ()
    engines: tuple[EngineRow, ...] = ()
    open_jobs: tuple[JobRow, ...] = ()
    stored_positions: dict[str, frozenset[int]] = field(default_factory=dict)
    """By job id: which pictures of an open job are stored already."""
    stored_blobs: dict[str, frozenset[BlobKind]] = field(default_factory=dict)
    """By job id: what else is stored of an open job."""
    last_change: EventSeq = EventSeq(0)
    last_job_seq: int = 0
    devices: tuple[DeviceFact, ...] = ()
    lost_images: tuple[ImageId, ...] = ()
    """Their files are not there any more."""
    found_images: tuple[ImageId, ...] = ()
    """They were lost, and their files are there again."""
    absent_models: frozenset[ModelId] = frozenset()
    """Nothing is where they should be."""
    has_api_process: bool = False
    """The API of a former life of this process is still there."""
    blamed: Mapping[str, int] = field(default_factory=dict)
    """Jobs, models and engines over which former lives of this process ended, and how often."""
    is_stopping: bool = False
    """A former life of this process was on its way out when it ended."""
