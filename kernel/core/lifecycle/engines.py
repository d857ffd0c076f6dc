"""The life of an engine: its state is derived from its workers, in one place.

An engine's state is not set by the handlers but computed by `refresh` from the workers' states, so the two
cannot disagree. `error` is the exception: it is remembered until an engine is ready again. An engine in error
keeps its jobs, with the reason on its row. A cause that may pass (a crash, memory, a missing device) is tried
again while jobs wait, after pauses that double; any other cause waits for a person, because loading gigabytes
again would end in the same error. Only a finished job or a person's start resets the pauses: a new job does
not, or a client in a loop would cause loads in a loop. Waiting jobs do not store the error themselves, so
failing costs the same for one job as for a hundred thousand. Source: adr/0039.
"""

from typing import Final

from msgspec.structs import replace

from kernel.core import due
from kernel.core.lifecycle import jobs, launches, workers
from kernel.core.state import transitions
from kernel.core.state.tables import RUNNING_ENGINE_STATES, WorkerState
from kernel.core.state.world import Engine, Worker, World
from kernel.protocol import waiting
from kernel.protocol.enums import EngineState, Phase
from kernel.protocol.errors import EngineFailed
from kernel.protocol.rows import EngineRow, JobRow

FIRST_PAUSE_S: Final = 1.0
"""The pause after an engine's first failure; it doubles with each further one, up to
`engines.longest_pause`."""
MOST_DOUBLINGS: Final = 32
FAILED_AT_ONCE: Final = 100
"""Jobs whose give-up time is checked in one event; the rest follows in the next ones."""
PAUSE_S: Final = 0.001
"""Between two such events other events are handled."""


def refresh(world: World, engine: Engine) -> None:
    """Bring the engine's row in step with its workers."""
    status = _derived_state(world, engine)
    old = engine.row.status
    if status is old:
        return
    row = engine.row
    if old is EngineState.ERROR:
        engine.is_resting = False
        forget_error(world, engine)
        row = replace(row, retry_at_ms=None)
    if status is EngineState.STARTING:
        row = replace(row, device=None, memory_bytes=None, started_at_ms=None)
        if old is EngineState.ERROR or old is EngineState.CLOSED:
            engine.step_seconds.clear()
    elif status is EngineState.READY or status is EngineState.WORKING:
        row = replace(row, error_code=None, error=None, failing_since_ms=None)
    elif status not in RUNNING_ENGINE_STATES:
        row = replace(row, device=None, memory_bytes=None)
    transitions.move_engine(world, engine, row, status)


def _derived_state(world: World, engine: Engine) -> EngineState:
    states = {w.state for w in engine.workers.values()}
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


def leave_admission_queue(world: World, engine: Engine) -> None:
    """Take an engine out of the admission queue: it has been admitted, or is not wanted any more."""
    world.admission_queue.pop(engine.row.engine_id, None)
    world.timers.clear(due.Turn(engine.row.engine_id))
    if engine.row.waits_since_ms is not None:
        row = replace(engine.row, waits_since_ms=None, waits_reason=None)
        transitions.note_engine(world, engine, row)


def stop(world: World, engine: Engine, *, is_now: bool = False) -> None:
    """Close an engine after the jobs that its workers hold, or at once, with these jobs requeued."""
    world.touch()
    engine.is_pinned = engine.is_requested = False
    engine.is_stopping = True
    leave_admission_queue(world, engine)
    launches.withdraw(world, engine)
    world.timers.clear(due.Relaunch(engine.row.engine_id))
    world.timers.clear(due.KeepAlive(engine.row.engine_id))
    forget_replicas(world, engine)
    for worker in list(engine.workers.values()):
        if is_now:
            workers.dismiss(world, worker)
        else:
            release(world, worker)


def release(world: World, worker: Worker) -> None:
    """Let an engine's worker leave after the jobs that it holds; one that has none yet leaves at once."""
    if worker.state is WorkerState.READY:
        workers.drain(world, worker)
    elif not worker.is_asked_to_leave:
        workers.terminate(world, worker, "the engine was stopped", is_to_blame=False)


def wanted_workers(engine: Engine) -> int:
    """The workers that a wanted engine has now: the least of its range, and those added for its queue."""
    return engine.row.spec.min_replicas + engine.extra_replicas


def give_back_replica(world: World, engine: Engine) -> None:
    """Let one of the workers leave after its jobs: one that still loads, or the least busy one."""
    world.touch()
    engine.extra_replicas -= 1
    release_least_busy(world, engine, 1)


def release_least_busy(world: World, engine: Engine, number: int) -> None:
    """Let so many workers leave after their jobs: those that still load, then the least busy ones, and
    of these the ones with the fewest models loaded."""
    live = list(engine.live_workers)
    live.sort(key=lambda w: (w.state is WorkerState.READY, len(w.slots), len(w.recent_models)))
    for worker in live[:number]:
        release(world, worker)


