"""Starts the Manager from the database, and stops it without losing a job."""

from typing import Final

from msgspec.structs import replace

from kernel.core import actions, due
from kernel.core.admission import memory_ledger, reconcile
from kernel.core.callbacks import sending
from kernel.core.events import ApiExited, Snapshot
from kernel.core.images import housekeeping
from kernel.core.lifecycle import api_process, engines, jobs, workers
from kernel.core.models import fetching, missing_files, scanning
from kernel.core.state import transitions
from kernel.core.state.tables import PHASE_MOVES, RUNNING_ENGINE_STATES, WorkerState, check_move
from kernel.core.state.world import Engine, Job, World
from kernel.protocol import waiting
from kernel.protocol.enums import EngineState, GoneReason, JobState, ModelState, Phase, WorkerRole
from kernel.protocol.errors import InternalError
from kernel.protocol.rows import ModelRow

MAX_ENDS: Final = 3
"""After the Manager has ended this often during one engine's work, the engine is held until it is started."""
OVER_IT: Final = "an unexpected error made the Manager restart; see its log"


def restore(world: World, snapshot: Snapshot) -> None:
    """Take over the content of the database, without a change."""
    memory_ledger.look(world, snapshot.devices)
    world.last_change, world.last_job_seq = snapshot.last_change, snapshot.last_job_seq
    world.paused_since_ms = snapshot.paused_since_ms
    world.images_lost, world.images_found = snapshot.lost_images, snapshot.found_images
    world.models_absent = snapshot.absent_models
    world.blamed, world.api_process.is_running = snapshot.blamed, snapshot.has_api_process
    world.phase = Phase.DRAINING if snapshot.is_stopping else Phase.RUNNING
    world.models = {row.model_id: row for row in snapshot.models}
    world.scanned_files = {row.path: row for row in snapshot.scanned_files}
    world.scan.row = snapshot.scan
    world.keys = {row.key_id: row for row in snapshot.keys}
    world.worker_tokens = {row.token_id: row for row in snapshot.worker_tokens}
    for use in snapshot.key_uses:
        world.key_uses.setdefault(use.key_id, {})[use.hour] = use
    world.webhooks = {row.webhook_id: row for row in snapshot.webhooks}
    for owner, name in snapshot.presets:
        world.presets.setdefault(owner, set()).add(name)
    world.last_delivery_seq = snapshot.last_delivery_seq
    for delivery in snapshot.deliveries:
        world.deliveries.put(delivery)
    for row in snapshot.engines:
        world.engines[row.engine_id] = Engine(row)
        if row.name is not None:
            world.engine_names[row.name] = row.engine_id
    for job_row in snapshot.open_jobs:
        job = Job(
            job_row,
            stored=snapshot.stored_positions.get(job_row.job_id, frozenset()),
            blobs=snapshot.stored_blobs.get(job_row.job_id, frozenset()),
        )
        transitions.keep_job(world, job)
        if job_row.status is JobState.WAITING:
            transitions.queue_job(world, job_row)
        else:
            transitions.count_running(world, job_row, 1)


def start(world: World) -> None:
    """Close engines and requeue jobs that the last run left open; then start to work."""
    for image_id in world.images_lost:
        transitions.end_image(world, image_id, GoneReason.LOST)
    for image_id in world.images_found:
        transitions.restore_image(world, image_id)
    world.images_lost = world.images_found = ()
    for job in [j for j in world.jobs.values() if j.row.status is JobState.PROCESSING]:
        _take_back(world, job)
    for engine in world.engines.values():
        if engine.row.status in RUNNING_ENGINE_STATES:
            row = replace(engine.row, device=None, memory_bytes=None)
            transitions.move_engine(
                world, engine, replace(row, waits_since_ms=None, waits_reason=None), EngineState.CLOSED
            )
        elif engine.row.status is EngineState.ERROR:
            engine.is_resting = not waiting.may_pass(engine.row.error_code)
        engines.leave_admission_queue(world, engine)
        engine.is_held = world.blamed.get(engine.row.engine_id, 0) >= MAX_ENDS
    for model in list(world.models.values()):
        if model.status is ModelState.DOWNLOADING and model.stored is not None:
            world.act(actions.MoveModel(model.model_id, model.stored))
        elif model.status is ModelState.DOWNLOADING:
            _inspect_again(world, model)
    missing_files.seen(world, world.models_absent)
    world.models_absent = frozenset()
    fetching.review(world)
    world.blamed = {}
    housekeeping.start_sweep(world)
    if world.limits.with_api and not world.api_process.is_running and world.phase is Phase.RUNNING:
        api_process.launch(world)
    if world.worker_tokens and world.phase is Phase.RUNNING:
        world.timers.set(due.ComeBack(), world.now.mono_s + world.limits.come_back_s)
    scanning.start(world)
    fetching.tend(world)
    sending.start(world)
    for engine in list(world.engines.values()):
        reconcile.reconcile_engine(world, engine)


