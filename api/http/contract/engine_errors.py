"""The error of an engine that does not run, with the remedy, for the engine and for the jobs that wait for
it."""

from typing import Protocol, assert_never

from api.http.contract.responses import StoredError, moment, stored_error
from kernel.protocol.client import JobAccepted
from kernel.protocol.enums import EngineState, WaitsFor
from kernel.protocol.waiting import waits_for


class Failing(Protocol):
    """The fields of an engine's row that are needed here."""

    @property
    def status(self) -> EngineState: ...
    @property
    def error_code(self) -> str | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def waits_since_ms(self) -> int | None: ...
    @property
    def retry_at_ms(self) -> int | None: ...
    @property
    def jobs_paused_since_ms(self) -> int | None: ...
    @property
    def pool(self) -> str | None: ...


def awaited(engine: Failing) -> WaitsFor:
    """The reason why the waiting jobs of this engine wait."""
    return waits_for(
        engine.status,
        engine.error_code,
        engine.waits_since_ms,
        engine.retry_at_ms,
        engine.jobs_paused_since_ms,
        engine.pool,
    )


def engine_error_of(engine: Failing) -> StoredError | None:
    """An engine's last error with the remedy; None, if it has been ready since, or has never failed."""
    return _advised(engine.error_code, engine.error, awaited(engine), engine.retry_at_ms)


def first_engine_error(accepted: JobAccepted) -> StoredError | None:
    """The same for a job that has just been accepted."""
    return _advised(accepted.error_code, accepted.error, accepted.waits_for, None)


def _advised(
    code: str | None, detail: str | None, what: WaitsFor | None, retry_at_ms: int | None
) -> StoredError | None:
    error = stored_error(code, detail)
    if error is None or what is None:
        return error
    return StoredError(code=error.code, detail=f"{error.detail}; {_advice(what, retry_at_ms)}")


def _advice(what: WaitsFor, retry_at_ms: int | None) -> str:
    match what:
        case WaitsFor.RETRY:
            when = "" if retry_at_ms is None else f" at {moment(retry_at_ms):%Y-%m-%dT%H:%M:%SZ}"
            return f"the engine will be retried{when}: start it to retry now"
        case WaitsFor.REPAIR:
            return "fix this and start the engine, or delete the engine with its jobs"
        case WaitsFor.START:
            return "start the engine to retry"
        case WaitsFor.PAUSED:
            return "the engine will be retried when its queue is resumed"
        case WaitsFor.ROOM:
            return "the engine will be retried when there is enough free memory"
        case WaitsFor.WORKER:
            return "the engine will be retried when a worker of its pool is free"
        case WaitsFor.ENGINE | WaitsFor.TURN:
            return "the engine is being restarted"
        case _:
            assert_never(what)
