"""The broker's memory: the open part of the database, the workers, the watchers.

Rows of ended jobs and of images stay in the database; the core keeps only those that a decision may depend
on, so memory is bounded by open work. Everything here except workers and deadlines can be rebuilt from the
database at a start, so memory is never repaired. After an unexpected error the Manager may go on only if
nothing was changed: `World.marks` is a tuple of counters of which every change moves one, which costs about 1
us per event, where a copy would cost more than the event (adr/0038). A change without an action, deadline or
count must call `touch` first.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from kernel.core.actions import Action
from kernel.core.due import Due
from kernel.core.events import DeviceFact, Now, Peer
from kernel.core.memory_model.memory_demand import Reservation
from kernel.core.ports import IdSource, Limits
from kernel.core.state.delivery_queue import DeliveryQueue
from kernel.core.state.part_queue import PartQueue
from kernel.core.state.queue import JobQueue
from kernel.core.state.tables import WorkerState
from kernel.core.state.timers import Timers
from kernel.protocol.client import SubmitJob
from kernel.protocol.enums import BlobKind, JobState, MemoryPlan, Phase, Stage, WorkerRole
from kernel.protocol.ids import (
    BlobId,
    EngineId,
    Epoch,
    EventSeq,
    ImageId,
    JobId,
    KeyId,
    Lease,
    ModelId,
    Ticket,
    TokenId,
    WebhookId,
    WorkerId,
)
from kernel.protocol.rows import (
    BlobRow,
    CallGroup,
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
from kernel.protocol.specs import EngineLoad
from kernel.protocol.status import WorkerEnd
from kernel.protocol.worker import Enroll

ENDS_KEPT: Final = 50
"""Workers whose last words are remembered."""


@dataclass(slots=True)
class Job:
    """An open job. While it is processed, `worker_id` is its only owner and `lease` proves the ownership."""

    row: JobRow
    worker_id: WorkerId | None = None
    lease: Lease | None = None
    stored: frozenset[int] = frozenset()
    """Positions of the images that are durable."""
    warnings: tuple[str, ...] | None = None
    """Set once the worker has reported JobDone; the job is finished when its last image is stored."""
    is_loss_counted: bool = False
    """The loss of its last worker counted as a crash: it was none, if that worker comes back with it."""
    blobs: frozenset[BlobKind] = frozenset()
    """Durable files besides its images: inputs and control maps."""
    maps_coming: frozenset[BlobKind] = frozenset()
    """Control maps on their way to the disk."""
    maps_sent: frozenset[BlobKind] = frozenset()
    """Control maps that the worker reported in its JobDone."""
    overtaken: int = 0
    """Later jobs of the same key and priority that were given out before it."""


@dataclass(slots=True)
class Slot:
    """A job that a worker holds. It outlives the job's cancellation, until the worker has dropped it."""

    lease: Lease
    is_suspect: bool
    """True for a job that was running when a worker died: it runs alone."""
    group: CallGroup
    is_cancelled: bool = False
    is_overdue: bool = False
    """It made no progress for too long, and the worker was asked to drop it."""
    stage: Stage | None = None
    """As last reported; None before the first report."""
    step: int = 0
    step_at_s: float | None = None
    seconds_per_step: float | None = None


@dataclass(slots=True)
class Enrolled:
    """What a worker of a pool has said of itself, and what it was told besides jobs."""

    pool: str
    token_id: TokenId
    said: Enroll
    """As it enrolled last."""
    load: EngineLoad | None = None
    """The engine that it was told to load."""
    is_cordoned: bool = False
    """A person wants it to be given nothing more."""


@dataclass(slots=True)
class Worker:
    """A worker process, of this host or of a pool."""

    worker_id: WorkerId
    role: WorkerRole
    token: str
    """Of its launch; empty for a worker of a pool."""
    engine_id: EngineId | None
    state: WorkerState
    enrolled: Enrolled | None = None
    """Of a worker of a pool; None: the Manager has started it."""
    host: str | None = None
    """As it said when it joined, like the next two."""
    pid: int | None = None
    version: str | None = None
    joined_at_ms: int | None = None
    round_trip_ms: float | None = None
    slots: dict[JobId, Slot] = field(default_factory=dict)
    capacity: int = 0
    heard_at_s: float = 0.0
    ready_at_s: float | None = None
    memory_bytes: int = 0
    """Memory that it reported once its engine was loaded."""
    reservation: Reservation | None = None
    """None for a worker of a pool, and where nothing is known of the device."""
    model_id: ModelId | None = None
    """The model that a fetch worker inspects."""
    is_scanning: bool = False
    """A fetch worker that looks through models.folders, and does nothing else."""
    is_sending: bool = False
    """A fetch worker that sends callbacks, and does nothing else."""
    terminate: str | None = None
    """Why the broker ends it, if the broker does."""
    is_to_blame: bool = True
    """False if its end is no fault of the jobs that it holds."""
    has_quit: bool = False
    """It said Goodbye without having been asked to leave."""
    goodbye: str | None = None
    """Why it leaves, in its own words."""
    recent_models: dict[ModelId, None] = field(default_factory=dict)
    """Models that it has probably loaded: its engine's, and those of its jobs; what was used last is last."""
    is_outdated: bool = False
    """Its engine was edited while it loaded: it is told when it is ready."""

    @property
    def is_local(self) -> bool:
        return self.enrolled is None

    @property
    def is_cordoned(self) -> bool:
        return self.enrolled is not None and self.enrolled.is_cordoned

    @property
    def is_asked_to_leave(self) -> bool:
        return self.state in (WorkerState.DRAINING, WorkerState.TERMINATING)


