"""The life of a worker process, from launch to exit.

The core never waits for a worker: each wait is a deadline (adr/0008). Heartbeats show that the process lives,
progress deadlines that it works; both are needed, because a worker whose step hangs still sends heartbeats
from another thread. A worker leaves in one of three ways: `drain` lets it finish its jobs, `terminate` sends
SIGTERM and then SIGKILL, `kill` sends SIGKILL at once. Its row stays until the exit is known, because its
memory and its jobs are its own until then. Blame is decided when the order to leave is given, not at the
exit: an end that the broker ordered for other reasons must not count as a crash of the jobs that the worker
holds.
"""

from bisect import bisect_right
from typing import Final

import msgspec

from kernel.core import actions, due
from kernel.core.lifecycle import jobs, launches
from kernel.core.memory_model.memory_demand import Reservation, demand_of, kind_of, needs_of
from kernel.core.state import model_refs, transitions
from kernel.core.state.tables import WORKER_MOVES, WorkerState, check_move
from kernel.core.state.world import Engine, Enrolled, Worker, World
from kernel.protocol import worker as wire
from kernel.protocol.enums import ChangeKind, Phase, WorkerChange, WorkerRole
from kernel.protocol.errors import NotPermitted
from kernel.protocol.ids import WorkerId
from kernel.protocol.memory import BATCH_SIZES
from kernel.protocol.named_models import model_ids_of
from kernel.protocol.specs import EngineLoad
from kernel.protocol.status import WorkerEnd

HELLO_TIMEOUT_S: Final = 60.0
HEARTBEAT_S: Final = 1.0
SILENCE_S: Final = 5.0
"""Five missed heartbeats: the worker is lost."""
TERM_TIMEOUT_S: Final = 10.0
DRAIN_TIMEOUT_S: Final = 10.0
"""A worker without jobs that was asked to leave is terminated after this time."""
IDLE_S: Final = 30.0
"""A launched worker that gets nothing to do leaves after this time."""
LEAVE_TIMEOUT_S: Final = 2.0
MAX_SAID: Final = 300
"""Characters that are kept of what a worker says of itself."""
_DUE_OF_A_WORKER: Final = (due.Hello, due.Load, due.Silence, due.Progress, due.Drain, due.Kill, due.Idle)


def launch(
    world: World, role: WorkerRole, engine: Engine | None = None, reservation: Reservation | None = None
) -> Worker:
    """Launch a worker process, for an engine or for fetching models."""
    worker = Worker(
        worker_id=world.new_worker_id(),
        role=role,
        token=world.id_source.secret(),
        engine_id=engine.row.engine_id if engine is not None else None,
        state=WorkerState.LAUNCHED,
        heard_at_s=world.now.mono_s,
        reservation=reservation,
    )
    world.workers[worker.worker_id] = worker
    if engine is not None:
        engine.workers[worker.worker_id] = worker
    world.timers.set(due.Hello(worker.worker_id), world.now.mono_s + HELLO_TIMEOUT_S)
    world.act(actions.LaunchWorker(worker.worker_id, role, worker.token, worker.engine_id))
    return worker


def enroll(
    world: World, enrolled: Enrolled, key: str, place: bytes, launch: WorkerId | None = None
) -> Worker:
    """Take a worker into its pool: it has no engine yet, and is known by its key.

    `launch`: of one that a launcher has started. It leaves if it gets nothing to do.
    """
    worker = Worker(
        worker_id=launch or world.new_worker_id(),
        role=WorkerRole.ENGINE,
        token="",
        engine_id=None,
        state=WorkerState.IDLE,
        enrolled=enrolled,
        heard_at_s=world.now.mono_s,
        host=enrolled.said.host,
        pid=enrolled.said.pid,
        version=enrolled.said.version,
        joined_at_ms=world.now.unix_ms,
    )
    world.workers[worker.worker_id] = world.idle_workers[worker.worker_id] = worker
    transitions.change(world, ChangeKind.WORKER, worker.worker_id, WorkerChange.JOINED)
    world.act(actions.AdmitWorker(worker.worker_id, key, place))
    welcome(world, worker)
    world.timers.set(due.Silence(worker.worker_id), world.now.mono_s + SILENCE_S)
    if launch is not None:
        launches.joined(world, worker.worker_id)
        world.timers.set(due.Idle(worker.worker_id), world.now.mono_s + IDLE_S)
    return worker


