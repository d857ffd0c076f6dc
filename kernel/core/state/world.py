"""The broker's memory: the open part of the database, the workers, the watchers."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kernel.core.actions import Action
from kernel.core.due import Due
from kernel.core.events import DeviceFact, Now, Peer
from kernel.core.memory_model.memory_demand import Reservation
from kernel.core.ports import IdSource, Limits
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
    Lease,
    ModelId,
    Ticket,
    WorkerId,
)
from kernel.protocol.rows import BlobRow, EngineRow, ImageRow, JobRow, ModelRow


@dataclass(slots=True)
class Job:
    """An open job. While it is processed, `worker_id` is its one owner and `lease` the owner's right."""

    row: JobRow
    worker_id: WorkerId | None = None
    lease: Lease | None = None
    stored: set[int] = field(default_factory=set)
    """Positions of the pictures that are durable."""
    warnings: tuple[str, ...] | None = None
    """Set once the worker has said JobDone; the job is finished when the last picture is stored."""
    blobs: frozenset[BlobKind] = frozenset()
    """What is durable beside its images: what came with it, and its control maps."""
    maps_coming: frozenset[BlobKind] = frozenset()
    """Control maps on their way to the disk."""
    maps_sent: frozenset[BlobKind] = frozenset()
    """Those that the worker, with its JobDone, said it had sent."""


@dataclass(slots=True)
class Slot:
    """A job as a worker holds it. It outlives the job's cancellation, until the worker has dropped it."""

    lease: Lease
    is_suspect: bool
    """True for a job that was there when a worker died: it is run alone."""
    is_cancelled: bool = False
    is_overdue: bool = False
    """It made no progress for too long, and was asked to be dropped for that."""
    stage: Stage | None = None
    """As last told; None before anything was."""
    step: int = 0
    step_at_s: float | None = None
    seconds_per_step: float | None = None


@dataclass(slots=True)
class Worker:
    """A worker process, local or not."""

    worker_id: WorkerId
    role: WorkerRole
    token: str
    engine_id: EngineId | None
    state: WorkerState
    is_local: bool
    slots: dict[JobId, Slot] = field(default_factory=dict)
    capacity: int = 0
    heard_at_s: float = 0.0
    ready_at_s: float | None = None
    memory_bytes: int = 0
    """What it said to hold once its engine was loaded."""
    reservation: Reservation | None = None
    """None for a worker of another host, and where nothing is known of the device."""
    model_id: ModelId | None = None
    """The model that a fetch worker inspects."""
    terminate: str | None = None
    """Why the broker ends it, if the broker does."""
    is_to_blame: bool = True
    """False when its end is no fault of the jobs that it holds."""
    has_quit: bool = False
    """It said Goodbye though nobody had asked it to leave."""

    @property
    def is_asked_to_leave(self) -> bool:
        return self.state in (WorkerState.DRAINING, WorkerState.TERMINATING)


@dataclass(slots=True)
class Engine:
    """An engine with its queue and its workers."""

    row: EngineRow
    queue: JobQueue = field(default_factory=JobQueue)
    workers: dict[WorkerId, Worker] = field(default_factory=dict)
    is_pinned: bool = False
    """Started by a person, so it stays until a person stops it."""
    is_requested: bool = False
    """To be loaded though no job waits: it was started with its creation. Once ready it is one on demand."""
    is_stopping: bool = False
    is_held: bool = False
    """Stopped by a person: jobs that wait do not start it again, a new job or a person does."""
    is_resting: bool = False
    """In error, and left alone: until its next try is due, or somebody has put it right and starts it."""
    deaths: int = 0
    """Workers lost in a row with nobody else to blame."""
    failures: int = 0
    """How often it went into error since it last finished a job, or a person started it."""
    failed_at_s: float = 0.0
    patience: Timers[JobId] = field(default_factory=Timers)
    """Of the waiting jobs that have a limit: when to look whether it is reached, which is never too late.
    Units: seconds since 1970, for what it is computed from is durable."""
    idle_since_s: float | None = None
    step_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=31))
    needs: dict[tuple[str, MemoryPlan], tuple[int, ...]] = field(default_factory=dict)
    """Computed once: bytes by the number of pictures, from one upwards, for a kind of device and a plan."""

    @property
    def live_workers(self) -> Iterator[Worker]:
        """The workers that the engine can count on: neither invited guests nor leaving ones."""
        return (
            w
            for w in self.workers.values()
            if w.state in (WorkerState.LAUNCHED, WorkerState.LOADING, WorkerState.READY)
        )

    @property
    def is_running(self) -> bool:
        return any(w.state is not WorkerState.INVITED for w in self.workers.values())

    @property
    def is_busy(self) -> bool:
        return any(w.slots for w in self.workers.values())


