"""What must be true of every action and after every event."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from kernel.core import actions, due
from kernel.core.actions import Action, Save
from kernel.core.admission import affinity, reconcile
from kernel.core.lifecycle import engines
from kernel.core.lifecycle.jobs import MAX_CRASHES
from kernel.core.state.delivery_queue import MAX_SENDING
from kernel.core.state.tables import OPEN_JOB_STATES, WorkerState
from kernel.core.state.world import Engine, Job, Worker, World
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.api_keys import KeyIssued
from kernel.protocol.enums import DeliveryState, EngineState, JobState, Phase, WorkerRole
from kernel.protocol.errors import InputsLost
from kernel.protocol.ids import TokenId
from kernel.protocol.rows import JobRow
from kernel.protocol.waiting import may_pass
from kernel.protocol.webhooks import WebhookIssued
from kernel.protocol.worker_tokens import WorkerTokenIssued
from tests.property.room import check_room
from tests.unit.core.samples import CHECKPOINT

if TYPE_CHECKING:
    from tests.property.simulation import Simulation


OF_THE_JOB = {"oom", InputsLost.code}
"""Why a job of the simulation fails whose worker goes on."""
OF_A_WORKER = (
    actions.Order | actions.GiveJob | actions.TerminateWorker | actions.KillWorker | actions.ForgetWorker
)
"""What can be done to a worker only between its launch or invitation and the moment it is forgotten."""


def check_refusal(decided: list[Action]) -> None:
    """A refusal changes nothing."""
    refusals = [a for a in decided if isinstance(a, actions.Reply) and isinstance(a.message, client.Refused)]
    assert not refusals or not any(isinstance(a, Save) for a in decided), decided


def check_action(world: Simulation, action: Action) -> None:
    """What is sent rests on what has been saved; names never repeat; the dead are not spoken to."""
    database = world.database
    match action:
        case actions.GiveJob():
            row = database.jobs[action.job_id]
            assert (row.status, row.attempts) == (JobState.PROCESSING, action.attempt)
            assert database.paused_since_ms is None, "nothing is given out while all queues are paused"
            assert database.engines[row.engine_id].paused_since_ms is None
            assert action.lease > world.newest_lease
            stored = {i.position for i in database.images.values() if i.job_id == action.job_id}
            assert sorted(stored | set(action.positions)) == list(range(len(row.image_ids)))
            assert not stored & set(action.positions)
            assert _is_next(world, row)
            assert database.blob_kinds(action.job_id) >= set(database.specs[action.job_id].inputs)
            assert [source.model_id for source in action.models] == list(row.models)
            _has_a_place(world.broker.world.workers[action.worker_id])
        case actions.SaveJob(row) if row.status is JobState.FAILED:
            _check_failure(world, row)
        case actions.LaunchWorker(worker_id) | actions.AdmitWorker(worker_id):
            epoch, _, number = worker_id.removeprefix("w").partition("-")
            assert (int(epoch), int(number)) > max(world.seen_workers, default=(0, 0))
        case actions.Reply(message=client.JobAccepted() as reply):
            assert reply.job_id in database.jobs or reply in [r.reply for r in database.replies.values()]
        case actions.Reply(message=KeyIssued() as reply):
            assert replace(reply, text=None) in [stored.reply for stored in database.replies.values()]
        case actions.Reply(message=WorkerTokenIssued() as reply):
            assert replace(reply, text=None) in [stored.reply for stored in database.replies.values()]
        case actions.Reply(message=WebhookIssued() as reply):
            assert replace(reply, secret=None) in [stored.reply for stored in database.replies.values()]
        case actions.GiveDelivery():
            _check_delivery(world, action)
        case actions.Reply(message=client.ModelAccepted() | client.EngineAccepted() | client.Done() as reply):
            assert reply in [stored.reply for stored in database.replies.values()]
        case actions.Order(worker_id, wire.ImageStored() as order):
            image_id = database.jobs[order.job_id].image_ids[order.index]
            assert image_id in database.images
        case actions.Order(worker_id, wire.MapStored() as order):
            assert f"map_{order.control_type}" in database.blob_kinds(order.job_id)
        case actions.Push(message=client.Changed(seq=seq)):
            assert seq == database.changes[-1].seq
        case actions.TerminateWorker(worker_id) | actions.KillWorker(worker_id):
            assert world.has_process[worker_id]
        case _:
            pass
    if isinstance(action, OF_A_WORKER):
        assert action.worker_id in world.has_process


def _check_delivery(world: Simulation, give: actions.GiveDelivery) -> None:
    """An attempt is saved before it is made; it is the first of its line, and the only one."""
    row = world.database.deliveries[give.delivery_id]
    assert (row.status, row.attempts, row.url) == (DeliveryState.SENDING, give.attempt, give.url)
    earlier = [
        one.seq
        for one in world.database.open_deliveries()
        if (one.webhook_id, one.job_id) == (row.webhook_id, row.job_id) and one.seq < row.seq
    ]
    assert row.job_id is None or not earlier, "in order per job and receiver"
    assert give.delivery_id not in world.attempts, "never twice at once"
    webhook = None if row.webhook_id is None else world.database.webhooks[row.webhook_id]
    assert webhook is None or give.signer.generation == webhook.generation


def _deliveries_agree(simulation: Simulation, world: World) -> None:
    """Memory has what is open in the database; what is on its way has a worker, and a deadline."""
    queue = world.deliveries
    assert queue.rows == {row.delivery_id: row for row in simulation.database.open_deliveries()}
    assert world.webhooks == simulation.database.webhooks
    assert len(queue.held) <= MAX_SENDING
    for delivery_id, worker_id in queue.held.items():
        assert queue.rows[delivery_id].status is DeliveryState.SENDING
        worker = world.workers[worker_id]
        assert worker.is_sending
        is_ending = worker.state is WorkerState.TERMINATING
        assert is_ending or due.Deliver(delivery_id) in world.timers
    waits = set(queue.rows) - set(queue.held)
    is_sender = any(worker.is_sending for worker in world.workers.values())
    if waits and world.phase is Phase.RUNNING:
        assert is_sender or due.Callbacks() in world.timers or due.Resume() in world.timers, "none is lost"


def _has_a_place(worker: Worker) -> None:
    """A worker may hold more jobs than an edit of its engine leaves places for; it gets no further one."""
    assert len(worker.slots) <= worker.capacity + affinity.PREFETCH, worker


def _check_failure(world: Simulation, row: JobRow) -> None:
    """A job fails of itself; of its engine's error only if it has waited for as long as it wants to."""
    if row.error_code in OF_THE_JOB or row.crashes >= MAX_CRASHES:
        return
    engine = world.database.engines[row.engine_id]  # as it was then: the same event may try it again
    assert (engine.status, row.error_code) == (EngineState.ERROR, engine.error_code)
    assert row.give_up_after_s is not None
    assert engine.failing_since_ms is not None
    since_ms = max(engine.failing_since_ms, row.created_at_ms)
    assert world.now.unix_ms >= since_ms + row.give_up_after_s * 1000