def welcome(world: World, worker: Worker) -> None:
    """Tell a worker how often to be heard, and one of a pool its name."""
    worker_id = None if worker.is_local else worker.worker_id
    order = wire.Welcome(
        epoch=world.epoch, heartbeat_s=HEARTBEAT_S, silence_s=6 * SILENCE_S, worker_id=worker_id
    )
    world.act(actions.Order(worker.worker_id, order))


def assign(world: World, engine: Engine, worker: Worker, enrolled: Enrolled, load: EngineLoad) -> None:
    """Give an idle worker of a pool its engine. It is told to load it, unless it has said that it does."""
    world.touch()
    enrolled.load = load
    worker.engine_id = engine.row.engine_id
    engine.workers[worker.worker_id] = worker
    move(worker, WorkerState.LOADING)
    world.timers.clear(due.Idle(worker.worker_id))
    launches.assigned(world, worker.worker_id, engine.row.engine_id)
    world.timers.set(due.Load(worker.worker_id), world.now.mono_s + world.limits.load_timeout_s)
    if enrolled.said.load != load:
        world.act(actions.Order(worker.worker_id, wire.LoadEngine(load=load)))


def greet(world: World, worker: Worker, hello: wire.Hello) -> None:
    """Answer a Hello with Welcome, and for an engine worker LoadEngine. A repeated Hello is answered again.

    Raises: NotPermitted, if the token or role is not the worker's.
    """
    if hello.token != worker.token or hello.role is not worker.role:
        raise NotPermitted("wrong launch token or role")
    if worker.is_asked_to_leave:
        world.act(actions.Order(worker.worker_id, wire.Leave()))
        return
    welcome(world, worker)
    if worker.state is WorkerState.LAUNCHED:
        worker.host, worker.pid, worker.version = hello.host[:MAX_SAID], hello.pid, hello.version[:MAX_SAID]
        _begin(world, worker)
    if worker.engine_id is not None and worker.state is WorkerState.LOADING:
        load = engine_load(world, world.engines[worker.engine_id], worker.reservation)
        world.act(actions.Order(worker.worker_id, wire.LoadEngine(load=load)))


def _begin(world: World, worker: Worker) -> None:
    """The worker has joined: expect heartbeats, and from an engine worker that it loads."""
    world.touch()
    now_s = world.now.mono_s
    worker.joined_at_ms = world.now.unix_ms
    world.timers.clear(due.Hello(worker.worker_id))
    world.timers.set(due.Silence(worker.worker_id), now_s + SILENCE_S)
    if worker.engine_id is None:
        move(worker, WorkerState.READY)
        worker.ready_at_s = now_s
    else:
        move(worker, WorkerState.LOADING)
        world.timers.set(due.Load(worker.worker_id), now_s + world.limits.load_timeout_s)


def engine_load(world: World, engine: Engine, reservation: Reservation | None) -> EngineLoad:
    """The values with which a worker loads an engine. A reservation takes precedence over the spec."""
    row = engine.row
    spec, demand = row.spec, demand_of(row, world.models)
    load = EngineLoad(
        engine_id=row.engine_id,
        checkpoint=model_refs.source(world, spec.checkpoint),
        models=tuple(model_refs.source(world, model_id) for model_id in model_ids_of(spec)),
        device=spec.device,
        dtype=spec.dtype,
        max_batch=spec.max_batch,
        compilation=world.limits.compilation,
        width_px=demand.width_px,
        height_px=demand.height_px,
        guidance_scale=spec.guidance_scale,
    )
    if reservation is None:
        return load
    need = reservation.need
    return msgspec.structs.replace(load, device=reservation.device, max_batch=need.batch_size, plan=need.plan)


