"""Engines, newest first, each with the number of its open jobs."""

from dataclasses import dataclass

from kernel.protocol.enums import EngineState
from kernel.views.page import Page, id_cursor, page_of
from kernel.views.reader import Reader
from kernel.views.rows import EngineRow, FailingEngine, JobTarget


@dataclass(frozen=True, slots=True)
class EngineFilter:
    """A filter of engines; None matches all."""

    status: EngineState | None = None
    name: str | None = None
    checkpoint: str | None = None
    """An id, or a name; several models may have it."""


def find_engine(reader: Reader, engine: str) -> EngineRow | None:
    """The engine with this id, or else with this name."""
    return reader.one("engine", EngineRow, {"engine": engine})


def failing_engines(reader: Reader) -> list[FailingEngine]:
    """The engines that have failed and were not ready since."""
    return reader.all("failing_engines", FailingEngine, {})


def list_engines(
    reader: Reader, wanted: EngineFilter, limit: int, after: str | None = None
) -> Page[EngineRow]:
    """A page of engines.

    Raises: InvalidField, if `after` is not a cursor.
    """
    found = reader.all(
        "engines",
        EngineRow,
        {
            "status": wanted.status,
            "name": wanted.name,
            "checkpoint": wanted.checkpoint,
            "after": id_cursor(after),
            "limit": limit + 1,
        },
    )
    return page_of(found, limit, lambda row: row.engine_id)


def job_targets(reader: Reader) -> list[JobTarget]:
    """All engines, then all ready checkpoints, each oldest first: what a job may be for."""
    return reader.all("job_targets", JobTarget, {})
