"""Reconciles engines with their jobs after every event: assigns jobs, starts and stops workers.

Every handler that changes a queue, a worker or an engine ends here, and does not itself decide what follows.
`reconcile_engine` derives from the present state what the engine should have (Kubernetes' level-triggered
reconciliation), so an event that comes late, twice or in another order leads to the same result, and a
restart needs no code of its own. The order matters: jobs are given out before workers are launched, so that a
launch is only for jobs that no worker can take; the engine's state is derived last, from workers as they are
then; admission runs after it, because this engine may have freed what another one waits for.
"""

from kernel.core import due
from kernel.core.admission import affinity, engine_admission, pools, scaling
from kernel.core.lifecycle import engines, jobs, launches, workers
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Engine, Worker, World
from kernel.protocol.enums import Phase
from kernel.protocol.ids import ModelId
from kernel.protocol.named_models import model_ids_of


def reconcile_engine(world: World, engine: Engine) -> None:
    """Give out jobs, start or close workers, and update the engine's state."""
    if world.phase is Phase.RUNNING:
        if not engine.is_stopping:
            _give_waiting_jobs(world, engine)
            _start_missing_workers(world, engine)
            scaling.tend(world, engine)
        _watch_idleness(world, engine)
    if engine.is_stopping and not engine.is_running:
        engine.is_stopping = False
        if is_wanted(world, engine):
            engine_admission.join(world, engine)
    engines.refresh(world, engine)
    engine_admission.admit(world)
    engines.wait_for_better(world, engine)


def assign_jobs(world: World, worker: Worker) -> None:
    """A worker's slots have changed: let it leave if it should, and reconcile its engine."""
    workers.expect_to_leave_if_idle(world, worker)
    if worker.engine_id is not None:
        reconcile_engine(world, world.engines[worker.engine_id])


def serve_keys(world: World) -> None:
    """Reconcile the engines that have jobs of keys which came to their limit of running jobs, or have left
    it: these jobs are passed over, or given out again."""
    while world.keys_to_serve:
        key_id, _ = world.keys_to_serve.popitem()
        for engine in list(world.engines.values()):
            engine.queue.resume(key_id)
            if engine.queue.has_key(key_id):
                reconcile_engine(world, engine)


def try_again(world: World, model_id: ModelId) -> None:
    """A model has become ready: start its engines in error, which may have failed because of it."""
    for engine in list(world.engines.values()):
        named = (engine.row.spec.checkpoint, *model_ids_of(engine.row.spec))
        if engine.is_resting and model_id in named:
            engine.is_resting = False
            reconcile_engine(world, engine)


def is_wanted(world: World, engine: Engine) -> bool:
    """True if a person or its creator started the engine, or an on-demand engine has jobs; False while it
    rests after an error."""
    is_on_demand = engine.row.spec.autostart and not engine.is_held and world.has_work(engine)
    return not engine.is_resting and (engine.is_pinned or engine.is_requested or is_on_demand)


def _give_waiting_jobs(world: World, engine: Engine) -> None:
    if world.unwritten:
        return  # their images would fail to be stored on the same disk
    ready = [w for w in engine.workers.values() if w.state is WorkerState.READY and not w.is_cordoned]
    while ready and (job_id := world.next_job(engine)) is not None:
        if (chosen := affinity.choose(world, engine, ready, world.jobs[job_id])) is None:
            return
        job, worker = chosen
        if job.row.lease is not None and due.ComeBack() in world.timers and engine.pool is not None:
            return  # its worker may come back with it
        jobs.give(world, engine, worker, job)


def _start_missing_workers(world: World, engine: Engine) -> None:
    """A closed engine enters the admission queue for its first worker; a running one gets replicas from free
    memory."""
    is_served = engine.is_running if engine.pool is None else any(engine.live_workers)
    if not is_wanted(world, engine) or is_served:
        engines.leave_admission_queue(world, engine)
    if not is_wanted(world, engine):
        launches.withdraw(world, engine)
        return
    is_backing_off = due.Relaunch(engine.row.engine_id) in world.timers
    if engine.pool is not None:
        if not is_backing_off and not _is_supplied(world, engine, engine.pool):
            engine_admission.join(world, engine)
        return
    is_leaving = any(w.is_asked_to_leave for w in engine.workers.values())
    missing = engines.wanted_workers(engine) - sum(1 for _ in engine.live_workers)
    if missing <= 0 or is_backing_off or is_leaving:
        return
    if engine.is_running:
        engine_admission.fill(world, engine)
    else:
        engine_admission.join(world, engine)


def _is_supplied(world: World, engine: Engine, pool: str) -> bool:
    """Give an engine of a pool its missing workers, unless another one waits for a first worker."""
    waits = any(world.engines[other].pool == pool for other in world.admission_queue)
    return any(engine.live_workers) if waits else pools.supply(world, engine, pool)


def _watch_idleness(world: World, engine: Engine) -> None:
    """Start the keep-alive deadline of an on-demand engine that has become idle, or clear it."""
    engine_id = engine.row.engine_id
    is_ready = any(w.state is WorkerState.READY for w in engine.workers.values())
    is_idle = is_ready and not world.has_work(engine) and not engine.is_busy
    if not is_idle or engine.is_pinned or engine.is_stopping:
        engine.idle_since_s = None
        world.timers.clear(due.KeepAlive(engine_id))
        return
    if engine.idle_since_s is None:
        engine.idle_since_s = world.now.mono_s
    if due.KeepAlive(engine_id) not in world.timers:
        keep_alive_s = engine.row.spec.keep_alive_s
        if keep_alive_s is None:
            keep_alive_s = world.limits.keep_alive_s
        world.timers.set(due.KeepAlive(engine_id), engine.idle_since_s + keep_alive_s)
