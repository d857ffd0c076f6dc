"""Jobs as HTTP shows them: what is sent in, what comes out, and the way between them and the bus."""

from datetime import datetime
from typing import Final

import msgspec

from api.http.answering import StoredError, moment, moment_or_none, stored_error
from api.http.findings import Findings
from api.http.limits import (
    Cfg,
    Count,
    Id,
    Limit,
    Name,
    Priority,
    Prompt,
    Quality,
    SchedulerOptions,
    Seed,
    SizePx,
    Steps,
    Wait,
    check_at_most,
    check_line,
    check_options,
    check_size,
    check_text,
)
from api.http.words import ImageFileTypeWord, JobStateWord, SchedulerWord, check_word, word_or_none
from conf.settings import Server
from kernel.protocol.client import JobAccepted, JobProgress, SubmitJob
from kernel.protocol.ids import EngineId
from kernel.protocol.specs import JobRequest
from kernel.protocol.vocabulary import ImageFileType, JobState, Scheduler
from kernel.views.jobs import JobFilter
from kernel.views.rows import JobRow

LATER_FIELDS: Final = frozenset(
    {
        "loras",
        "embeddings",
        "vae",
        "reference_image_blob",
        "strength",
        "mask_image_blob",
        "pose_image_blob",
        "type_pose",
        "preprocessed",
        "control_scale",
        "control_start",
        "control_end",
        "remove_background_models",
        "clip_skip",
        "callback_url",
    }
)


class JobInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job to submit, to an engine by its id or by its name. What is not given is the engine's default."""

    engine_id: Id | None = None
    engine: Name | None = None
    prompt: Prompt = ""
    negative_prompt: Prompt = ""
    seed: Seed | None = None
    count: Count = 1
    steps: Steps | None = None
    cfg: Cfg | None = None
    width: SizePx | None = None
    height: SizePx | None = None
    scheduler: SchedulerWord | None = None
    scheduler_config: SchedulerOptions | None = None
    image_file_type: ImageFileTypeWord = "png"
    quality: Quality = 90
    priority: Priority = 0


class JobCreateQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many seconds to wait for the end of the job; or only to check whether it would be taken."""

    wait: Wait | None = None
    validate_only: bool = False


class JobListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which jobs, and which page of them."""

    limit: Limit = 50
    after: str | None = None
    status: JobStateWord | None = None
    engine_id: str | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is: `step` of `steps`, as a fraction of 1, and the seconds that it will still take."""

    step: int
    steps: int
    fraction: float
    eta_s: float | None


class JobCreated(msgspec.Struct, frozen=True, kw_only=True):
    """The job is in the queue, durably; its images will bear these ids."""

    job_id: str
    status: JobState
    image_id: str | None
    image_ids: tuple[str, ...]
    created_at: datetime


class JobChecked(msgspec.Struct, frozen=True, kw_only=True):
    """The job would be taken, by this engine."""

    valid: bool
    engine_id: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job with every value decided. `queue_position` is 1 for the next; only a single job shows it."""

    job_id: str
    engine_id: str
    status: JobState
    priority: int
    queue_position: int | None
    progress: Progress | None
    attempts: int
    error: StoredError | None
    warnings: tuple[str, ...]
    image_id: str | None
    image_ids: tuple[str, ...]
    prompt: str
    negative_prompt: str
    seed: int
    count: int
    steps: int
    cfg: float
    width: int
    height: int
    scheduler: Scheduler
    scheduler_config: SchedulerOptions
    image_file_type: ImageFileType
    quality: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some jobs, newest first; `next` is the cursor of the next page."""

    items: tuple[Job, ...]
    next: str | None


def check_job(found: JobInput, limits: Server, findings: Findings) -> None:
    """Find all that is wrong with a job to be submitted."""
    _check_engine(found, findings)
    check_text("prompt", found.prompt, findings)
    check_text("negative_prompt", found.negative_prompt, findings)
    check_at_most("count", found.count, limits.max_count, findings)
    check_at_most("steps", found.steps, limits.max_steps, findings)
    check_size(found.width, found.height, limits.max_pixels, findings)
    check_word(Scheduler, "scheduler", found.scheduler, findings)
    check_word(ImageFileType, "image_file_type", found.image_file_type, findings)
    check_options("scheduler_config", found.scheduler_config, findings)


def check_list(found: JobListQuery, findings: Findings) -> None:
    """Find all that is wrong with a listing's filters."""
    check_word(JobState, "status", found.status, findings)


