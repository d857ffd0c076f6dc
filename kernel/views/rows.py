"""Results of queries that are not rows of one table (kernel/protocol/rows.py).

Times are milliseconds since 1970 UTC.
"""

from dataclasses import dataclass

from msgspec import Struct

from kernel.protocol import rows
from kernel.protocol.enums import EngineState, JobState
from kernel.protocol.ids import EngineId, EventSeq, ImageId, JobId, KeyId, ModelId
from kernel.protocol.specs import JobSpec


class EngineRow(rows.EngineRow, frozen=True, kw_only=True):
    """An engine, with the number of its open jobs."""

    jobs_waiting: int
    jobs_processing: int
    jobs_paused_since_ms: int | None
    """When its queue was paused, or all queues."""

    @property
    def pool(self) -> str | None:
        return self.spec.pool


@dataclass(frozen=True, slots=True)
class FailingEngine:
    """An engine that has failed and was not ready since, with the error that its waiting jobs show."""

    engine_id: EngineId
    status: EngineState
    error_code: str
    error: str
    waits_since_ms: int | None
    retry_at_ms: int | None
    jobs_paused_since_ms: int | None
    pool: str | None


@dataclass(frozen=True, slots=True)
class JobTarget:
    """An engine or a ready checkpoint, with the size of the images that it makes by default."""

    id: str
    name: str | None
    """None for an engine without a name."""
    is_engine: int
    created_at_ms: int
    width_px: int | None
    height_px: int | None


class JobRow(Struct, frozen=True, kw_only=True):
    """A job. `seq` is its number in the order of arrival."""

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
    checkpoint: ModelId | None = None
    """Of the engine that it was given to last; None, if it was not given to any."""
    key_id: KeyId | None = None
    """The API key that it was submitted with; None: without one."""


class ImageRow(rows.ImageRow, frozen=True, kw_only=True):
    """An image with the spec of its job."""

    spec: JobSpec
    tags: tuple[str, ...]
    favorite: int
    note: str | None
    key_id: KeyId | None = None
    """The API key of its job."""
    place: int | None = None
    """In the order of all images; only of one that was searched for."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something by its id."""

    id: str


@dataclass(frozen=True, slots=True)
class Mark:
    """The last item of a page: its id, or its place among all."""

    id: str | int


@dataclass(frozen=True, slots=True)
class Name:
    """The name of something by its id."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Range:
    """The lowest and the highest number; the former is the higher one, if there is none."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class SeqRange:
    """The oldest and the newest change that the database still has; both 0 if it has none."""

    first: EventSeq
    last: EventSeq


@dataclass(frozen=True, slots=True)
class GroupCount:
    """The number of rows of one table in one state."""

    state: str
    count: int


@dataclass(frozen=True, slots=True)
class OpenJobs:
    """The open jobs of an engine, or of an API key."""

    name: str
    waiting: int
    processing: int


@dataclass(frozen=True, slots=True)
class Tally:
    """How often something has happened to an engine's jobs or images."""

    engine: str
    what: str
    """`wait`; `finished`, `failed` and `cancelled` for the time of running; `image`, `download`."""
    bound_ms: int
    """Of durations: they do not exceed it, but the next smaller bound."""
    count: int
    total: int
    """Milliseconds; of images, pixels; of downloads, bytes."""


@dataclass(frozen=True, slots=True)
class DurationBound:
    """An upper bound by which durations are counted."""

    ms: int


@dataclass(frozen=True, slots=True)
class QueueCount:
    """The open jobs of all engines, and since when all queues are paused."""

    waiting: int
    processing: int
    paused_since_ms: int | None


@dataclass(frozen=True, slots=True)
class Total:
    """A count, and the bytes of the counted rows."""

    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Position:
    """The number of waiting jobs of the same engine ahead of a job."""

    ahead: int


@dataclass(frozen=True, slots=True)
class Pace:
    """The mean time that the last jobs of an engine took each; None, if there were none."""

    job_ms: float | None
