"""What the queries answer, where it is more than a row of a table (kernel/protocol/rows.py).

Times are milliseconds since 1970 UTC.
"""

from dataclasses import dataclass

from kernel.protocol import rows
from kernel.protocol.enums import EngineState, JobState
from kernel.protocol.ids import EngineId, EventSeq, ImageId, JobId, ModelId
from kernel.protocol.specs import JobSpec


class EngineRow(rows.EngineRow, frozen=True, kw_only=True):
    """An engine, and how many of its jobs are open."""

    jobs_waiting: int
    jobs_processing: int


@dataclass(frozen=True, slots=True)
class FailingEngine:
    """An engine that has failed and was not ready since: what the jobs that wait for it are told."""

    engine_id: EngineId
    status: EngineState
    error_code: str
    error: str
    waits_since_ms: int | None
    retry_at_ms: int | None


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job. `seq` is its place in the order of arrival."""

    seq: int
    job_id: JobId
    engine_id: EngineId
    status: JobState
    priority: int
    spec: JobSpec
    image_ids: tuple[ImageId, ...]
    attempts: int
    error_code: str | None
    error: str | None
    warnings: tuple[str, ...]
    created_at_ms: int
    started_at_ms: int | None
    finished_at_ms: int | None


class ImageRow(rows.ImageRow, frozen=True, kw_only=True):
    """An image with the spec of its job; `checkpoint` is None once the engine is deleted."""

    spec: JobSpec
    checkpoint: ModelId | None


@dataclass(frozen=True, slots=True)
class SeqRange:
    """The oldest and the newest change that the database still knows; both 0 when it knows none."""

    first: EventSeq
    last: EventSeq


@dataclass(frozen=True, slots=True)
class GroupCount:
    """How many rows of one table are in one state."""

    state: str
    count: int


@dataclass(frozen=True, slots=True)
class Total:
    """A count, and the bytes of what was counted."""

    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Position:
    """How many waiting jobs of the same engine will be given out before this one."""

    ahead: int
