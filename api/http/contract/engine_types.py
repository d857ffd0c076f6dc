"""Engines as HTTP shows them, and which of them a listing is about."""

from datetime import datetime

import msgspec

from api.http.contract.constraints import Limit, SchedulerOptions
from api.http.contract.engine_errors import engine_error_of
from api.http.contract.enum_choices import EngineStateWord, check_choice, choice_or_none
from api.http.contract.model_refs import Lora, loras_of, vae_shown
from api.http.contract.responses import StoredError, moment, moment_or_none
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.enums import ControlType, EngineState, PromptTechnique, Scheduler, Variant
from kernel.views.engines import EngineFilter
from kernel.views.rows import EngineRow


class EngineListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters of the list, and its page."""

    limit: Limit = 50
    after: str | None = None
    status: EngineStateWord | None = None
    name: str | None = None
    checkpoint: str | None = None


class EngineStopQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether to stop now and return running jobs to the queue, or wait for them to end."""

    now: bool = False


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of an engine's open jobs."""

    waiting: int
    processing: int


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """An engine and its state."""

    engine_id: str
    name: str | None
    status: EngineState
    error: StoredError | None
    """The last failure and the way out; null once the engine is ready again."""
    retry_at: datetime | None
    """The next automatic retry of an engine in error with waiting jobs. Null: it must be started by hand."""
    checkpoint: str
    vae: str
    loras: tuple[Lora, ...]
    embeddings: tuple[str, ...]
    long_prompt_technique: PromptTechnique
    control_net: ControlType | None
    control_models: tuple[str, ...]
    clip_skip: int | None
    scheduler: Scheduler
    scheduler_config: SchedulerOptions
    steps: int
    cfg: float
    width: int | None
    height: int | None
    device: str
    """The device it runs on; while it does not run, the configured one."""
    dtype: Variant | None
    autostart: bool
    keep_alive_s: float | None
    give_up_after_s: float | None
    replicas: int
    max_batch: int | None
    memory_bytes: int | None
    waiting_for_room: bool
    """The engine is waiting for memory, or for another engine to stop (engines.max_running)."""
    queue: Queue
    created_at: datetime
    started_at: datetime | None


class EnginePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of engines, newest first; `next` is the cursor of the next page."""

    items: tuple[Engine, ...]
    next: str | None


def check_list(found: EngineListQuery, faults: ValidationErrors) -> None:
    """Find all that is wrong with a listing's filters."""
    check_choice(EngineState, "status", found.status, faults)


def filter_of(query: EngineListQuery) -> EngineFilter:
    """The filter of a checked query."""
    return EngineFilter(
        status=choice_or_none(EngineState, query.status), name=query.name, checkpoint=query.checkpoint
    )


def engine_of(row: EngineRow) -> Engine:
    """An engine as HTTP shows it."""
    spec = row.spec
    return Engine(
        engine_id=row.engine_id,
        name=spec.name,
        status=row.status,
        error=engine_error_of(row),
        retry_at=moment_or_none(row.retry_at_ms),
        checkpoint=spec.checkpoint,
        vae=vae_shown(spec.vae),
        loras=loras_of(spec.loras),
        embeddings=spec.embeddings,
        long_prompt_technique=spec.long_prompt_technique,
        control_net=spec.control_net,
        control_models=spec.control_models,
        clip_skip=spec.clip_skip,
        scheduler=spec.scheduler,
        scheduler_config=spec.scheduler_config,
        steps=spec.steps,
        cfg=spec.guidance_scale,
        width=spec.width_px,
        height=spec.height_px,
        device=row.device or spec.device,
        dtype=spec.dtype,
        autostart=spec.autostart,
        keep_alive_s=spec.keep_alive_s,
        give_up_after_s=spec.give_up_after_s,
        replicas=spec.replicas,
        max_batch=spec.max_batch,
        memory_bytes=row.memory_bytes,
        waiting_for_room=row.waits_since_ms is not None,
        queue=Queue(waiting=row.jobs_waiting, processing=row.jobs_processing),
        created_at=moment(row.created_at_ms),
        started_at=moment_or_none(row.started_at_ms),
    )
