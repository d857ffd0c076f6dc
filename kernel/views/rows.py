"""What the queries answer: one frozen dataclass per kind of row. Times are milliseconds since 1970 UTC."""

from dataclasses import dataclass

from kernel.protocol.enums import (
    BlobKind,
    ChangeKind,
    ControlType,
    EngineState,
    GoneReason,
    JobState,
    ModelBase,
    ModelState,
    ModelType,
    Variant,
)
from kernel.protocol.ids import BlobId, EngineId, EventSeq, ImageId, JobId, ModelId
from kernel.protocol.model_refs import Preparation
from kernel.protocol.specs import EngineSpec, JobSpec


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model, with what its inspection found."""

    model_id: ModelId
    name: str
    uri: str
    status: ModelState
    error_code: str | None
    error: str | None
    model_type: ModelType
    model_base: ModelBase | None
    variant: Variant | None
    tags: tuple[str, ...]
    trigger_words: tuple[str, ...]
    sha256: str | None
    size_bytes: int | None
    memory_bytes: int | None
    parameters: int | None
    prediction_type: str | None
    native_size_px: int | None
    control_type: ControlType | None
    created_at_ms: int
    found_words: tuple[str, ...]
    """Trigger words, as the model's own metadata names them."""
    stored: str | None
    """Its name below the models folder; None for a model that is used where it lies."""
    revision: str | None
    """The commit of the repository that it was taken from."""
    preparation: Preparation | None
    """How a background remover wants its pictures, as far as its owner said so."""


@dataclass(frozen=True, slots=True)
class EngineRow:
    """An engine, and how many of its jobs are open."""

    engine_id: EngineId
    spec: EngineSpec
    status: EngineState
    error_code: str | None
    error: str | None
    device: str | None
    memory_bytes: int | None
    created_at_ms: int
    started_at_ms: int | None
    waits_since_ms: int | None
    failing_since_ms: int | None
    retry_at_ms: int | None
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


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image with the spec of its job; `checkpoint` is None once the engine is deleted."""

    image_id: ImageId
    job_id: JobId
    engine_id: EngineId
    position: int
    file_name: str
    mime: str
    width_px: int
    height_px: int
    size_bytes: int
    sha256: str
    seed: int
    downloads: int
    download_limit: int | None
    created_at_ms: int
    expires_at_ms: int | None
    gone_reason: GoneReason | None
    gone_at_ms: int | None
    spec: JobSpec
    checkpoint: ModelId | None


@dataclass(frozen=True, slots=True)
class BlobRow:
    """A file of a job beside its images; `expires_at_ms` is None while the job is open."""

    blob_id: BlobId
    job_id: JobId
    kind: BlobKind
    file_name: str
    mime: str
    size_bytes: int
    sha256: str
    created_at_ms: int
    expires_at_ms: int | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One numbered change."""

    seq: EventSeq
    kind: ChangeKind
    id: str
    state: str
    at_ms: int


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
