"""Engines as HTTP shows them: what is sent in, what comes out, and the way between them and the bus."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from api.http.answering import StoredError, moment, moment_or_none, stored_error
from api.http.findings import Findings
from api.http.limits import (
    Cfg,
    Device,
    Id,
    KeepAlive,
    Limit,
    MaxBatch,
    Name,
    Replicas,
    SchedulerOptions,
    SizePx,
    Steps,
    check_at_most,
    check_line,
    check_options,
    check_size,
)
from api.http.words import EngineStateWord, SchedulerWord, VariantWord, check_word, fold, word_or_none
from conf.settings import Server
from kernel.protocol.client import CreateEngine
from kernel.protocol.ids import ModelId
from kernel.protocol.specs import EngineSpec
from kernel.protocol.vocabulary import EngineState, Scheduler, Variant
from kernel.views.engines import EngineFilter
from kernel.views.rows import EngineRow

LATER_FIELDS: Final = frozenset(
    {
        "vae",
        "loras",
        "embeddings",
        "long_prompt_technique",
        "control_net",
        "control_models",
        "clip_skip",
        "default_clip_skip",
    }
)

Value = TypeVar("Value")


class EngineInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An engine to create. Its sampling values are the defaults of its jobs; each has a `default_` alias."""

    name: Name | None = None
    checkpoint: Id
    scheduler: SchedulerWord | None = None
    default_scheduler: SchedulerWord | None = None
    scheduler_config: SchedulerOptions | None = None
    steps: Steps | None = None
    default_steps: Steps | None = None
    cfg: Cfg | None = None
    default_cfg: Cfg | None = None
    width: SizePx | None = None
    default_width: SizePx | None = None
    height: SizePx | None = None
    default_height: SizePx | None = None
    device: Device = "auto"
    dtype: VariantWord | None = None
    autostart: bool = True
    keep_alive_s: KeepAlive | None = None
    replicas: Replicas = 1
    max_batch: MaxBatch | None = None
    start: bool = True


class EngineListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which engines, and which page of them."""

    limit: Limit = 50
    after: str | None = None
    status: EngineStateWord | None = None
    name: str | None = None
    checkpoint: str | None = None


class EngineStopQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether to stop now, with the running jobs waiting again, or after them."""

    now: bool = False


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """The open jobs of an engine."""

    waiting: int
    processing: int


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """An engine and its state."""

    engine_id: str
    name: str | None
    status: EngineState
    error: StoredError | None
    checkpoint: str
    scheduler: Scheduler
    scheduler_config: SchedulerOptions
    steps: int
    cfg: float
    width: int | None
    height: int | None
    device: str
    """Where it runs, or where it is to run as long as it does not."""
    dtype: Variant | None
    autostart: bool
    keep_alive_s: float | None
    replicas: int
    max_batch: int | None
    memory_bytes: int | None
    waiting_for_room: bool
    """It is wanted, but other engines have the memory, or the places that the configuration allows."""
    queue: Queue
    created_at: datetime
    started_at: datetime | None


class EnginePage(msgspec.Struct, frozen=True, kw_only=True):
    """Some engines, newest first; `next` is the cursor of the next page."""

    items: tuple[Engine, ...]
    next: str | None


def check_engine(found: EngineInput, limits: Server, findings: Findings) -> None:
    """Find all that is wrong with an engine to be created."""
    check_line("name", found.name, findings)
    check_line("checkpoint", found.checkpoint, findings)
    check_line("device", found.device, findings)
    check_word(Scheduler, "scheduler", found.scheduler, findings)
    check_word(Scheduler, "default_scheduler", found.default_scheduler, findings)
    check_word(Variant, "dtype", found.dtype, findings)
    check_at_most("steps", found.steps, limits.max_steps, findings)
    check_at_most("default_steps", found.default_steps, limits.max_steps, findings)
    width_px, height_px = (
        _either(found.width, found.default_width),
        _either(found.height, found.default_height),
    )
    check_size(width_px, height_px, limits.max_pixels, findings)
    check_options("scheduler_config", found.scheduler_config, findings)
    for field, value, alias in _aliased(found):
        if value is not None and alias is not None and value != alias:
            findings.wrong(f"default_{field}", f"contradicts {field}: give one of them")


def check_list(found: EngineListQuery, findings: Findings) -> None:
    """Find all that is wrong with a listing's filters."""
    check_word(EngineState, "status", found.status, findings)


def create_engine(found: EngineInput) -> CreateEngine:
    """The ask for a checked input; what was not given has the default of EngineSpec."""
    plain = EngineSpec(checkpoint=ModelId(found.checkpoint))
    scheduler = word_or_none(Scheduler, _either(found.scheduler, found.default_scheduler))
    spec = EngineSpec(
        name=found.name,
        checkpoint=plain.checkpoint,
        scheduler=_first(scheduler, plain.scheduler),
        scheduler_config=_first(found.scheduler_config, plain.scheduler_config),
        steps=_first(_either(found.steps, found.default_steps), plain.steps),
        guidance_scale=_first(_either(found.cfg, found.default_cfg), plain.guidance_scale),
        width_px=_either(found.width, found.default_width),
        height_px=_either(found.height, found.default_height),
        device=found.device,
        dtype=word_or_none(Variant, found.dtype),
        autostart=found.autostart,
        keep_alive_s=found.keep_alive_s,
        replicas=found.replicas,
        max_batch=found.max_batch,
    )
    return CreateEngine(spec=spec, start=found.start)


def filter_of(query: EngineListQuery) -> EngineFilter:
    """The filter of a checked query."""
    return EngineFilter(
        status=word_or_none(EngineState, query.status), name=query.name, checkpoint=query.checkpoint
    )


def engine_of(row: EngineRow) -> Engine:
    """An engine as HTTP shows it."""
    spec = row.spec
    return Engine(
        engine_id=row.engine_id,
        name=spec.name,
        status=row.status,
        error=stored_error(row.error_code, row.error),
        checkpoint=spec.checkpoint,
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
        replicas=spec.replicas,
        max_batch=spec.max_batch,
        memory_bytes=row.memory_bytes,
        waiting_for_room=row.waits_since_ms is not None,
        queue=Queue(waiting=row.jobs_waiting, processing=row.jobs_processing),
        created_at=moment(row.created_at_ms),
        started_at=moment_or_none(row.started_at_ms),
    )


def _aliased(found: EngineInput) -> Iterator[tuple[str, object, object]]:
    """Each field that has an alias, with both values; words of one meaning are one value."""
    yield "scheduler", _folded(found.scheduler), _folded(found.default_scheduler)
    yield "steps", found.steps, found.default_steps
    yield "cfg", found.cfg, found.default_cfg
    yield "width", found.width, found.default_width
    yield "height", found.height, found.default_height


def _folded(word: str | None) -> str | None:
    return None if word is None else fold(word)


def _either(value: Value | None, alias: Value | None) -> Value | None:
    return value if value is not None else alias


def _first(value: Value | None, default: Value) -> Value:
    return value if value is not None else default