def forget_replicas(world: World, engine: Engine) -> None:
    """The engine closes or has no worker: it begins again with the least number of them."""
    if engine.extra_replicas or engine.long_since_s is not None or engine.spare_since_s is not None:
        world.touch()
    engine.extra_replicas, engine.long_since_s, engine.spare_since_s = 0, None, None
    world.timers.clear(due.Scale(engine.row.engine_id))


def reload(world: World, engine: Engine) -> None:
    """Close an engine after the jobs that its workers hold, and start it again as it is then."""
    is_pinned = engine.is_pinned
    stop(world, engine)
    engine.is_pinned, engine.is_requested = is_pinned, not is_pinned


def fail(world: World, engine: Engine, code: str, text: str) -> None:
    """Put an engine into error: its workers end, its jobs wait, and it may be tried again while they do."""
    world.touch()
    engine.is_requested = engine.is_stopping = False
    engine.is_resting = True
    engine.failures, engine.failed_at_s = engine.failures + 1, world.now.mono_s
    leave_admission_queue(world, engine)
    launches.withdraw(world, engine)
    world.timers.clear(due.Relaunch(engine.row.engine_id))
    world.timers.clear(due.KeepAlive(engine.row.engine_id))
    forget_replicas(world, engine)
    for worker in list(engine.workers.values()):
        workers.take_jobs_away(world, worker)
        workers.terminate(world, worker, text, is_to_blame=False)
    row = replace(engine.row, error_code=code, error=text, device=None, memory_bytes=None)
    row = replace(row, failing_since_ms=row.failing_since_ms or world.now.unix_ms)
    row = replace(row, retry_at_ms=_plan_next_try(world, engine, row))
    if row.status is EngineState.ERROR:
        transitions.note_engine(world, engine, row)
    else:
        transitions.move_engine(world, engine, row, EngineState.ERROR)
    wait_for_better(world, engine)


def wait_for_better(world: World, engine: Engine) -> None:
    """While jobs wait for an engine in error: set the deadlines of its next try and of their give-up
    times."""
    if engine.row.status is not EngineState.ERROR or world.phase is not Phase.RUNNING:
        return
    retry_at_ms = _plan_next_try(world, engine, engine.row)
    if retry_at_ms != engine.row.retry_at_ms:
        transitions.note_engine(world, engine, replace(engine.row, retry_at_ms=retry_at_ms))
    item, gives_up_at_s = due.GiveUp(engine.row.engine_id), engine.patience.next_s()
    if gives_up_at_s is None:
        world.timers.clear(item)
    elif item not in world.timers:
        left_s = gives_up_at_s - world.now.unix_ms / 1000
        world.timers.set(item, world.now.mono_s + max(left_s, 0.0))


def _plan_next_try(world: World, engine: Engine, row: EngineRow) -> int | None:
    """Set the deadline of the next try. Returns its Unix time in ms; None, if there is to be none."""
    item = due.Retry(row.engine_id)
    is_wanted = engine.is_pinned or (row.spec.autostart and not engine.is_held)
    is_hoped_for = engine.is_resting and waiting.may_pass(row.error_code)
    if not (is_wanted and is_hoped_for and world.has_work(engine)):
        world.timers.clear(item)
        return None
    if item in world.timers:
        return row.retry_at_ms
    when_s = max(engine.failed_at_s + _pause_s(world, engine), world.now.mono_s)
    world.timers.set(item, when_s)
    return world.now.unix_ms + round((when_s - world.now.mono_s) * 1000)


def _pause_s(world: World, engine: Engine) -> float:
    doublings = min(max(engine.failures - 1, 0), MOST_DOUBLINGS)
    return min(FIRST_PAUSE_S * (1 << doublings), world.limits.longest_pause_s)


def forget_error(world: World, engine: Engine) -> None:
    """Clear the deadlines that exist only because an engine is in error."""
    world.timers.clear(due.Retry(engine.row.engine_id))
    world.timers.clear(due.GiveUp(engine.row.engine_id))


def give_up(world: World, engine: Engine) -> None:
    """Fail jobs whose give-up time has passed while their engine is in error, a limited number per event."""
    now_s = world.now.unix_ms / 1000
    for _ in range(FAILED_AT_ONCE):
        if (job_id := engine.patience.pop_due(now_s)) is None:
            return
        job, reason = world.jobs[job_id], engine.row
        gives_up_at_s = _gives_up_at_s(engine, job.row)
        if gives_up_at_s > now_s:
            engine.patience.set(job_id, gives_up_at_s)
        else:
            jobs.fail(
                world, job, reason.error_code or EngineFailed.code, reason.error or "the engine is in error"
            )
    world.timers.set(due.GiveUp(engine.row.engine_id), world.now.mono_s + PAUSE_S)


def _gives_up_at_s(engine: Engine, row: JobRow) -> float:
    """When the job gives up: counted from the engine's first failure, or from the job's arrival if that was
    later. Units: seconds, Unix time."""
    since_ms = max(engine.row.failing_since_ms or 0, row.created_at_ms)
    return since_ms / 1000 + (row.give_up_after_s or 0.0)