class LaunchState(Enum):
    """How far a launch is."""

    COMING = "coming"
    """Its worker has not joined."""
    JOINED = "joined"
    LEAVING = "leaving"
    """Its worker has left the bus, and its process ends by itself."""
    ENDING = "ending"
    """It was told to end."""


@dataclass(slots=True)
class Launch:
    """A worker of a pool that a launcher has been asked for, until its process has ended."""

    name: WorkerId
    """The id that its worker has once it has joined."""
    pool: str
    engine_id: EngineId
    """The engine that needed it; its worker may get another one of the pool."""
    state: LaunchState = LaunchState.COMING
    reason: str | None = None
    """Why it waits for capacity; None, if it does not."""
    fault: str | None = None
    """Why it was ended, if that counts as a crash of its engine."""


@dataclass(slots=True)
class Engine:
    """An engine with its queue and its workers."""

    row: EngineRow
    queue: JobQueue = field(default_factory=JobQueue)
    workers: dict[WorkerId, Worker] = field(default_factory=dict)
    is_pinned: bool = False
    """Started by a person, so it stays until a person stops it."""
    is_requested: bool = False
    """Started with its creation, so it is loaded though no job waits. Once ready it is on demand."""
    is_stopping: bool = False
    is_held: bool = False
    """Stopped by a person: waiting jobs do not start it again; a new job or a person does."""
    is_resting: bool = False
    """In error and not wanted, until its next try is due, or a person starts it or repairs the cause."""
    deaths: int = 0
    """Workers lost in a row that no job is to blame for."""
    failures: int = 0
    """Errors since it last finished a job or a person started it."""
    failed_at_s: float = 0.0
    patience: Timers[JobId] = field(default_factory=Timers)
    """Per waiting job with a give-up time: when to check it, never later than the true time.

    Units: seconds, Unix time, because the values that it is computed from are durable.
    """
    idle_since_s: float | None = None
    step_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=31))
    extra_replicas: int = 0
    """Workers beyond the least that its spec asks for, which were added for a long queue."""
    long_since_s: float | None = None
    """Since when its queue has been long, while a replica could be added."""
    spare_since_s: float | None = None
    """Since when one of the workers that were added has not been needed."""
    grows_at_s: float = 0.0
    """Before this time no replica is added."""
    made_room_at_s: float | None = None
    """When another engine of its pool was closed for it."""
    workers_lost: int = 0
    """Workers that ended without being asked to, since the start."""
    needs: dict[tuple[str, MemoryPlan], tuple[int, ...]] = field(default_factory=dict)
    """Need in bytes for 1, 2, ... images together, by kind of device and plan; computed once."""

    @property
    def live_workers(self) -> Iterator[Worker]:
        """The workers that the engine can count on: those that neither leave nor are cordoned."""
        return (w for w in self.workers.values() if not w.is_asked_to_leave and not w.is_cordoned)

    @property
    def is_running(self) -> bool:
        return bool(self.workers)

    @property
    def is_running_here(self) -> bool:
        return any(worker.is_local for worker in self.workers.values())

    @property
    def pool(self) -> str | None:
        return self.row.spec.pool

    @property
    def is_busy(self) -> bool:
        return any(w.slots for w in self.workers.values())


@dataclass(slots=True)
class PendingOutput:
    """An image or a control map on its way to the disk."""

    row: ImageRow | BlobRow
    tries: int = 1


@dataclass(slots=True)
class Submission:
    """A job whose input images are on their way to the disk; it does not exist as a job yet."""

    ask: SubmitJob
    digest: bytes
    blob_ids: tuple[BlobId, ...]
    askers: dict[tuple[Peer, bytes], None]
    """The clients that wait for the reply, with their correlations: every peer that has sent the command."""
    size_bytes: int