def _is_next(world: Simulation, row: JobRow) -> bool:
    """No job of the same engine and key that waits stands before this one, and the key may have it."""
    of_key = [r for r in world.database.jobs.values() if r.key_id == row.key_id]
    waiting = [
        (-r.priority, r.seq) for r in of_key if r.engine_id == row.engine_id and r.status is JobState.WAITING
    ]
    if row.key_id is not None and (most := world.database.keys[row.key_id].limits.max_running_jobs):
        assert sum(r.status is JobState.PROCESSING for r in of_key) <= most
    return (-row.priority, row.seq) < min(waiting, default=(1 << 62, 0))


def check_world(simulation: Simulation) -> None:
    """Everything at once, on the broker's memory and on the database."""
    world = simulation.broker.world
    assert not world.out
    _memory_is_the_open_part_of_the_database(simulation, world)
    _numbers_agree(world)
    _deliveries_agree(simulation, world)
    owned = {(owner, name) for owner, names in world.presets.items() for name in names}
    assert owned == set(simulation.database.presets)
    for job in world.jobs.values():
        _job_has_one_owner(simulation, world, job)
        _something_will_happen(world, job)
    for worker in world.workers.values():
        _worker_is_watched(world, worker)
        _worker_has_what_its_engine_wants(simulation, world, worker)
    for engine in world.engines.values():
        _engine_makes_sense(world, engine)
        _error_is_waited_out(world, engine)
    inspected = [w.model_id for w in world.workers.values() if w.model_id is not None]
    assert len(inspected) == len(set(inspected)), "a model is given to one worker"
    running = sum(engine.is_running_here for engine in world.engines.values())
    assert running <= world.limits.max_running, "those of pools do not count"
    _pools_make_sense(world)
    for item in world.timers._when_s:
        assert _exists(world, item), item
    _claims_are_within_limits(simulation, world)
    check_room(world)
    _blobs_are_whole(simulation, world)
    for output_id in world.unwritten:
        is_tried = output_id in simulation.writes or due.Store(output_id) in world.timers
        assert is_tried, "jobs are held back for a picture only as long as it is tried again"


