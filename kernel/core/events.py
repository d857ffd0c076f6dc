"""The events that the broker handles, in the past tense, with the facts that the core lacks."""

from collections.abc import Mapping
from typing import NewType

from msgspec import Struct, field

from kernel.protocol import client, worker
from kernel.protocol.enums import BlobKind, ControlType, GoneReason
from kernel.protocol.ids import BlobId, Epoch, EventSeq, ImageId, JobId, KeyId, Lease, ModelId, WorkerId
from kernel.protocol.rows import (
    DeliveryRow,
    EngineRow,
    ImageRow,
    JobRow,
    KeyRow,
    KeyUseRow,
    ModelRow,
    ScannedFile,
    ScanRow,
    WebhookRow,
    WorkerTokenRow,
)
from kernel.protocol.status import DeviceStatus

Peer = NewType("Peer", bytes)
"""A client's routing id on its socket."""


class Now(Struct, frozen=True):
    """The time of an event: monotonic for deadlines, Unix time for rows."""

    mono_s: float
    unix_ms: int


class StoredReply(Struct, frozen=True):
    """The earlier reply to a command with this key."""

    digest: bytes
    """Empty: not known, since a command of another version had it."""
    reply: client.SingleReply


class DeviceFact(Struct, frozen=True):
    """A device as the shell measured it, and the bytes that each local worker held then."""

    status: DeviceStatus
    held: Mapping[WorkerId, int] = field(default_factory=dict)
    """Units: bytes. Workers whose use the system does not report are left out."""
    is_told: bool = False
    """A worker has told of the device, which the shell cannot measure."""


class Prunable(Struct, frozen=True):
    """The images that PruneImages selects, oldest first; `has_more` if one command cannot end all of them."""

    images: tuple[tuple[ImageId, GoneReason], ...]
    size_bytes: int
    """Their size on the disk."""
    has_more: bool = False
    missing_files: tuple[str, ...] = ()
    """File names of those whose files are missing."""
    unreadable: str | None = None
    """Why the folder could not be read."""
    counted: int = 0
    """The number of further images, counted but not named, for a dry run."""


class KeptModel(Struct, frozen=True):
    """A file or folder in the models folder, by its name there."""

    name: str
    size_bytes: int


class Facts(Struct, frozen=True):
    """Facts that the shell reads for a command, because the core does not keep them in memory. None: no such
    row."""

    stored_reply: StoredReply | None = None
    image: ImageRow | None = None
    images: tuple[ImageRow, ...] = ()
    """Only with DeleteImages."""
    ended_job: JobRow | None = None
    delivery: DeliveryRow | None = None
    """Only with Redeliver."""
    devices: tuple[DeviceFact, ...] = ()
    """Only with commands that may start an engine."""
    prunable: Prunable | None = None
    """Only with PruneImages."""
    kept_models: tuple[KeptModel, ...] = ()
    """Only with PruneModels."""
    absent_detectors: Mapping[ControlType, str] = field(default_factory=dict)
    """Detectors that workers of this host cannot load, with the remedy. Only with a SubmitJob that has a pose
    image."""


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
    """Commands of this peer that are not answered yet, this one included."""
    blob_bytes: tuple[int, ...] = ()
    """The sizes of the blobs that came with it."""
    is_of_admin: bool = False
    """It came with the key of the role admin, which only the server's own user can read."""


class WatchAsked(Struct, frozen=True):
    """A client subscribed to all changes, or unsubscribed."""

    peer: Peer
    correlation: bytes
    is_on: bool = True


class StatusAsked(Struct, frozen=True):
    """A client asked for the Manager's status; the shell has measured the devices."""

    peer: Peer
    correlation: bytes
    version: str
    pid: int
    devices: tuple[DeviceStatus, ...] = ()
    standbys: int = 0
    """Standby worker processes."""
    internal_errors: int = 0
    last_internal_error: str | None = None


class PeerLost(Struct, frozen=True):
    """A client cannot be reached any more."""

    peer: Peer


class Reported(Struct, frozen=True):
    """A worker sent a report. `worker_id` is proven by its CURVE key."""

    worker_id: WorkerId
    report: worker.WorkerReport
    has_blob: bool = False


class EnrollAsked(Struct, frozen=True):
    """A worker whose key is not known yet wants to join a pool."""

    key: str
    """The name that the gate has given its CURVE key."""
    place: bytes
    """Its connection."""
    enroll: worker.Enroll


class ReportUnreadable(Struct, frozen=True):
    """A worker sent a message that cannot be decoded, or that its role may not send."""

    worker_id: WorkerId
    reason: str


class WorkerExited(Struct, frozen=True):
    """The process of a local or launched worker has exited."""

    worker_id: WorkerId
    status: str
    """How it ended, for a person: `exit code 1`, `signal SIGKILL`."""
    last_words: str = ""
    """The end of its stderr."""


class LaunchWaited(Struct, frozen=True):
    """A launched worker of a pool waits for capacity."""

    worker_id: WorkerId
    reason: str
    """In the words of its scheduler."""


class LaunchRan(Struct, frozen=True):
    """A launched worker of a pool has a place, and will join."""

    worker_id: WorkerId


class OutputStored(Struct, frozen=True):
    """The file of an image or of a control map is durable."""

    output_id: ImageId | BlobId