def adjust(world: World, worker: Worker) -> None:
    """Tell a worker how many images to step together, after an edit of its engine. One that still loads is
    told when it is ready; one that has not said hello learns it with the order to load."""
    if worker.state is WorkerState.LOADING:
        worker.is_outdated = True
    elif worker.state is WorkerState.READY and worker.engine_id is not None:
        worker.is_outdated = False
        worker.capacity = _batch_size(world, worker, world.engines[worker.engine_id])
        world.act(actions.Order(worker.worker_id, wire.AdjustEngine(max_batch=worker.capacity)))


def _batch_size(world: World, worker: Worker, engine: Engine) -> int:
    if worker.reservation is not None:
        return worker.reservation.need.batch_size
    if worker.enrolled is not None and worker.enrolled.load is not None:
        return batch_size_in_pool(world, worker.enrolled, worker.enrolled.load, engine)
    kind = kind_of(engine.row.device or engine.row.spec.device)
    return engine.row.spec.max_batch or BATCH_SIZES[kind]


def batch_size_in_pool(world: World, enrolled: Enrolled, load: EngineLoad, engine: Engine) -> int:
    """The images that a worker of a pool steps together: as many as fit into its device's memory, at least
    one."""
    kind, wanted = kind_of(load.device), engine.row.spec.max_batch
    free = [one.free_bytes for one in enrolled.said.devices if one.device == load.device]
    if not free:
        return wanted or BATCH_SIZES[kind]
    needs = needs_of(demand_of(engine.row, world.models, world.limits.compilation), kind, load.plan)
    return max(bisect_right(needs, free[0]), 1)


def move(worker: Worker, state: WorkerState) -> None:
    """Raises: IllegalMove, if the table has no such move."""
    check_move(WORKER_MOVES, worker.state, state)
    worker.state = state


def drain(world: World, worker: Worker, *, for_good: bool = False) -> None:
    """Let a worker leave after the jobs that it holds. One of a pool outlives the Manager's shutdown: it is
    told nothing, so that it comes back with what it has loaded.

    `for_good`: its host is not to start another one.
    """
    _retire(world, worker)
    if worker.is_local or world.phase is Phase.RUNNING:
        world.act(actions.Order(worker.worker_id, wire.Drain(for_good=for_good)))
    expect_to_leave_if_idle(world, worker)


def _retire(world: World, worker: Worker) -> None:
    """Give the worker nothing more; a leaving fetch worker has no idle deadline."""
    world.touch()
    move(worker, WorkerState.DRAINING)
    world.timers.clear(due.Idle(worker.worker_id))


def expect_to_leave_if_idle(world: World, worker: Worker) -> None:
    """Expect a draining worker without jobs to exit soon."""
    if worker.state is not WorkerState.DRAINING or worker.slots:
        return
    if worker.is_local or world.phase is Phase.RUNNING:
        world.timers.set(due.Drain(worker.worker_id), world.now.mono_s + DRAIN_TIMEOUT_S)
    else:
        world.timers.set(due.Kill(worker.worker_id), world.now.mono_s)


def leaves(world: World, worker: Worker, reason: str) -> None:
    """A worker said Goodbye: requeue jobs that were sent to it meanwhile, without blame."""
    worker.goodbye = reason[:MAX_SAID]
    take_jobs_away(world, worker)
    world.timers.clear(due.Silence(worker.worker_id))
    world.timers.clear(due.Load(worker.worker_id))
    if worker.state in (WorkerState.IDLE, WorkerState.LOADING, WorkerState.READY):
        _retire(world, worker)
        worker.has_quit = worker.is_local
    if not worker.is_local:
        world.timers.set(due.Kill(worker.worker_id), world.now.mono_s)


