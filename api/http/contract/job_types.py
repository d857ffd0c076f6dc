"""Jobs as HTTP shows them, and the way from the database and the bus to what is shown."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from api.http.contract.constraints import Limit, SchedulerOptions
from api.http.contract.engine_errors import first_engine_error
from api.http.contract.enum_choices import JobStateWord, check_choice, choice_or_none
from api.http.contract.model_refs import Control, Lora, controls_shown, loras_of, vae_shown
from api.http.contract.responses import StoredError, moment, moment_or_none, stored_error
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.client import JobAccepted, JobProgress
from kernel.protocol.enums import (
    ControlType,
    ImageFileType,
    ImageFit,
    InputKind,
    JobState,
    PromptTechnique,
    Scheduler,
    Stage,
    WaitsFor,
)
from kernel.protocol.ids import EngineId
from kernel.protocol.specs import JobSpec
from kernel.views.jobs import JobFilter
from kernel.views.rows import JobRow


class JobListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters of the list, and its page."""

    limit: Limit = 50
    after: str | None = None
    status: JobStateWord | None = None
    engine_id: str | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a job: `step` of `steps`, the fraction done (0 to 1), and the estimated seconds left."""

    stage: Stage
    step: int
    steps: int
    fraction: float
    eta_s: float | None


class JobCreated(msgspec.Struct, frozen=True, kw_only=True):
    """The job is in the queue, durably; its images will have these ids. If its engine has failed, `error` is
    the engine's error."""

    job_id: str
    status: JobState
    waits_for: WaitsFor | None
    error: StoredError | None
    image_id: str | None
    image_ids: tuple[str, ...]
    created_at: datetime


class JobChecked(msgspec.Struct, frozen=True, kw_only=True):
    """The job is valid for this engine."""

    valid: bool
    engine_id: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job with all its values resolved. `queue_position` is 1 for the next job; lists leave it and
    `waits_for` null. A waiting job shows the `error` of its engine if the engine has failed.

    `inputs` are the input images of the job; `strength` is null without a reference image.
    """

    job_id: str
    engine_id: str
    status: JobState
    priority: int
    queue_position: int | None
    waits_for: WaitsFor | None
    progress: Progress | None
    attempts: int
    error: StoredError | None
    warnings: tuple[str, ...]
    image_id: str | None
    image_ids: tuple[str, ...]
    prompt: str
    negative_prompt: str
    loras: tuple[Lora, ...]
    embeddings: tuple[str, ...]
    vae: str
    long_prompt_technique: PromptTechnique
    clip_skip: int | None
    seed: int
    count: int
    steps: int
    cfg: float
    width: int
    height: int
    scheduler: Scheduler
    scheduler_config: SchedulerOptions
    inputs: tuple[InputKind, ...]
    strength: float | None
    image_fit: ImageFit | None
    type_pose: tuple[ControlType, ...]
    controls: tuple[Control, ...]
    remove_background_models: tuple[str, ...]
    background_color: str | None
    image_file_type: ImageFileType
    quality: int
    previews: bool
    expire_after_s: float | None
    delete_after_downloads: int | None
    give_up_after_s: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job waits: behind how many others, and for what."""

    jobs_ahead: int
    waits_for: WaitsFor


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of jobs, newest first; `next` is the cursor of the next page."""

    items: tuple[Job, ...]
    next: str | None


def check_list(found: JobListQuery, faults: ValidationErrors) -> None:
    """Find all that is wrong with a listing's filters."""
    check_choice(JobState, "status", found.status, faults)


def filter_of(query: JobListQuery) -> JobFilter:
    """The filter of a checked query."""
    engine_id = None if query.engine_id is None else EngineId(query.engine_id)
    return JobFilter(status=choice_or_none(JobState, query.status), engine_id=engine_id)


def created_of(accepted: JobAccepted) -> JobCreated:
    """The answer to a submission."""
    return JobCreated(
        job_id=accepted.job_id,
        status=JobState.WAITING,
        waits_for=accepted.waits_for,
        error=first_engine_error(accepted),
        image_id=_first(accepted.image_ids),
        image_ids=accepted.image_ids,
        created_at=moment(accepted.created_at_ms),
    )


def progress_of(progress: JobProgress) -> Progress:
    """How far a job is, as HTTP shows it."""
    return Progress(
        stage=progress.stage,
        step=progress.step,
        steps=progress.steps,
        fraction=round(progress.step / progress.steps, 4) if progress.steps else 0.0,
        eta_s=progress.eta_s,
    )


def job_of(
    row: JobRow,
    progress: JobProgress | None = None,
    place: Place | None = None,
    trouble: StoredError | None = None,
) -> Job:
    """A job as HTTP shows it; with the trouble of its engine, if it waits for one that has some."""
    spec = row.spec
    is_processing = row.status is JobState.PROCESSING
    return Job(
        job_id=row.job_id, engine_id=row.engine_id, status=row.status, priority=row.priority,
        queue_position=None if place is None else place.jobs_ahead + 1,
        waits_for=None if place is None else place.waits_for,
        progress=progress_of(progress) if progress is not None and is_processing else None,
        attempts=row.attempts, error=trouble or stored_error(row.error_code, row.error),
        warnings=row.warnings, image_id=_first(row.image_ids), image_ids=row.image_ids, prompt=spec.prompt,
        negative_prompt=spec.negative_prompt, loras=loras_of(spec.loras), embeddings=spec.embeddings,
        vae=vae_shown(spec.vae), long_prompt_technique=spec.long_prompt_technique, clip_skip=spec.clip_skip,
        seed=spec.seed, count=spec.count, steps=spec.steps, cfg=spec.guidance_scale, width=spec.width_px,
        height=spec.height_px, scheduler=spec.scheduler, scheduler_config=spec.scheduler_config,
        inputs=spec.inputs, strength=strength_of(spec), image_fit=spec.image_fit if spec.inputs else None,
        type_pose=tuple(use.control_type for use in spec.controls),
        controls=controls_shown(spec.controls, spec.control_models),
        remove_background_models=spec.remove_background, background_color=background_of(spec),
        image_file_type=spec.image_file_type, quality=spec.quality, previews=spec.previews,
        expire_after_s=spec.expire_after_s, delete_after_downloads=spec.delete_after_downloads,
        give_up_after_s=spec.give_up_after_s, created_at=moment(row.created_at_ms),
        started_at=moment_or_none(row.started_at_ms), finished_at=moment_or_none(row.finished_at_ms),
    )  # fmt: skip


def strength_of(spec: JobSpec) -> float | None:
    """How far the reference image is taken back into noise; None without one."""
    return spec.strength if InputKind.REFERENCE in spec.inputs else None


def background_of(spec: JobSpec) -> str | None:
    """What is laid under a picture without background; None where nothing is."""
    is_flat = bool(spec.remove_background) and spec.image_file_type is ImageFileType.JPEG
    return spec.background_color if is_flat else None


def _first(image_ids: tuple[str, ...]) -> str | None:
    return image_ids[0] if image_ids else None
