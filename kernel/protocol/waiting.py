"""The reason why a job waits, derived from its engine; and which errors of engines may pass by themselves."""

from typing import Final, assert_never

from kernel.protocol.enums import EngineState, WaitsFor
from kernel.protocol.errors import DeviceUnavailable, NotEnoughMemory, OutOfMemory, WorkerCrashed

PASSING: Final = frozenset(
    kind.code for kind in (WorkerCrashed, OutOfMemory, NotEnoughMemory, DeviceUnavailable)
)
"""Errors of engines that may not happen at the next try. All others stay until a person fixes the cause: a
damaged, missing or unknown file, a package that is not installed."""


def may_pass(error_code: str | None) -> bool:
    """True if another try may succeed without a repair."""
    return error_code in PASSING


def waits_for(
    status: EngineState,
    error_code: str | None,
    waits_since_ms: int | None,
    retry_at_ms: int | None,
    paused_since_ms: int | None,
    pool: str | None,
) -> WaitsFor:
    """The reason why the waiting jobs of an engine wait."""
    if paused_since_ms is not None:
        return WaitsFor.PAUSED
    if waits_since_ms is not None:
        return WaitsFor.ROOM if pool is None else WaitsFor.WORKER
    match status:
        case EngineState.READY | EngineState.WORKING:
            return WaitsFor.TURN
        case EngineState.STARTING | EngineState.STOPPING:
            return WaitsFor.ENGINE
        case EngineState.CLOSED:
            return WaitsFor.START
        case EngineState.ERROR if retry_at_ms is not None:
            return WaitsFor.RETRY
        case EngineState.ERROR:
            return WaitsFor.START if may_pass(error_code) else WaitsFor.REPAIR
        case _:
            assert_never(status)
