"""The life of one engine: its state follows from its workers, and is computed in one place."""

from typing import Final

from msgspec.structs import replace

from kernel.core import due, jobs, record, workers
from kernel.core.tables import RUNNING_ENGINE_STATES, WorkerState
from kernel.core.world import Engine, World
from kernel.protocol.vocabulary import EngineState

FAILED_AT_ONCE: Final = 100
"""So many waiting jobs of a failed engine are failed in one event, the rest in the next ones."""
PAUSE_S: Final = 0.001
"""Between two such events others get their turn."""


def refresh(world: World, engine: Engine) -> None:
    """Bring the engine's row in step with its workers."""
    status = _derived_state(world, engine)
    old = engine.row.status
    if status is old:
        return
    row = engine.row
    if status is EngineState.STARTING:
        row = replace(row, error_code=None, error=None, device=None, memory_bytes=None, started_at_ms=None)
        if old is EngineState.ERROR or old is EngineState.CLOSED:
            engine.step_seconds.clear()
    elif status not in RUNNING_ENGINE_STATES:
        row = replace(row, device=None, memory_bytes=None)
    record.move_engine(world, engine, row, status)


def _derived_state(world: World, engine: Engine) -> EngineState:
    states = {w.state for w in engine.workers.values()} - {WorkerState.INVITED}
    is_starting = due.Relaunch(engine.row.engine_id) in world.timers
    if engine.row.status is EngineState.ERROR and not any(engine.live_workers):
        return EngineState.ERROR
    if not states:
        return EngineState.STARTING if is_starting else EngineState.CLOSED
    if engine.is_stopping:
        return EngineState.STOPPING
    if WorkerState.READY in states:
        return EngineState.WORKING if engine.is_busy else EngineState.READY
    return EngineState.STARTING


def leave_line(world: World, engine: Engine) -> None:
    """An engine waits for room no more: it gets some, or does not want it any longer."""
    world.engines_without_room.pop(engine.row.engine_id, None)
    world.timers.clear(due.Turn(engine.row.engine_id))
    if engine.row.waits_since_ms is not None:
        record.note_engine(world, engine, replace(engine.row, waits_since_ms=None))


def stop(world: World, engine: Engine, *, is_now: bool = False) -> None:
    """Let an engine close: after the jobs that its workers hold, or with these jobs given back."""
    engine.is_pinned = engine.is_requested = False
    engine.is_stopping = True
    leave_line(world, engine)
    world.timers.clear(due.Relaunch(engine.row.engine_id))
    world.timers.clear(due.KeepAlive(engine.row.engine_id))
    for worker in list(engine.workers.values()):
        if worker.state is WorkerState.INVITED:
            workers.revoke(world, engine, worker)
        elif is_now:
            workers.dismiss(world, worker)
        elif worker.state is WorkerState.READY:
            workers.drain(world, worker)
        elif not worker.is_asked_to_leave:
            workers.doom(world, worker, "the engine was stopped", is_to_blame=False)


def fail(world: World, engine: Engine, code: str, text: str) -> None:
    """Put an engine into error: its workers end, its jobs fail with the same reason."""
    engine.is_pinned = engine.is_requested = engine.is_stopping = False
    leave_line(world, engine)
    world.timers.clear(due.Relaunch(engine.row.engine_id))
    world.timers.clear(due.KeepAlive(engine.row.engine_id))
    for worker in list(engine.workers.values()):
        if worker.state is WorkerState.INVITED:
            workers.revoke(world, engine, worker)
        else:
            workers.take_jobs_away(world, worker)
            workers.doom(world, worker, text, is_to_blame=False)
    row = replace(engine.row, error_code=code, error=text, device=None, memory_bytes=None)
    if row.status is EngineState.ERROR:
        record.note_engine(world, engine, row)
    else:
        record.move_engine(world, engine, row, EngineState.ERROR)
    engine.is_clearing = True
    fail_waiting(world, engine)


def fail_waiting(world: World, engine: Engine) -> None:
    """Fail some of the jobs that wait for an engine in error, and come back for the others."""
    for _ in range(FAILED_AT_ONCE):
        if (job_id := engine.queue.first()) is None:
            engine.is_clearing = False
            return
        reason = engine.row.error or "the engine is in error"
        jobs.fail(world, world.jobs[job_id], engine.row.error_code or "engine_failed", reason)
    world.timers.set(due.FailWaiting(engine.row.engine_id), world.now.mono_s + PAUSE_S)
