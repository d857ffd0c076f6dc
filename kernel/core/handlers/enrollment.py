"""Workers of pools join, and come back after they have lost the Manager, with what they still hold.

A worker is believed only what its token and its leases prove. Its engine is taken over if it is what that
engine would load today; a job only if it waits, and the lease is the last one that it was given out under, so
nobody else can have it. All else is dropped by an order (adr/0085, adr/0086).
"""

from typing import Final

from msgspec.structs import replace

from kernel.core import actions
from kernel.core.admission import engine_admission, pools, reconcile
from kernel.core.events import EnrollAsked
from kernel.core.handlers import engine_ready
from kernel.core.lifecycle import engines, jobs, launches, workers
from kernel.core.state import transitions
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Engine, Enrolled, Job, Worker, World
from kernel.protocol import worker as wire
from kernel.protocol.api_keys import is_digest_of, key_state
from kernel.protocol.enrollment import TokenExpired, TokenFull, TokenRevoked, TokenUnknown, check_skew
from kernel.protocol.enums import EngineState, JobState, KeyState, Phase
from kernel.protocol.errors import SpoonError
from kernel.protocol.rows import WorkerTokenRow
from kernel.protocol.version import VERSION

FULL_RETRY_S: Final = 10.0


def asked(world: World, event: EnrollAsked) -> None:
    """Admit a worker, or tell it why not. During a shutdown nobody is answered: it asks again."""
    if world.phase is not Phase.RUNNING:
        return
    try:
        check_skew(event.enroll.version, VERSION)
        token = _token_of(world, event.enroll)
        launch = launches.expected(world, event.enroll.launch, token.pool)
    except SpoonError as error:
        retry_after_s = FULL_RETRY_S if isinstance(error, TokenFull) else None
        refuse = wire.Refuse(code=error.code, text=error.detail, retry_after_s=retry_after_s)
        world.act(actions.RefuseStranger(event.place, refuse))
        return
    transitions.save_worker_token(world, replace(token, used_at_ms=world.now.unix_ms))
    said = replace(event.enroll, token="")
    enrolled = Enrolled(token.pool, token.token_id, said)
    worker = workers.enroll(world, enrolled, event.key, event.place, launch)
    _take_over(world, worker, enrolled)


def again(world: World, worker: Worker, enrolled: Enrolled, enroll: wire.Enroll) -> None:
    """A worker that is known enrolls again: it was not answered, or it had lost the Manager."""
    workers.welcome(world, worker)
    if enroll.round == enrolled.said.round:
        return
    world.touch()
    enrolled.said = replace(enroll, token="")
    if worker.is_asked_to_leave:
        world.act(actions.Order(worker.worker_id, wire.Leave()))
        return
    claimed = {held.job_id: held.lease for held in enroll.jobs}
    for job_id, slot in list(worker.slots.items()):
        if claimed.get(job_id) != slot.lease:  # the order was lost
            jobs.release(world, worker, job_id)
            if not slot.is_cancelled:
                jobs.give_back(world, world.jobs[job_id])
    for held in enroll.jobs:
        if held.job_id not in worker.slots:
            _drop(world, worker, held)
    if worker.state is WorkerState.LOADING and enrolled.load is not None and enroll.load is None:
        world.act(actions.Order(worker.worker_id, wire.LoadEngine(load=enrolled.load)))
    reconcile.assign_jobs(world, worker)


def _token_of(world: World, enroll: wire.Enroll) -> WorkerTokenRow:
    """Raises: TokenUnknown, TokenRevoked, TokenExpired, TokenFull."""
    rows = world.worker_tokens.values()
    row = next((one for one in rows if is_digest_of(one.digest, enroll.token)), None)
    if row is None:
        raise TokenUnknown
    match key_state(row.expires_at_ms, row.revoked_at_ms, world.now.unix_ms):
        case KeyState.REVOKED:
            raise TokenRevoked
        case KeyState.EXPIRED:
            raise TokenExpired
        case _:
            pass
    users = sum(
        one.enrolled is not None and one.enrolled.token_id == row.token_id for one in world.workers.values()
    )
    if row.max_workers is not None and users >= row.max_workers:
        raise TokenFull(
            f"{users} workers have joined with this token, which is the most that it admits: it is tried "
            "again, or create another token"
        )
    return row


def _take_over(world: World, worker: Worker, enrolled: Enrolled) -> None:
    """Take over what a worker holds, as far as it is still wanted."""
    load = enrolled.said.load
    if load is None:
        _serve_pool(world, worker, enrolled.pool)
        return
    engine = world.engines.get(load.engine_id)
    if engine is None or not _may_have(world, engine, enrolled):
        workers.dismiss(world, worker)
        return
    workers.assign(world, engine, worker, enrolled, load)
    extra = sum(1 for _ in engine.live_workers) - engine.row.spec.min_replicas
    engine.extra_replicas = max(engine.extra_replicas, extra)
    engines.leave_admission_queue(world, engine)
    engines.refresh(world, engine)
    if (ready := enrolled.said.ready) is not None:
        engine_ready.become_ready(world, engine, worker, ready)
        workers.adjust(world, worker)
        for held in enrolled.said.jobs:
            _claim(world, engine, worker, held)
    reconcile.reconcile_engine(world, engine)


def _serve_pool(world: World, worker: Worker, pool: str) -> None:
    """A worker of the pool is idle: waiting engines are first, then those that lack replicas."""
    engine_admission.admit(world)
    for engine in [one for one in world.engines.values() if one.pool == pool]:
        if worker.state is not WorkerState.IDLE:
            return
        reconcile.reconcile_engine(world, engine)


def _may_have(world: World, engine: Engine, enrolled: Enrolled) -> bool:
    """True if the engine still wants what the worker has loaded, and lacks a worker."""
    load = enrolled.said.load
    is_open = not engine.is_stopping and not engine.is_held and engine.row.status is not EngineState.ERROR
    has_place = sum(1 for _ in engine.live_workers) < engine.row.spec.max_replicas
    is_its_pool = engine.pool == enrolled.pool
    return is_open and has_place and is_its_pool and load is not None and pools.is_same(world, engine, load)


def _claim(world: World, engine: Engine, worker: Worker, held: wire.HeldJob) -> None:
    job = world.jobs.get(held.job_id)
    if job is not None and _is_its_own(engine, job, held):
        jobs.take_up(world, engine, worker, job, held.lease)
    else:
        _drop(world, worker, held)


def _is_its_own(engine: Engine, job: Job, held: wire.HeldJob) -> bool:
    """True if the job waits and was given out last under this lease: nobody else has or had it since."""
    row = job.row
    return (
        row.status is JobState.WAITING and row.lease == held.lease and row.engine_id == engine.row.engine_id
    )


def _drop(world: World, worker: Worker, held: wire.HeldJob) -> None:
    order = wire.CancelJob(job_id=held.job_id, lease=held.lease)
    world.act(actions.Order(worker.worker_id, order))