def _blobs_are_whole(simulation: Simulation, world: World) -> None:
    """Every row has its file and its job; every file has its row, or is still to get one."""
    database = simulation.database
    rows = database.blobs.values()
    assert {row.file_name for row in rows} <= simulation.files
    for row in rows:
        is_open = database.jobs[row.job_id].status in OPEN_JOB_STATES
        assert (row.expires_at_ms is None) == is_open, "the time of a blob begins when its job ends"
    coming = {picture.row.file_name for picture in world.pending_outputs.values()}
    assert simulation.files - coming == {row.file_name for row in rows}, "a file that belongs to nothing"
    assert {store.key for store in simulation.inputs} == set(world.submissions)


def _memory_is_the_open_part_of_the_database(simulation: Simulation, world: World) -> None:
    database = simulation.database
    assert world.models == database.models
    assert world.keys == database.keys
    assert world.worker_tokens == database.worker_tokens
    assert database.key_uses == {
        (key_id, hour): use for key_id, hours in world.key_uses.items() for hour, use in hours.items()
    }
    assert {engine_id: engine.row for engine_id, engine in world.engines.items()} == database.engines
    open_rows = {row.job_id: row for row in database.jobs.values() if row.status in OPEN_JOB_STATES}
    assert {job_id: job.row for job_id, job in world.jobs.items()} == open_rows
    stored: dict[str, set[int]] = {job_id: set() for job_id in world.jobs}
    for image in database.images.values():
        if image.job_id in stored:
            stored[image.job_id].add(image.position)
    assert {job_id: job.stored for job_id, job in world.jobs.items()} == stored
    assert all(job.blobs == database.blob_kinds(job_id) for job_id, job in world.jobs.items())
    users = {
        model_id: {job_id for job_id, job in world.jobs.items() if model_id in job.row.models}
        for job in world.jobs.values()
        for model_id in job.row.models
    }
    assert {model_id: set(jobs) for model_id, jobs in world.model_jobs.items()} == users
    assert set(users) <= set(world.models), "what an open job names is there"
    assert world.last_change == (database.changes[-1].seq if database.changes else 0)
    names = {row.name: row.engine_id for row in database.engines.values() if row.name is not None}
    assert world.engine_names == names
    assert world.paused_since_ms == database.paused_since_ms


def _numbers_agree(world: World) -> None:
    states = [job.row.status for job in world.jobs.values()]
    assert world.processing == states.count(JobState.PROCESSING)
    assert world.waiting == states.count(JobState.WAITING)
    running = Counter(
        job.row.key_id
        for job in world.jobs.values()
        if job.row.status is JobState.PROCESSING and job.row.key_id
    )
    assert +world.running_by_key == running
    assert +world.open_by_key == Counter(job.row.key_id for job in world.jobs.values() if job.row.key_id)
    limits = {key_id: row.limits.max_running_jobs for key_id, row in world.keys.items()}
    assert world.keys_at_limit == {k for k, most in limits.items() if most is not None and running[k] >= most}
    assert not world.keys_to_serve
    for engine_id, engine in world.engines.items():
        waiting = {
            job.row.job_id
            for job in world.jobs.values()
            if job.row.engine_id == engine_id and job.row.status is JobState.WAITING
        }
        assert set(engine.queue) == waiting
        assert len(engine.queue) == len(waiting)
        assert engine.workers == {k: w for k, w in world.workers.items() if w.engine_id == engine_id}


def _job_has_one_owner(simulation: Simulation, world: World, job: Job) -> None:
    holders = [w for w in world.workers.values() if job.row.job_id in w.slots]
    good = [w for w in holders if not w.slots[job.row.job_id].is_cancelled]
    has_another = world.engines[job.row.engine_id].row.spec.checkpoint != CHECKPOINT
    assert not (job.row.names_checkpoint and has_another), "the one that jobs here name"
    if job.row.status is JobState.WAITING:
        assert (job.worker_id, job.lease, good) == (None, None, [])
        return
    (owner,) = good
    assert (owner.worker_id, owner.engine_id) == (job.worker_id, job.row.engine_id)
    assert owner.slots[job.row.job_id].lease == job.lease == simulation.newest_leases[job.row.job_id]


