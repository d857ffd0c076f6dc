"""Jobs in HTTP responses, converted from the database and the bus."""

from dataclasses import dataclass
from datetime import datetime

import msgspec
from msgspec.structs import asdict

from api.http.contract.constraints import Priority
from api.http.contract.engine_errors import first_engine_error
from api.http.contract.responses import StoredError, moment, moment_or_none, stored_error
from api.http.contract.search_query import SearchQuery, search_of
from kernel.protocol.client import JobAccepted, JobProgress
from kernel.protocol.enums import ControlType, JobState, Stage, WaitsFor
from kernel.protocol.errors import JobNotFound
from kernel.protocol.ids import EngineId, JobId
from kernel.protocol.specs import JobSpec
from kernel.views.jobs import JobFilter
from kernel.views.names import Names, Referring
from kernel.views.rows import JobRow


class JobListQuery(SearchQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters of the list, and its page."""

    status: JobState | None = None


class JobEdit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change of a waiting job: jobs with a higher `priority` go first."""

    priority: Priority


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a job: `step` of `steps`, the fraction done (0 to 1), and the estimated seconds left."""

    stage: Stage
    step: int
    steps: int
    fraction: float
    eta_s: float | None


class JobChecked(msgspec.Struct, frozen=True, kw_only=True):
    """The job is valid for this engine; `engine_id` is null if the job would create one."""

    valid: bool
    engine_id: str | None


class Job(JobSpec, frozen=True, kw_only=True):
    """A job with all its values resolved. `queue_position` is 1 for the next job, and `queue_eta_s` how long
    it will wait for its turn, judged by the engine's last jobs; lists leave them and `waits_for` null. A
    waiting job shows the `error` of its engine if the engine has failed.

    `inputs` are the input images of the job; `strength` is null without a reference image.
    """

    job_id: JobId
    engine_id: EngineId
    status: JobState
    priority: int
    queue_position: int | None
    queue_eta_s: float | None
    waits_for: WaitsFor | None
    progress: Progress | None
    attempts: int
    error: StoredError | None
    warnings: tuple[str, ...]
    image_id: str | None
    image_ids: tuple[str, ...]
    type_pose: tuple[ControlType, ...]
    key_id: str | None
    """The API key that it was submitted with; null: without one."""
    names: dict[str, str]
    """The names of its engine, models and key, by id."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """A waiting job's position in its queue, and the reason why it waits."""

    jobs_ahead: int
    waits_for: WaitsFor
    eta_s: float | None = None
    """Seconds until its turn, as far as that can be told."""


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of jobs, newest first; `next` is the cursor of the next page."""

    items: tuple[Job, ...]
    next: str | None


def filter_of(query: JobListQuery, now_ms: int) -> JobFilter:
    """The filter of a checked query."""
    return JobFilter(status=query.status, **search_of(query, now_ms))


def accepted_job(accepted: JobAccepted) -> Job:
    """The response to a submission: the job as it was then, without a look into the database.

    Raises: JobNotFound, if it has been deleted since.
    """
    if accepted.spec is None or accepted.engine_id is None:
        raise JobNotFound("the job was accepted earlier and has been deleted since")
    row = JobRow(
        seq=0,
        job_id=accepted.job_id,
        engine_id=accepted.engine_id,
        status=accepted.status,
        priority=accepted.priority,
        spec=accepted.spec,
        image_ids=accepted.image_ids,
        attempts=accepted.attempts,
        error_code=None,
        error=None,
        warnings=(),
        created_at_ms=accepted.created_at_ms,
        started_at_ms=accepted.started_at_ms,
        finished_at_ms=None,
        key_id=accepted.key_id,
    )
    ahead, awaited = accepted.jobs_ahead, accepted.waits_for
    place = None if ahead is None or awaited is None else Place(ahead, awaited)
    return job_of(row, Names(accepted.names), place=place, trouble=first_engine_error(accepted))


def progress_of(progress: JobProgress) -> Progress:
    """The progress of a job as a response."""
    return Progress(
        stage=progress.stage,
        step=progress.step,
        steps=progress.steps,
        fraction=round(progress.step / progress.steps, 4) if progress.steps else 0.0,
        eta_s=progress.eta_s,
    )


def referring(row: JobRow) -> Referring:
    """What it refers to by id."""
    return row.engine_id, row.spec, None, row.key_id


def job_of(
    row: JobRow,
    names: Names,
    progress: JobProgress | None = None,
    place: Place | None = None,
    trouble: StoredError | None = None,
) -> Job:
    """A job as a response, with the error of its engine if it waits for one that failed."""
    is_processing = row.status is JobState.PROCESSING
    return Job(
        **asdict(row.spec),
        job_id=row.job_id,
        engine_id=row.engine_id,
        status=row.status,
        priority=row.priority,
        queue_position=None if place is None else place.jobs_ahead + 1,
        queue_eta_s=None if place is None else place.eta_s,
        waits_for=None if place is None else place.waits_for,
        progress=progress_of(progress) if progress is not None and is_processing else None,
        attempts=row.attempts,
        error=trouble or stored_error(row.error_code, row.error),
        warnings=row.warnings,
        image_id=_first(row.image_ids),
        image_ids=row.image_ids,
        type_pose=tuple(control.control_type for control in row.spec.controls),
        key_id=row.key_id,
        names=names.of(referring(row)),
        created_at=moment(row.created_at_ms),
        started_at=moment_or_none(row.started_at_ms),
        finished_at=moment_or_none(row.finished_at_ms),
    )


def _first(image_ids: tuple[str, ...]) -> str | None:
    return image_ids[0] if image_ids else None