class OutputNotStored(Struct, frozen=True):
    """The file could not be written."""

    output_id: ImageId | BlobId
    reason: str
    is_damaged: bool = False
    """True if the bytes do not match their description, so the disk is not the cause."""


class InputsStored(Struct, frozen=True):
    """All input files of a job are durable."""

    key: str
    """The key of the command that the files came with."""


class InputsNotStored(Struct, frozen=True):
    """An input file of a job could not be written; none of them is stored."""

    key: str
    reason: str
    is_damaged: bool = False
    """True if the bytes do not match their description, so the disk is not the cause."""


class InputsUnreadable(Struct, frozen=True):
    """A job was to be sent to a worker, but one of its input files cannot be read."""

    worker_id: WorkerId
    job_id: JobId
    lease: Lease
    reason: str


class ModelMoved(Struct, frozen=True):
    """A model's files are in their place, durably."""

    model_id: ModelId


class ModelNotMoved(Struct, frozen=True):
    """A model's files could not be moved; without a reason, they were in neither place."""

    model_id: ModelId
    reason: str | None = None


class WantedPart(Struct, frozen=True):
    """A part of a model's file that a worker asked for, or without a file the list of its files."""

    worker_id: WorkerId
    model_id: ModelId
    sha256: str
    file: str | None = None
    offset: int = 0
    size_bytes: int = 0


class ModelPartRead(Struct, frozen=True):
    """The part of a model that a worker asked for is the event's blob."""

    part: WantedPart


class ModelFilesListed(Struct, frozen=True):
    """The files of a model, for the worker that asked for them."""

    part: WantedPart
    files: tuple[worker.FileOfModel, ...]
    is_folder: bool


class ModelPartNotRead(Struct, frozen=True):
    """A model's files cannot be sent as they were registered."""

    part: WantedPart
    reason: str


class ModelFilesSeen(Struct, frozen=True):
    """The shell checked the files of models before something depends on them."""

    absent: frozenset[ModelId]


class DiskSwept(Struct, frozen=True):
    """The shell finished SweepDisk. Expired images and blobs are read when the event is handled.

    Units: bytes.
    """

    free_bytes: int
    """On the fullest disk that jobs write to."""
    models_free_bytes: int | None = None
    """On the disk of the models folder; None, if it was not measured."""
    images_due: tuple[tuple[ImageId, GoneReason], ...] = ()
    blobs_due: tuple[BlobId, ...] = ()
    has_more_due: bool = False
    devices: tuple[DeviceFact, ...] = ()


class DeadlinePassed(Struct, frozen=True):
    """The time that `next_deadline` returned has come."""


class StopAsked(Struct, frozen=True):
    """A signal asked the Manager to stop. The second one means: immediately."""


class ApiExited(Struct, frozen=True):
    """The API process has exited."""

    status: str
    exit_code: int | None = None
    """None if a signal ended it, or it could not be started."""


Event = (
    Asked
    | WatchAsked
    | StatusAsked
    | PeerLost
    | Reported
    | EnrollAsked
    | ReportUnreadable
    | WorkerExited
    | LaunchWaited
    | LaunchRan
    | OutputStored
    | OutputNotStored
    | ModelMoved
    | ModelNotMoved
    | ModelFilesSeen
    | ModelPartRead
    | ModelFilesListed
    | ModelPartNotRead
    | InputsStored
    | InputsNotStored
    | InputsUnreadable
    | DiskSwept
    | DeadlinePassed
    | StopAsked
    | ApiExited
)


class Snapshot(Struct, frozen=True):
    """The open part of the database, as it is when the Manager starts."""

    epoch: Epoch
    models: tuple[ModelRow, ...] = ()
    engines: tuple[EngineRow, ...] = ()
    open_jobs: tuple[JobRow, ...] = ()
    keys: tuple[KeyRow, ...] = ()
    worker_tokens: tuple[WorkerTokenRow, ...] = ()
    key_uses: tuple[KeyUseRow, ...] = ()
    webhooks: tuple[WebhookRow, ...] = ()
    deliveries: tuple[DeliveryRow, ...] = ()
    """Those that are open, in the order of `seq`."""
    last_delivery_seq: int = 0
    presets: tuple[tuple[KeyId | None, str], ...] = ()
    """To whom they belong, and their names."""
    stored_positions: dict[str, frozenset[int]] = field(default_factory=dict)
    """By job id: positions of the stored images of an open job."""
    stored_blobs: dict[str, frozenset[BlobKind]] = field(default_factory=dict)
    """By job id: the other stored files of an open job."""
    last_change: EventSeq = EventSeq(0)
    last_job_seq: int = 0
    paused_since_ms: int | None = None
    devices: tuple[DeviceFact, ...] = ()
    scanned_files: tuple[ScannedFile, ...] = ()
    scan: ScanRow = ScanRow()
    lost_images: tuple[ImageId, ...] = ()
    """Images whose files have gone."""
    found_images: tuple[ImageId, ...] = ()
    """Lost images whose files are back."""
    absent_models: frozenset[ModelId] = frozenset()
    """Models whose files are missing."""
    has_api_process: bool = False
    """The API process of the Manager's previous run in this process is still there."""
    blamed: Mapping[str, int] = field(default_factory=dict)
    """Jobs, models and engines during which previous runs in this process ended, with the number of times."""
    is_stopping: bool = False
    """A previous run in this process was shutting down when it ended."""