def _worker_has_what_its_engine_wants(simulation: Simulation, world: World, worker: Worker) -> None:
    """Whoever is given jobs has loaded the engine as it is now, and steps as many images as are promised."""
    process = simulation.processes.get(worker.worker_id)
    if worker.state is not WorkerState.READY or worker.engine_id is None or process is None:
        return
    row, loaded = world.engines[worker.engine_id].row, process.loaded
    assert loaded is not None
    assert (loaded.load.checkpoint.model_id, loaded.load.dtype) == (row.spec.checkpoint, row.spec.dtype)
    if worker.reservation is not None and process.max_batch is not None:
        assert process.max_batch == worker.reservation.need.batch_size
    for job_id, slot in worker.slots.items():
        if not slot.is_cancelled:
            assert world.jobs[job_id].row.checkpoint == row.spec.checkpoint


def _something_will_happen(world: World, job: Job) -> None:
    assert job.row.crashes < MAX_CRASHES
    engine = world.engines[job.row.engine_id]
    if job.row.status is JobState.PROCESSING:
        assert job.worker_id in world.workers
    elif world.phase is Phase.RUNNING and reconcile.is_wanted(world, engine):
        is_coming = bool(engine.workers)
        is_in_line = engine.row.engine_id in world.admission_queue
        assert is_coming or is_in_line or due.Relaunch(engine.row.engine_id) in world.timers


def _worker_is_watched(world: World, worker: Worker) -> None:
    """Whatever a worker does not do, there is a deadline for it."""
    worker_id = worker.worker_id
    assert worker.state is not WorkerState.GONE
    wanted: dict[WorkerState, tuple[due.Due, ...]] = {
        WorkerState.IDLE: (due.Silence(worker_id),),
        WorkerState.LAUNCHED: (due.Hello(worker_id),),
        WorkerState.LOADING: (due.Load(worker_id),),
        WorkerState.READY: (due.Silence(worker_id),),
        WorkerState.DRAINING: (due.Silence(worker_id), due.Drain(worker_id)),
        WorkerState.TERMINATING: (due.Kill(worker_id),),
    }
    assert worker.state is WorkerState.LAUNCHED or due.Hello(worker_id) not in world.timers
    if worker.role is WorkerRole.ENGINE and worker.state is not WorkerState.LOADING:
        assert due.Load(worker_id) not in world.timers
    held = [world.jobs[job_id].row for job_id in worker.slots if job_id in world.jobs]
    assert len(worker.slots) <= 1 or not any(row.crashes for row in held), "suspects run alone"
    watched = any(item in world.timers for item in wanted[worker.state])
    assert watched or due.Kill(worker_id) in world.timers, worker
    if worker.slots and worker.state is not WorkerState.TERMINATING:
        is_asked = all(due.Drop(worker_id, job_id) in world.timers for job_id in worker.slots)
        assert is_asked or due.Progress(worker_id) in world.timers, worker
    if worker.state is WorkerState.DRAINING and not worker.slots and worker.role is WorkerRole.ENGINE:
        assert due.Drain(worker_id) in world.timers or due.Kill(worker_id) in world.timers
    is_idle_watched = due.Idle(worker_id) in world.timers
    assert worker.state is WorkerState.READY or not is_idle_watched, "only who is ready can be idle"
    if worker.is_sending and worker.state is WorkerState.READY:
        is_busy = worker_id in world.deliveries.held.values()
        assert is_busy or is_idle_watched or due.Resume() in world.timers
    elif worker.role is WorkerRole.FETCH and worker.state is WorkerState.READY:
        kind = due.Idle if worker.model_id is None else due.Load
        assert kind(worker_id) in world.timers or due.Fetch() in world.timers


def _engine_makes_sense(world: World, engine: Engine) -> None:
    assert engines._derived_state(world, engine) is engine.row.status
    is_idle_watched = due.KeepAlive(engine.row.engine_id) in world.timers
    assert not (is_idle_watched and (engine.is_pinned or world.has_work(engine) or engine.is_busy))
    if engine.is_stopping and world.phase is Phase.RUNNING:
        assert any(w.is_asked_to_leave for w in engine.workers.values())
        assert not any(engine.live_workers)
    spec, added = engine.row.spec, engine.extra_replicas
    assert 0 <= added <= spec.max_replicas - spec.min_replicas
    if world.phase is Phase.RUNNING and not engine.is_stopping and not world.unwritten:
        _nobody_is_idle_while_a_job_waits(world, engine)


