"""The life of a worker process, from launch to exit.

The core never waits for a worker: each wait is a deadline (adr/0008). Heartbeats show that the process lives,
progress deadlines that it works; both are needed, because a worker whose step hangs still sends heartbeats
from another thread. A worker leaves in one of three ways: `drain` lets it finish its jobs, `terminate` sends
SIGTERM and then SIGKILL, `kill` sends SIGKILL at once. Its row stays until the exit is known, because its
memory and its jobs are its own until then. Blame is decided when the order to leave is given, not at the
exit: an end that the broker ordered for other reasons must not count as a crash of the jobs that the worker
holds.
"""

from typing import Final

import msgspec

from kernel.core import actions, due
from kernel.core.lifecycle import jobs
from kernel.core.memory_model.memory_demand import Reservation, demand_of, kind_of
from kernel.core.state import model_refs
from kernel.core.state.tables import WORKER_MOVES, WorkerState, check_move
from kernel.core.state.world import Engine, Worker, World
from kernel.protocol import worker as wire
from kernel.protocol.enums import WorkerRole
from kernel.protocol.errors import NotPermitted
from kernel.protocol.ids import EngineId
from kernel.protocol.memory import BATCH_SIZES
from kernel.protocol.named_models import model_ids_of
from kernel.protocol.specs import EngineLoad

HELLO_TIMEOUT_S: Final = 60.0
INVITATION_S: Final = 600.0
HEARTBEAT_S: Final = 1.0
SILENCE_S: Final = 5.0
"""Five missed heartbeats: the worker is lost."""
TERM_TIMEOUT_S: Final = 10.0
DRAIN_TIMEOUT_S: Final = 10.0
"""A worker without jobs that was asked to leave is terminated after this time."""
LEAVE_TIMEOUT_S: Final = 2.0
_DUE_OF_A_WORKER: Final = (due.Hello, due.Load, due.Silence, due.Progress, due.Drain, due.Kill, due.Idle)


def launch(
    world: World, role: WorkerRole, engine: Engine | None = None, reservation: Reservation | None = None
) -> Worker:
    """Launch a worker process, for an engine or for fetching models."""
    worker = _new_worker(world, role, engine, is_local=True)
    worker.reservation = reservation
    world.timers.set(due.Hello(worker.worker_id), world.now.mono_s + HELLO_TIMEOUT_S)
    world.act(actions.LaunchWorker(worker.worker_id, role, worker.token, worker.engine_id))
    return worker


def invite(world: World, engine: Engine) -> Worker:
    """Expect a worker that a person will start by hand, perhaps on another host."""
    worker = _new_worker(world, WorkerRole.ENGINE, engine, is_local=False)
    world.timers.set(due.Hello(worker.worker_id), world.now.mono_s + INVITATION_S)
    return worker


def _new_worker(world: World, role: WorkerRole, engine: Engine | None, *, is_local: bool) -> Worker:
    worker = Worker(
        worker_id=world.new_worker_id(),
        role=role,
        token=world.id_source.secret(),
        engine_id=engine.row.engine_id if engine is not None else None,
        state=WorkerState.LAUNCHED if is_local else WorkerState.INVITED,
        is_local=is_local,
        heard_at_s=world.now.mono_s,
    )
    world.workers[worker.worker_id] = worker
    if engine is not None:
        engine.workers[worker.worker_id] = worker
    return worker


