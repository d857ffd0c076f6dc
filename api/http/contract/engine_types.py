"""Engines in HTTP responses, and the filters of their list."""

from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec.structs import asdict

from api.http.contract.constraints import Limit, Wait
from api.http.contract.engine_errors import engine_error_of
from api.http.contract.progress import DownloadProgress, bytes_progress_of
from api.http.contract.responses import StoredError, moment, moment_or_none
from kernel.protocol.client import EngineProgress
from kernel.protocol.enums import EngineState, ModelType
from kernel.protocol.ids import EngineId
from kernel.protocol.memory import DeviceFit, EngineValid, MemoryShortage
from kernel.protocol.specs import EngineSpec
from kernel.views.engines import EngineFilter
from kernel.views.names import Names, Referring
from kernel.views.rows import EngineRow


class EngineListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters of the list, and its page."""

    limit: Limit = 50
    after: str | None = None
    status: EngineState | None = None
    name: str | None = None
    checkpoint: str | None = None


class EngineCreateQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds to wait until it is ready; or only check it, without creating it."""

    wait: Wait | None = None
    validate_only: bool = False


class EngineStopQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether to stop now and return running jobs to the queue, or let them end; seconds to wait until it is
    closed."""

    now: bool = False
    wait: Wait | None = None


class KeptOrDeleted(StrEnum):
    """What becomes of the images of a deleted engine."""

    KEEP = "keep"
    DELETE = "delete"


class EngineDeleteQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether to delete the engine's images, or keep them with the jobs that they belong to."""

    images: KeptOrDeleted = KeptOrDeleted.DELETE


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of an engine's open jobs."""

    waiting: int
    processing: int
    paused: bool
    """Waiting jobs are not given out: this queue is paused, or all queues are."""


class Engine(EngineSpec, frozen=True, kw_only=True):
    """An engine and its state. `device` is the one it runs on; while it does not run, the configured one."""

    engine_id: EngineId
    status: EngineState
    error: StoredError | None
    """The last failure and the way out; null once the engine is ready again."""
    retry_at: datetime | None
    """The next automatic retry of an engine in error with waiting jobs. Null: it must be started by hand."""
    memory_bytes: int | None
    waiting_for_room: bool
    """The engine is waiting for memory, or for another engine to stop (engines.max_running)."""
    waiting_for_capacity: str | None
    """What an engine of a pool waits for: a free worker, one that starts, or a place where one can start, in
    the words of the scheduler."""
    progress: DownloadProgress | None
    """How far the loading of a `starting` engine is, once its worker has begun."""
    queue: Queue
    names: dict[str, str]
    """The names of its models, by id."""
    created_at: datetime
    started_at: datetime | None


class EngineEdited(Engine, frozen=True, kw_only=True):
    """An engine after an edit."""

    reloads: bool
    """It loads its checkpoint again, after its running jobs; else the edit applies from now on."""


class EngineChecked(msgspec.Struct, frozen=True, kw_only=True):
    """The engine is valid, and this is how it would fit now. Without `start` it may be one that does not."""

    valid: bool
    fits: bool
    """It could start now, if need be because idle engines are closed for it."""
    closes: tuple[EngineId, ...]
    """The idle engines that would be closed for it."""
    devices: tuple[DeviceFit, ...]
    """Those that it may run on."""
    detail: str | None
    """Why it does not fit, and what would help."""
    memory: MemoryShortage | None
    """The same in numbers, if memory is what is missing."""


class EngineModelsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The type of the models, and the page."""

    limit: Limit = 50
    after: str | None = None
    type: ModelType | None = None


class EnginePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of engines, newest first; `next` is the cursor of the next page."""

    items: tuple[Engine, ...]
    next: str | None


def filter_of(query: EngineListQuery) -> EngineFilter:
    """The filter of a checked query."""
    return EngineFilter(status=query.status, name=query.name, checkpoint=query.checkpoint)


def referring(row: EngineRow) -> Referring:
    """What it refers to by id."""
    return row.engine_id, row.spec, None, None


def checked_of(valid: EngineValid) -> EngineChecked:
    """The result of a dry run as a response."""
    return EngineChecked(
        valid=True,
        fits=valid.fits,
        closes=valid.closes,
        devices=valid.devices,
        detail=valid.detail,
        memory=valid.shortage,
    )


def engine_of(row: EngineRow, names: Names, progress: EngineProgress | None = None) -> Engine:
    """An engine as a response."""
    return Engine(
        **asdict(row.spec) | {"device": row.device or row.spec.device},
        engine_id=row.engine_id,
        status=row.status,
        error=engine_error_of(row),
        retry_at=moment_or_none(row.retry_at_ms),
        memory_bytes=row.memory_bytes,
        waiting_for_room=row.waits_since_ms is not None and row.waits_reason is None,
        waiting_for_capacity=row.waits_reason,
        progress=bytes_progress_of(progress) if row.status is EngineState.STARTING else None,
        queue=Queue(
            waiting=row.jobs_waiting,
            processing=row.jobs_processing,
            paused=row.jobs_paused_since_ms is not None,
        ),
        names=names.of(referring(row)),
        created_at=moment(row.created_at_ms),
        started_at=moment_or_none(row.started_at_ms),
    )
