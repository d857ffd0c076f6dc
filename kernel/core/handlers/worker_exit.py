"""Handles a worker's exit: requeues its jobs, and retries or fails its engine or model."""

import re
from typing import Final

import msgspec

from kernel.core import due
from kernel.core.admission import reconcile, scaling
from kernel.core.callbacks import sending
from kernel.core.lifecycle import engines, jobs, workers
from kernel.core.models import fetching, scanning
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Engine, Worker, World
from kernel.protocol.enums import EngineState, Phase, WorkerRole
from kernel.protocol.errors import WorkerCrashed

MAX_DEATHS: Final = 3
"""After this many deaths in a row that no job is to blame for, an engine goes into error."""
STEADY_S: Final = 600.0
"""A worker that was ready for this long did not die because of its start."""
FIRST_BACKOFF_S: Final = 0.5
_LINES: Final = 3
"""Lines searched: an error, and then `exit` and `ended_by_force`, which only say that the process ends."""
_LOG_LINE: Final = re.compile(r"at=\S+ level=")
_SAID: Final = re.compile(r'\b(error|text|detail|reason)=("(?:[^"\\]|\\.)*"|[^\s"]+)')
_CUT_LINE: Final = re.compile(r'((?:[^"\\]|\\.)*)"( \w+=\S+)*')
"""The end of a log line whose beginning is cut off."""


def worker_gone(world: World, worker: Worker, status: str, last_words: str = "") -> None:
    """A worker's process has exited, or a worker of another host is given up."""
    reason = reason_of(worker.terminate or "the worker process crashed", status, last_words)
    held = [world.jobs[job_id] for job_id, slot in worker.slots.items() if not slot.is_cancelled]
    was_idle = not worker.slots
    is_asked_for = worker.state is WorkerState.DRAINING and was_idle and not worker.has_quit
    is_crash = worker.is_to_blame and not is_asked_for
    state = worker.state
    workers.forget(world, worker, reason if is_crash else worker.goodbye or status)
    if worker.is_scanning:
        scanning.lost(world, worker, reason, is_crash=is_crash)
        return
    if worker.is_sending:
        sending.lost(world, worker, is_crash=is_crash)
        return
    if worker.role is WorkerRole.FETCH:
        fetching.lost(world, worker, reason, is_crash=is_crash)
        return
    if worker.engine_id is None:
        return  # it was idle
    engine = world.engines[worker.engine_id]
    del engine.workers[worker.worker_id]
    engine.workers_lost += state is not WorkerState.DRAINING
    for job in held:
        if is_crash and world.phase is Phase.RUNNING:
            jobs.count_crash(world, job, reason)
        else:
            jobs.give_back(world, job)
    if was_idle and is_crash and not scaling.give_up(world, engine, worker):
        count_death(world, engine, worker.ready_at_s, reason)
    reconcile.reconcile_engine(world, engine)


def count_death(world: World, engine: Engine, ready_at_s: float | None, reason: str) -> None:
    """Only the engine itself is to blame: relaunch its worker later, or put the engine into error.

    `ready_at_s`: since when the worker was ready; None, if it never was.
    """
    is_steady = ready_at_s is not None and world.now.mono_s - ready_at_s > STEADY_S
    engine.deaths = 1 if is_steady else engine.deaths + 1
    is_ending = engine.is_stopping or engine.row.status is EngineState.ERROR
    if is_ending or not reconcile.is_wanted(world, engine):
        return
    if engine.deaths >= MAX_DEATHS:
        text = f"{engine.deaths} workers crashed in a row; last error: {reason}"
        engines.fail(world, engine, WorkerCrashed.code, text)
        return
    backoff_s = FIRST_BACKOFF_S * 2**engine.deaths
    world.timers.set(due.Relaunch(engine.row.engine_id), world.now.mono_s + backoff_s)


def reason_of(why: str, status: str, last_words: str) -> str:
    """One line for a person: why a worker ended, how, and its last error."""
    parts = [why, status]
    words = stderr_summary(last_words)
    return "; ".join(parts if words is None else [*parts, words])


def stderr_summary(last_words: str) -> str | None:
    """The end of a worker's stderr for a person: the last error, or else the last line with text.

    None, if neither exists.
    """
    lines = last_words.strip().splitlines()
    cut = lines[0] if lines else None
    said = [found for line in lines[-_LINES:] if (found := _said(line, is_cut=line is cut)) is not None]
    errors = [text for is_error, text in said if is_error]
    texts = errors or [text for _, text in said]
    return texts[-1] if texts else None


def _said(line: str, *, is_cut: bool) -> tuple[bool, str] | None:
    """The message of a line, and whether it is an error in the log's format."""
    if _LOG_LINE.match(line) is None:
        if is_cut and "\\n" in line and (cut := _CUT_LINE.fullmatch(line)) is not None:
            return True, _last_line(cut[1].replace("\\n", "\n"))
        return (False, line) if line.strip() else None
    found = _SAID.search(line)
    if found is None:
        return None
    value = found[2]
    text = _unquoted(value)
    return found[1] == "error", _last_line(text)


def _unquoted(value: str) -> str:
    """The unquoted text. A worker may write anything, also text that only looks quoted."""
    if not value.startswith('"'):
        return value
    try:
        return msgspec.json.decode(value, type=str)
    except msgspec.DecodeError:
        return value.strip('"')


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else text