@dataclass(slots=True)
class ApiProcess:
    """The API process that the Manager runs as a child."""

    is_running: bool = False
    since_s: float = 0.0
    deaths: int = 0
    """Crashes in a row, none of them after a long run."""
    restarts: int = 0
    failure: str | None = None
    """How it ended the last time it crashed."""


@dataclass(slots=True)
class Scan:
    """The scan of models.folders; what has begun is in `row`."""

    row: ScanRow = field(default_factory=ScanRow)
    is_wanted: bool = False
    """One is to begin, or to follow the one that runs."""
    worker_id: WorkerId | None = None
    reading: tuple[str, int] | None = None
    """Path and stamp of the file that the worker reads."""
    crashes: dict[str, int] = field(default_factory=dict)
    """Workers that died of a file."""
    deaths: int = 0
    """Workers that died of no file, in a row."""
    gone: dict[str, None] = field(default_factory=dict)
    """Known paths that have no file any more. These and the indexes below are kept from the list of files to
    the end of the scan."""
    by_mark: dict[str, dict[str, None]] = field(default_factory=dict)
    """Paths of models by the content of their files."""
    deleted: set[str] = field(default_factory=set)
    """Content of files whose models a person has deleted."""
    by_uri: dict[str, ModelId] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


@dataclass(slots=True)
class World:
    """The whole state of the broker. Functions of the core take it, change it, and append actions to
    `out`."""

    limits: Limits
    id_source: IdSource
    epoch: Epoch
    now: Now
    started_s: float
    out: list[Action] = field(default_factory=list)
    phase: Phase = Phase.RUNNING
    timers: Timers[Due] = field(default_factory=Timers)
    models: dict[ModelId, ModelRow] = field(default_factory=dict)
    models_to_inspect: dict[ModelId, int] = field(default_factory=dict)
    """Models that wait for a fetch worker, with the number of workers that died with them."""
    models_to_review: dict[ModelId, int] = field(default_factory=dict)
    """Ready models that older rules have judged, in the same way; they are used meanwhile."""
    models_to_digest: dict[ModelId, None] = field(default_factory=dict)
    """Ready models in models.folders whose sha256 is not known yet."""
    outdated_digests: set[ModelId] = field(default_factory=set)
    """Those whose file was changed or moved after a worker was given them."""
    scanned_files: dict[str, ScannedFile] = field(default_factory=dict)
    """By path."""
    scan: Scan = field(default_factory=Scan)
    engines: dict[EngineId, Engine] = field(default_factory=dict)
    engine_names: dict[str, EngineId] = field(default_factory=dict)
    admission_queue: dict[EngineId, float] = field(default_factory=dict)
    """The admission queue: engines that wait for memory, with the time since when, in order of arrival."""
    devices: dict[str, DeviceFact] = field(default_factory=dict)
    """As measured at `looked_at_s`; empty while nothing is known of them."""
    looked_at_s: float = 0.0
    jobs: dict[JobId, Job] = field(default_factory=dict)
    model_jobs: dict[ModelId, dict[JobId, None]] = field(default_factory=dict)
    """Open jobs by the models that they name."""
    submissions: dict[str, Submission] = field(default_factory=dict)
    """By the key of their command."""
    processing: int = 0
    workers: dict[WorkerId, Worker] = field(default_factory=dict)
    idle_workers: dict[WorkerId, Worker] = field(default_factory=dict)
    """Workers of pools that had no engine when they came; ones that have got one since are removed when
    somebody looks."""
    ended_workers: deque[WorkerEnd] = field(default_factory=lambda: deque(maxlen=ENDS_KEPT))
    """The last workers of engines that have ended."""
    fetch_deaths: int = 0
    pending_outputs: dict[ImageId | BlobId, PendingOutput] = field(default_factory=dict)
    images_lost: tuple[ImageId, ...] = ()
    """Images whose files have gone; emptied when the start has recorded them."""
    images_found: tuple[ImageId, ...] = ()
    """Lost images whose files are back; emptied when the start has recorded them."""
    models_absent: frozenset[ModelId] = frozenset()
    """Models whose files are missing; emptied when the start has recorded them."""
    keys: dict[KeyId, KeyRow] = field(default_factory=dict)
    """The API keys, also those that have expired or were revoked."""
    worker_tokens: dict[TokenId, WorkerTokenRow] = field(default_factory=dict)
    """The enrollment tokens, also those that have expired or were revoked."""
    running_by_key: Counter[KeyId] = field(default_factory=Counter)
    """Jobs that are processed, by the API key that they were submitted with."""
    open_by_key: Counter[KeyId] = field(default_factory=Counter)
    """Jobs that wait or are processed, by their API key."""
    key_uses: dict[KeyId, dict[int, KeyUseRow]] = field(default_factory=dict)
    """What keys with a limit by the day have ordered, by the hour since 1970 UTC; the oldest is first."""
    keys_at_limit: set[KeyId] = field(default_factory=set)
    """Keys that have as many running jobs as they may: their waiting ones are passed over."""
    keys_to_serve: dict[KeyId, None] = field(default_factory=dict)
    """Keys that came to their limit or have left it; the engines that their jobs wait for are reconciled."""
    webhooks: dict[WebhookId, WebhookRow] = field(default_factory=dict)
    deliveries: DeliveryQueue = field(default_factory=DeliveryQueue)
    last_delivery_seq: int = 0
    sender_deaths: int = 0
    """Workers that died sending callbacks, since one of them was answered."""
    presets: dict[KeyId | None, set[str]] = field(default_factory=dict)
    """The names of the presets of each API key; None: of those that are everybody's."""
    launches: dict[WorkerId, Launch] = field(default_factory=dict)
    claims: dict[ImageId, set[Ticket]] = field(default_factory=dict)
    watchers: dict[Peer, None] = field(default_factory=dict)
    unwritten: set[ImageId | BlobId] = field(default_factory=set)
    """Outputs whose last write failed: no job is given out while there are any."""
    paused_since_ms: int | None = None
    """When a person paused the queues of all engines."""
    parts: PartQueue = field(default_factory=PartQueue)
    """Parts of models that workers of other hosts wait for."""
    is_disk_low: bool = False
    is_models_disk_low: bool = False
    forget_at_s: float = 0.0
    """When old replies and changes are next deleted."""
    stops_asked: int = 0
    exit_code: int = 0
    blamed: Mapping[str, int] = field(default_factory=dict)
    """Jobs, models and engines during which previous runs ended, with the number of times, until the start
    has used them."""
    api_process: ApiProcess = field(default_factory=ApiProcess)
    last_change: EventSeq = EventSeq(0)
    last_job_seq: int = 0
    last_lease: int = 0
    last_worker: int = 0
    touches: int = 0

    @property
    def is_disk_blocked(self) -> bool:
        """True if the disk that jobs write to is almost full, or writing to it fails."""
        return self.is_disk_low or bool(self.unwritten)

    @property
    def waiting(self) -> int:
        """The number of waiting jobs."""
        return len(self.jobs) - self.processing

    def jobs_paused_since_ms(self, engine: Engine) -> int | None:
        """When all queues were paused, or else this engine's."""
        return engine.row.paused_since_ms if self.paused_since_ms is None else self.paused_since_ms

    def has_work(self, engine: Engine) -> bool:
        """True if jobs wait for the engine and may be given out: its queue is not paused, and not all of
        their keys have as many running jobs as they may."""
        return self.next_job(engine) is not None

    def next_job(self, engine: Engine) -> JobId | None:
        """The waiting job of the engine that may be given out next, if there is one."""
        if self.jobs_paused_since_ms(engine) is not None:
            return None
        return engine.queue.first(self.keys_at_limit)

    def has_preset(self, owner: KeyId | None, name: str) -> bool:
        return name in self.presets.get(owner, ())

    def touch(self) -> None:
        """Announce a change that no action, deadline or count shows."""
        self.touches += 1

    def act(self, action: Action) -> None:
        self.out.append(action)

    def marks(self) -> tuple[object, ...]:
        """Counters that differ once anything has changed (see `Broker.is_as_before`)."""
        touches = (self.touches, self.timers.changes, self.api_process.restarts)
        numbers = (len(self.out), self.last_change, self.last_job_seq, self.processing)
        issued = (self.last_lease, self.last_worker, self.stops_asked, self.phase)
        things = (len(self.jobs), len(self.models), len(self.engines), len(self.workers))
        coming = (len(self.submissions), len(self.pending_outputs), len(self.models_to_inspect))
        others = (len(self.watchers), len(self.claims), len(self.admission_queue), len(self.models_to_digest))
        reviews, deliveries = len(self.models_to_review), self.last_delivery_seq
        parts = self.parts.changes
        return (*touches, *numbers, *issued, *things, *coming, *others, reviews, deliveries, parts)

    def new_lease(self) -> Lease:
        """A lease higher than any before, also of earlier epochs."""
        self.last_lease += 1
        return Lease(self.epoch << 32 | self.last_lease)

    def new_worker_id(self) -> WorkerId:
        """A worker id that no other start of the Manager uses."""
        self.last_worker += 1
        return WorkerId(f"w{self.epoch}-{self.last_worker}")

    def job_owner(self, job: Job) -> Worker | None:
        """The worker that processes the job; None while it waits."""
        if job.row.status is not JobState.PROCESSING or job.worker_id is None:
            return None
        return self.workers.get(job.worker_id)