@dataclass(slots=True)
class Picture:
    """A picture on its way to the disk: an image, or a control map."""

    row: ImageRow | BlobRow
    tries: int = 1


@dataclass(slots=True)
class Submission:
    """A job whose pictures are on their way to the disk: it is no job yet."""

    ask: SubmitJob
    digest: bytes
    blob_ids: tuple[BlobId, ...]
    askers: dict[tuple[Peer, bytes], None]
    """Who waits for the answer, and under which correlation: whoever has sent the command meanwhile."""
    size_bytes: int


@dataclass(slots=True)
class ApiProcess:
    """The API process that the Manager runs beside itself, if it does."""

    is_running: bool = False
    since_s: float = 0.0
    deaths: int = 0
    """In a row, none of which came after a long life."""
    restarts: int = 0
    failure: str | None = None
    """How it ended the last time that it should not have."""


@dataclass(slots=True)
class World:
    """All of it. Functions of the core take the world, change it, and append actions to `out`."""

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
    """Waiting for a fetch worker; the number counts the workers that died over it."""
    engines: dict[EngineId, Engine] = field(default_factory=dict)
    engine_names: dict[str, EngineId] = field(default_factory=dict)
    engines_without_room: dict[EngineId, float] = field(default_factory=dict)
    """Wanted, but others have the room: since when. First come, first served."""
    devices: dict[str, DeviceFact] = field(default_factory=dict)
    """As they were at `looked_at_s`; empty as long as nothing is known of them."""
    looked_at_s: float = 0.0
    jobs: dict[JobId, Job] = field(default_factory=dict)
    model_jobs: dict[ModelId, dict[JobId, None]] = field(default_factory=dict)
    """Which open jobs name a model."""
    submissions: dict[str, Submission] = field(default_factory=dict)
    """By the key of their command."""
    processing: int = 0
    workers: dict[WorkerId, Worker] = field(default_factory=dict)
    fetch_deaths: int = 0
    pictures: dict[ImageId | BlobId, Picture] = field(default_factory=dict)
    images_lost: tuple[ImageId, ...] = ()
    """Until the start has said so: those whose files are not there any more."""
    images_found: tuple[ImageId, ...] = ()
    """The same of those whose files are there again."""
    models_absent: frozenset[ModelId] = frozenset()
    """Until the start has said so: those that are not where they should be."""
    claims: dict[ImageId, set[Ticket]] = field(default_factory=dict)
    watchers: dict[Peer, None] = field(default_factory=dict)
    unwritten: set[ImageId | BlobId] = field(default_factory=set)
    """Those that could not be written at the last try: no job is given out while there are any."""
    is_disk_low: bool = False
    is_models_disk_low: bool = False
    forget_at_s: float = 0.0
    """When the next old answers and changes may be forgotten."""
    stops_asked: int = 0
    exit_code: int = 0
    blamed: Mapping[str, int] = field(default_factory=dict)
    """Until the start has looked at them: jobs, models, engines over which former lives ended, how often."""
    api_process: ApiProcess = field(default_factory=ApiProcess)
    last_change: EventSeq = EventSeq(0)
    last_job_seq: int = 0
    last_lease: int = 0
    last_worker: int = 0
    touches: int = 0

    @property
    def has_no_room(self) -> bool:
        """Is the disk that jobs write to almost full, or can it not be written to?"""
        return self.is_disk_low or bool(self.unwritten)

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self.jobs) - self.processing

    def touch(self) -> None:
        """From here on something changes that no action and no deadline tells yet."""
        self.touches += 1

    def act(self, action: Action) -> None:
        self.out.append(action)

    def marks(self) -> tuple[object, ...]:
        """What differs as soon as anything has been changed that counts (`Broker.is_as_before`)."""
        touches = (self.touches, self.timers.changes, self.api_process.restarts)
        numbers = (len(self.out), self.last_change, self.last_job_seq, self.processing)
        issued = (self.last_lease, self.last_worker, self.stops_asked, self.phase)
        things = (len(self.jobs), len(self.models), len(self.engines), len(self.workers))
        coming = (len(self.submissions), len(self.pictures), len(self.models_to_inspect))
        others = (len(self.watchers), len(self.claims), len(self.engines_without_room))
        return (*touches, *numbers, *issued, *things, *coming, *others)

    def new_lease(self) -> Lease:
        """A lease higher than every one before, in this epoch and in those before."""
        self.last_lease += 1
        return Lease(self.epoch << 32 | self.last_lease)

    def new_worker_id(self) -> WorkerId:
        """A worker id that no start of the Manager uses again."""
        self.last_worker += 1
        return WorkerId(f"w{self.epoch}-{self.last_worker}")

    def job_owner(self, job: Job) -> Worker | None:
        """The worker that processes the job; None while it waits."""
        if job.row.status is not JobState.PROCESSING or job.worker_id is None:
            return None
        return self.workers.get(job.worker_id)
