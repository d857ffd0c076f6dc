"""Handles a worker's exit: its jobs go back to the queue, its engine or model retries or gives up."""

from typing import Final

from kernel.core import due
from kernel.core.admission import reconcile
from kernel.core.lifecycle import engines, jobs, workers
from kernel.core.lifecycle.stderr_summary import summary
from kernel.core.models import fetching
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Engine, Worker, World
from kernel.protocol.enums import EngineState, Phase
from kernel.protocol.errors import WorkerCrashed

MAX_DEATHS: Final = 3
"""So many workers of an engine may die in a row, with no job to blame, before the engine gives up."""
STEADY_S: Final = 600.0
"""A worker that was ready for so long did not die of its start."""
FIRST_BACKOFF_S: Final = 0.5


def worker_gone(world: World, worker: Worker, status: str, last_words: str = "") -> None:
    """A worker's process has ended, or a worker of another host is given up."""
    reason = _reason(worker, status, last_words)
    held = [world.jobs[job_id] for job_id, slot in worker.slots.items() if not slot.is_cancelled]
    was_idle = not worker.slots
    is_asked_for = worker.state is WorkerState.DRAINING and was_idle and not worker.has_quit
    is_crash = worker.is_to_blame and not is_asked_for
    workers.forget(world, worker)
    if worker.engine_id is None:
        fetching.lost(world, worker, reason, is_crash=is_crash)
        return
    engine = world.engines[worker.engine_id]
    del engine.workers[worker.worker_id]
    for job in held:
        if is_crash and world.phase is Phase.RUNNING:
            jobs.count_crash(world, job, reason)
        else:
            jobs.give_back(world, job)
    if was_idle and is_crash:
        _count_death(world, engine, worker, reason)
    reconcile.reconcile_engine(world, engine)


def _count_death(world: World, engine: Engine, worker: Worker, reason: str) -> None:
    """Nobody is to blame but the engine itself: start it again later, or not any more."""
    is_steady = worker.ready_at_s is not None and world.now.mono_s - worker.ready_at_s > STEADY_S
    engine.deaths = 1 if is_steady else engine.deaths + 1
    is_ending = engine.is_stopping or engine.row.status is EngineState.ERROR
    if is_ending or not reconcile.is_wanted(engine):
        return
    if engine.deaths >= MAX_DEATHS:
        text = f"{engine.deaths} workers crashed in a row; last error: {reason}"
        engines.fail(world, engine, WorkerCrashed.code, text)
        return
    backoff_s = FIRST_BACKOFF_S * 2**engine.deaths
    world.timers.set(due.Relaunch(engine.row.engine_id), world.now.mono_s + backoff_s)


def _reason(worker: Worker, status: str, last_words: str) -> str:
    """One line for a person: why it ended, how, and the last thing that it said."""
    parts = [worker.terminate or "the worker process crashed", status]
    words = summary(last_words)
    return "; ".join(parts if words is None else [*parts, words])