def _error_is_waited_out(world: World, engine: Engine) -> None:
    """What is due while an engine is in error; and its reason is there for as long as it is not ready."""
    row, now_ms = engine.row, world.now.unix_ms
    retry, give_up = due.Retry(row.engine_id), due.GiveUp(row.engine_id)
    waiting = [world.jobs[job_id].row for job_id in engine.queue]
    limited = {r.job_id: r for r in waiting if r.give_up_after_s is not None}
    assert set(engine.patience._when_s) == set(limited)
    assert (retry in world.timers) == (row.retry_at_ms is not None) or world.phase is not Phase.RUNNING
    assert (row.failing_since_ms is None) == (row.error_code is None) == (row.error is None)
    if row.status is not EngineState.ERROR:
        assert not engine.is_resting
        assert row.error is None or row.status not in (EngineState.READY, EngineState.WORKING)
        assert retry not in world.timers
        assert give_up not in world.timers
    elif world.phase is Phase.RUNNING:
        assert row.error is not None
        can_start = engine.is_pinned or (row.spec.autostart and not engine.is_held)
        is_tried = engine.is_resting and may_pass(row.error_code) and can_start and world.has_work(engine)
        assert is_tried == (retry in world.timers), "what may pass is tried again while jobs wait"
        assert row.retry_at_ms is None or row.retry_at_ms <= now_ms + world.limits.longest_pause_s * 1000
        assert bool(limited) == (give_up in world.timers)
        for job_id, when_s in engine.patience._when_s.items():
            gives_up_at_s = engines._gives_up_at_s(engine, limited[job_id])
            assert when_s <= gives_up_at_s, "nobody is looked at too late"


def _nobody_is_idle_while_a_job_waits(world: World, engine: Engine) -> None:
    if (job_id := world.next_job(engine)) is None:
        return
    ready = [w for w in engine.workers.values() if w.state is WorkerState.READY and not w.is_cordoned]
    if engine.pool is not None and due.ComeBack() in world.timers:
        return  # its worker may come back with it
    assert not any(affinity.can_take(w, world.jobs[job_id]) for w in ready)
    assert all(world.jobs[job_id].overtaken <= affinity.LOOK_AHEAD for job_id in engine.queue)


def _pools_make_sense(world: World) -> None:
    """A worker of a pool serves an engine of that pool, or leaves; no token admits more than it may."""
    joined: Counter[TokenId] = Counter()
    for worker in world.workers.values():
        if worker.enrolled is None:
            assert worker.state is not WorkerState.IDLE
            continue
        joined[worker.enrolled.token_id] += 1
        assert (worker.engine_id is None) == (worker.state is WorkerState.IDLE) or worker.is_asked_to_leave
        assert world.worker_tokens[worker.enrolled.token_id].revoked_at_ms is None, "it was cut off"
        if worker.engine_id is not None and not worker.is_asked_to_leave:
            assert world.engines[worker.engine_id].pool == worker.enrolled.pool
    for token_id, count in joined.items():
        most = world.worker_tokens[token_id].max_workers
        assert most is None or count <= most
    for engine in world.engines.values():
        if engine.pool is None:
            assert all(worker.is_local or worker.is_asked_to_leave for worker in engine.workers.values())


def _exists(world: World, item: due.Due) -> bool:
    """A deadline is of something that there is."""
    match item:
        case due.Drop(worker_id, job_id):
            return job_id in world.workers[worker_id].slots
        case (
            due.Relaunch(engine_id) | due.KeepAlive(engine_id) | due.Retry(engine_id) | due.GiveUp(engine_id)
        ):
            return engine_id in world.engines
        case due.Scale(engine_id):
            return any(world.engines[engine_id].live_workers)
        case due.Turn(engine_id):
            return engine_id in world.admission_queue
        case due.Store(image_id):
            return image_id in world.pending_outputs
        case due.Claim(image_id, ticket):
            return ticket in world.claims[image_id]
        case due.Deliver(delivery_id):
            return delivery_id in world.deliveries.held
        case due.Fetch() | due.Housekeeping() | due.Grace() | due.ApiProcess() | due.ComeBack():
            return True
        case due.Callbacks() | due.Resume():
            return True
        case _:
            return item.worker_id in world.workers


def _claims_are_within_limits(simulation: Simulation, world: World) -> None:
    for image_id, tickets in world.claims.items():
        assert tickets
        for ticket in tickets:
            assert due.Claim(image_id, ticket) in world.timers
        row = simulation.database.images.get(image_id)
        if row is not None and row.download_limit is not None:
            assert row.downloads + len(tickets) <= row.download_limit