def submit_job(found: JobInput, *, validate_only: bool) -> SubmitJob:
    """The ask for a checked input."""
    request = JobRequest(
        prompt=found.prompt,
        negative_prompt=found.negative_prompt,
        seed=found.seed,
        count=found.count,
        steps=found.steps,
        guidance_scale=found.cfg,
        width_px=found.width,
        height_px=found.height,
        scheduler=word_or_none(Scheduler, found.scheduler),
        scheduler_config=found.scheduler_config,
        image_file_type=word_or_none(ImageFileType, found.image_file_type) or ImageFileType.PNG,
        quality=found.quality,
    )
    return SubmitJob(
        engine_id=None if found.engine_id is None else EngineId(found.engine_id),
        engine_name=found.engine,
        request=request,
        priority=found.priority,
        validate_only=validate_only,
    )


def filter_of(query: JobListQuery) -> JobFilter:
    """The filter of a checked query."""
    engine_id = None if query.engine_id is None else EngineId(query.engine_id)
    return JobFilter(status=word_or_none(JobState, query.status), engine_id=engine_id)


def created_of(accepted: JobAccepted) -> JobCreated:
    """The answer to a submission."""
    return JobCreated(
        job_id=accepted.job_id,
        status=JobState.WAITING,
        image_id=_first(accepted.image_ids),
        image_ids=accepted.image_ids,
        created_at=moment(accepted.created_at_ms),
    )


def progress_of(progress: JobProgress) -> Progress:
    """How far a job is, as HTTP shows it."""
    return Progress(
        step=progress.step,
        steps=progress.steps,
        fraction=round(progress.step / progress.steps, 4) if progress.steps else 0.0,
        eta_s=progress.eta_s,
    )


def job_of(row: JobRow, progress: JobProgress | None = None, jobs_ahead: int | None = None) -> Job:
    """A job as HTTP shows it."""
    spec = row.spec
    is_processing = row.status is JobState.PROCESSING
    return Job(
        job_id=row.job_id,
        engine_id=row.engine_id,
        status=row.status,
        priority=row.priority,
        queue_position=None if jobs_ahead is None else jobs_ahead + 1,
        progress=progress_of(progress) if progress is not None and is_processing else None,
        attempts=row.attempts,
        error=stored_error(row.error_code, row.error),
        warnings=row.warnings,
        image_id=_first(row.image_ids),
        image_ids=row.image_ids,
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt,
        seed=spec.seed,
        count=spec.count,
        steps=spec.steps,
        cfg=spec.guidance_scale,
        width=spec.width_px,
        height=spec.height_px,
        scheduler=spec.scheduler,
        scheduler_config=spec.scheduler_config,
        image_file_type=spec.image_file_type,
        quality=spec.quality,
        created_at=moment(row.created_at_ms),
        started_at=moment_or_none(row.started_at_ms),
        finished_at=moment_or_none(row.finished_at_ms),
    )


def _check_engine(found: JobInput, findings: Findings) -> None:
    check_line("engine_id", found.engine_id, findings)
    check_line("engine", found.engine, findings)
    if found.engine_id is None and found.engine is None:
        findings.wrong("engine_id", "is required, or `engine` with the engine's name")
    elif found.engine_id is not None and found.engine is not None:
        findings.wrong("engine", "contradicts engine_id: give one of them")


def _first(image_ids: tuple[str, ...]) -> str | None:
    return image_ids[0] if image_ids else None