def _take_back(world: World, job: Job) -> None:
    """Requeue a job that no worker has any more; count a crash if the Manager ended because of it."""
    if job.row.job_id in world.blamed:
        jobs.count_crash(world, job, OVER_IT)
    else:
        jobs.give_back(world, job)


def _inspect_again(world: World, model: ModelRow) -> None:
    times = world.blamed.get(model.model_id, 0)
    if times < fetching.MAX_CRASHES:
        world.models_to_inspect[model.model_id] = times
    else:
        fetching.give_up(world, model, InternalError.code, OVER_IT)


def stop_asked(world: World) -> None:
    """The first signal lets running jobs finish, the second one requeues them."""
    world.stops_asked += 1
    stop(world, is_now=world.stops_asked > 1)


def stop(world: World, *, is_now: bool) -> None:
    """Finish running jobs and exit, or requeue them and exit at once. A repeated call has no further
    effect."""
    if world.phase is Phase.RUNNING:
        _drain(world)
    if is_now:
        leave_now(world)


def _drain(world: World) -> None:
    _enter(world, Phase.DRAINING)
    world.timers.set(due.Grace(), world.now.mono_s + world.limits.grace_s)
    for engine in world.engines.values():
        if engine.workers:
            engines.stop(world, engine)
        engine.is_stopping = True
        world.timers.clear(due.Relaunch(engine.row.engine_id))
        engines.forget_error(world, engine)
        engines.refresh(world, engine)
    for again in map(due.Store, world.unwritten):
        if again in world.timers:
            world.timers.set(again, world.now.mono_s)
    for worker in list(world.workers.values()):
        if worker.role is WorkerRole.FETCH:
            workers.dismiss(world, worker)
        elif worker.state is WorkerState.IDLE:
            workers.drain(world, worker)


def leave_now(world: World) -> None:
    """Requeue running jobs and kill every worker."""
    if world.phase is not Phase.DRAINING:
        return
    for worker in list(world.workers.values()):
        workers.take_jobs_away(world, worker)
        workers.kill(world, worker, "the Manager is shutting down immediately", is_to_blame=False)


def close_if_drained(world: World) -> None:
    """Once no worker runs and no write is pending: terminate the API, then exit."""
    is_writing = bool(world.pending_outputs or world.submissions)
    if world.phase is Phase.DRAINING and not world.workers and not is_writing:
        _enter(world, Phase.CLOSING)
        if world.api_process.is_running:
            api_process.terminate(world)
        else:
            _exit(world)


def api_exited(world: World, event: ApiExited) -> None:
    """The API has exited: restart it, unless it was stopped or can never start."""
    if world.phase is Phase.RUNNING and api_process.is_hopeless(world, event):
        api_process.gone(world)
        world.exit_code = api_process.MISCONFIGURED
        _drain(world)
    elif world.phase is Phase.RUNNING:
        api_process.died(world, event)
    else:
        api_process.gone(world)
        if world.phase is Phase.CLOSING:
            _exit(world)


def api_deadline(world: World) -> None:
    """Restart the API, or kill it if it has not ended by itself."""
    if world.phase is Phase.RUNNING:
        api_process.launch(world)
    else:
        api_process.kill(world)


def _exit(world: World) -> None:
    _enter(world, Phase.EXITED)
    world.act(actions.Exit(world.exit_code))


def _enter(world: World, phase: Phase) -> None:
    check_move(PHASE_MOVES, world.phase, phase)
    world.phase = phase