def greet(world: World, worker: Worker, hello: wire.Hello) -> None:
    """Answer a Hello with Welcome, and for an engine worker LoadEngine. A repeated Hello is answered again.

    Raises: NotPermitted, if the token or role is not the worker's.
    """
    if hello.token != worker.token or hello.role is not worker.role:
        raise NotPermitted("wrong launch token or role")
    if worker.is_asked_to_leave:
        world.act(actions.Order(worker.worker_id, wire.Leave()))
        return
    welcome = wire.Welcome(epoch=world.epoch, heartbeat_s=HEARTBEAT_S, silence_s=6 * SILENCE_S)
    world.act(actions.Order(worker.worker_id, welcome))
    if worker.state in (WorkerState.LAUNCHED, WorkerState.INVITED):
        _begin(world, worker)
    if worker.engine_id is not None and worker.state is WorkerState.LOADING:
        load = engine_load(world, worker.engine_id, worker.reservation)
        world.act(actions.Order(worker.worker_id, wire.LoadEngine(load=load)))


def _begin(world: World, worker: Worker) -> None:
    """The worker has joined: expect heartbeats, and from an engine worker that it loads."""
    world.touch()
    now_s = world.now.mono_s
    world.timers.clear(due.Hello(worker.worker_id))
    world.timers.set(due.Silence(worker.worker_id), now_s + SILENCE_S)
    if worker.engine_id is None:
        move(worker, WorkerState.READY)
        worker.ready_at_s = now_s
    else:
        move(worker, WorkerState.LOADING)
        world.timers.set(due.Load(worker.worker_id), now_s + world.limits.load_timeout_s)


def engine_load(world: World, engine_id: EngineId, reservation: Reservation | None) -> EngineLoad:
    """The values with which a worker loads an engine. A reservation takes precedence over the spec."""
    row = world.engines[engine_id].row
    spec, demand = row.spec, demand_of(row, world.models)
    load = EngineLoad(
        engine_id=engine_id,
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
    kind = kind_of(engine.row.device or engine.row.spec.device)
    return engine.row.spec.max_batch or BATCH_SIZES[kind]


def move(worker: Worker, state: WorkerState) -> None:
    """Raises: IllegalMove, if the table has no such move."""
    check_move(WORKER_MOVES, worker.state, state)
    worker.state = state


def drain(world: World, worker: Worker) -> None:
    """Let a worker leave after the jobs that it holds."""
    _retire(world, worker)
    world.act(actions.Order(worker.worker_id, wire.Drain()))
    expect_to_leave_if_idle(world, worker)


def _retire(world: World, worker: Worker) -> None:
    """Give the worker nothing more; a leaving fetch worker has no idle deadline."""
    world.touch()
    move(worker, WorkerState.DRAINING)
    world.timers.clear(due.Idle(worker.worker_id))


def expect_to_leave_if_idle(world: World, worker: Worker) -> None:
    """Expect a draining worker without jobs to exit soon."""
    if worker.state is WorkerState.DRAINING and not worker.slots:
        world.timers.set(due.Drain(worker.worker_id), world.now.mono_s + DRAIN_TIMEOUT_S)


def leaves(world: World, worker: Worker) -> None:
    """A worker said Goodbye: requeue jobs that were sent to it meanwhile, without blame."""
    take_jobs_away(world, worker)
    world.timers.clear(due.Silence(worker.worker_id))
    world.timers.clear(due.Load(worker.worker_id))
    if worker.state in (WorkerState.LOADING, WorkerState.READY):
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
    if worker.state is WorkerState.READY:
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


def revoke(world: World, engine: Engine, worker: Worker) -> None:
    """Revoke an invitation that no worker has used yet."""
    del engine.workers[worker.worker_id]
    forget(world, worker)


def forget(world: World, worker: Worker) -> None:
    """Remove a worker, with its key and its deadlines."""
    world.touch()
    move(worker, WorkerState.GONE)
    del world.workers[worker.worker_id]
    world.parts.forget(worker.worker_id)
    _clear_deadlines(world, worker)
    world.act(actions.ForgetWorker(worker.worker_id))


def _clear_deadlines(world: World, worker: Worker) -> None:
    for kind in _DUE_OF_A_WORKER:
        world.timers.clear(kind(worker.worker_id))
    for job_id in worker.slots:
        world.timers.clear(due.Drop(worker.worker_id, job_id))