def take_jobs_away(world: World, worker: Worker) -> None:
    """Requeue all jobs that a worker holds, without blame."""
    for job_id, slot in list(worker.slots.items()):
        jobs.release(world, worker, job_id)
        if not slot.is_cancelled:
            jobs.give_back(world, world.jobs[job_id])


def dismiss(world: World, worker: Worker) -> None:
    """Requeue a worker's jobs and let it leave at once."""
    world.touch()
    worker.is_to_blame = False
    take_jobs_away(world, worker)
    if worker.state in (WorkerState.IDLE, WorkerState.READY):
        _retire(world, worker)
    if worker.state is WorkerState.DRAINING:
        world.act(actions.Order(worker.worker_id, wire.Leave()))
        world.timers.set(due.Drain(worker.worker_id), world.now.mono_s + LEAVE_TIMEOUT_S)
    else:
        terminate(world, worker, "stopped", is_to_blame=False)


def terminate(world: World, worker: Worker, why: str, *, is_to_blame: bool) -> None:
    """End a worker that would not leave by itself: SIGTERM first, SIGKILL if that does not help."""
    if worker.state is WorkerState.TERMINATING:
        return
    _begin_end(world, worker, why, is_to_blame=is_to_blame)
    if worker.is_local:
        world.act(actions.TerminateWorker(worker.worker_id))
        world.timers.set(due.Kill(worker.worker_id), world.now.mono_s + TERM_TIMEOUT_S)
    else:
        if world.phase is Phase.RUNNING:
            world.act(actions.Order(worker.worker_id, wire.Leave()))
        world.timers.set(due.Kill(worker.worker_id), world.now.mono_s)


def kill(world: World, worker: Worker, why: str, *, is_to_blame: bool) -> None:
    """Kill a worker that no longer answers."""
    if worker.state is not WorkerState.TERMINATING:
        _begin_end(world, worker, why, is_to_blame=is_to_blame)
    if worker.is_local:
        world.act(actions.KillWorker(worker.worker_id))
        world.timers.set(due.Kill(worker.worker_id), world.now.mono_s + TERM_TIMEOUT_S)
    else:
        world.timers.set(due.Kill(worker.worker_id), world.now.mono_s)


def _begin_end(world: World, worker: Worker, why: str, *, is_to_blame: bool) -> None:
    world.touch()
    move(worker, WorkerState.TERMINATING)
    worker.terminate, worker.is_to_blame = why, worker.is_to_blame and is_to_blame
    _clear_deadlines(world, worker)


def forget(world: World, worker: Worker, last_words: str) -> None:
    """Remove a worker, with its key and its deadlines. The last words of an engine's are remembered."""
    world.touch()
    move(worker, WorkerState.GONE)
    if worker.role is WorkerRole.ENGINE:
        end = WorkerEnd(
            worker_id=worker.worker_id,
            pool=None if worker.enrolled is None else worker.enrolled.pool,
            host=worker.host,
            pid=worker.pid,
            engine_id=worker.engine_id,
            ended_at_ms=world.now.unix_ms,
            text=last_words,
        )
        world.ended_workers.append(end)
    if not worker.is_local:
        transitions.change(world, ChangeKind.WORKER, worker.worker_id, WorkerChange.ENDED)
    del world.workers[worker.worker_id]
    world.parts.forget(worker.worker_id)
    _clear_deadlines(world, worker)
    world.act(actions.ForgetWorker(worker.worker_id))
    launches.left(world, worker.worker_id)


def _clear_deadlines(world: World, worker: Worker) -> None:
    for kind in _DUE_OF_A_WORKER:
        world.timers.clear(kind(worker.worker_id))
    for job_id in worker.slots:
        world.timers.clear(due.Drop(worker.worker_id, job_id))
