"""The Manager's status: what it answers to GetStatus."""

import msgspec

from kernel.protocol.enums import Phase, WorkerRole
from kernel.protocol.ids import EngineId, JobId, WorkerId
from kernel.protocol.worker import WorkerDevice


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A device that engines can run on."""

    device: str
    name: str
    total_bytes: int
    free_bytes: int
    promised_bytes: int = 0
    """To workers, for their weights and their largest batch."""
    available_bytes: int = 0
    """What another engine could get: neither used, nor promised, nor kept free."""
    capability: str | None = None
    """Of a GPU: its compute capability, `9.0`, or its instruction set, `gfx90a`; None: not known."""


class EngineFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine does at this moment."""

    engine_id: EngineId
    name: str
    """Its id, if it has none."""
    workers: int
    """That load or are ready."""
    batch: int
    """Jobs that its workers step together now."""
    max_batch: int
    """The most that they could."""
    step_s: float | None
    """The median time of the last steps; None: none was measured since it was started."""
    workers_lost: int
    """Workers that ended without being asked to, since the Manager's start."""


class WorkerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process as the Manager sees it at this moment."""

    worker_id: WorkerId
    role: WorkerRole
    state: str
    pool: str | None
    """None: the Manager has started it, on its own host."""
    host: str | None
    """None before it has said hello, as the next two."""
    pid: int | None
    version: str | None
    launch: str | None
    """Which of a launcher's workers it is."""
    joined_at_ms: int | None
    is_cordoned: bool
    devices: tuple[WorkerDevice, ...]
    """Of its host, as it saw them before it loaded anything; empty for a worker of the Manager's host."""
    device: str | None
    """That its engine was given."""
    engine_id: EngineId | None
    memory_bytes: int
    """That its engine took when it was loaded; 0 before."""
    jobs: tuple[JobId, ...]
    round_trip_ms: float | None
    """From one of its Pings to the answer."""


class WorkerEnd(msgspec.Struct, frozen=True, kw_only=True):
    """An engine's worker that has ended, and its last words."""

    worker_id: WorkerId
    pool: str | None
    host: str | None
    pid: int | None
    engine_id: EngineId | None
    ended_at_ms: int
    text: str


class ApiLife(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the API process that the Manager runs and restarts."""

    is_running: bool
    restarts: int
    last_failure: str | None = None
    next_start_s: float | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The Manager's status."""

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
    """None if the Manager runs no API."""
    standbys: int = 0
    """Processes that have imported an engine's libraries and wait for a ticket."""
    internal_errors: int = 0
    last_internal_error: str | None = None
    engines: tuple[EngineFigures, ...] = ()
    workers: tuple[WorkerFigures, ...] = ()
    ended_workers: tuple[WorkerEnd, ...] = ()
    """The last ones, newest first."""
