"""Handles deadlines that have passed."""

from typing import Final, assert_never

from kernel.core import actions, due
from kernel.core.admission import engine_admission, reconcile
from kernel.core.callbacks import sending
from kernel.core.handlers import launch_news, manager_lifecycle, worker_exit
from kernel.core.images import downloads, housekeeping
from kernel.core.lifecycle import engines, jobs, workers
from kernel.core.models import fetching, pushing, scanning
from kernel.core.state.world import Worker, World
from kernel.protocol.ids import EngineId

MOST_AT_ONCE: Final = 200
"""Deadlines served in one event; the rest stays due for the next one."""


def passed(world: World) -> None:
    """Serve the deadlines that are due, earliest first."""
    for _ in range(MOST_AT_ONCE):
        if (item := world.timers.pop_due(world.now.mono_s)) is None:
            return
        _serve(world, item)


def _serve(world: World, item: due.Due) -> None:
    match item:
        case (
            due.Hello()
            | due.Load()
            | due.Silence()
            | due.Progress()
            | due.Drop()
            | due.Drain()
            | due.Kill()
            | due.Idle()
        ):
            _serve_worker(world, world.workers[item.worker_id], item)
        case (
            due.Relaunch(engine_id)
            | due.KeepAlive(engine_id)
            | due.Turn(engine_id)
            | due.Scale(engine_id)
            | due.Retry(engine_id)
            | due.GiveUp(engine_id)
        ):
            _serve_engine(world, engine_id, item)
        case due.Launch(worker_id):
            launch_news.overdue(world, worker_id)
        case due.Fetch() | due.Scan() | due.Parts():
            _serve_models(world, item)
        case due.Callbacks() | due.Resume() | due.Deliver():
            _serve_callbacks(world, item)
        case due.Store(output_id):
            world.act(actions.StoreAgain(output_id))
        case due.Claim(image_id, ticket):
            downloads.drop_claim(world, image_id, ticket)
        case due.ComeBack() | due.Housekeeping() | due.Grace() | due.ApiProcess():
            _serve_manager(world, item)
        case _:
            assert_never(item)


def _serve_manager(world: World, item: due.ComeBack | due.Housekeeping | due.Grace | due.ApiProcess) -> None:
    match item:
        case due.ComeBack():
            for engine in list(world.engines.values()):
                reconcile.reconcile_engine(world, engine)
        case due.Housekeeping():
            housekeeping.start_sweep(world)
        case due.Grace():
            manager_lifecycle.leave_now(world)
        case due.ApiProcess():
            manager_lifecycle.api_deadline(world)
        case _:
            assert_never(item)


def _serve_models(world: World, item: due.Fetch | due.Scan | due.Parts) -> None:
    match item:
        case due.Fetch():
            fetching.tend(world)
        case due.Scan():
            scanning.want(world)
        case due.Parts():
            pushing.tend(world)
        case _:
            assert_never(item)


def _serve_callbacks(world: World, item: due.Callbacks | due.Resume | due.Deliver) -> None:
    if isinstance(item, due.Deliver):
        sending.overdue(world, item.delivery_id)
    else:
        sending.tend(world)


DueOfWorker = due.Hello | due.Load | due.Silence | due.Progress | due.Drop | due.Drain | due.Kill | due.Idle


def _serve_worker(world: World, worker: Worker, item: DueOfWorker) -> None:
    match item:
        case due.Hello():
            _never_came(world, worker)
        case due.Load():
            workers.terminate(world, worker, "loading timed out", is_to_blame=True)
        case due.Silence():
            _silent(world, worker)
        case due.Progress():
            _stuck(world, worker)
        case due.Drop():
            workers.terminate(
                world, worker, "the worker did not drop a canceled job", is_to_blame=_is_stuck(worker)
            )
        case due.Drain():
            workers.terminate(
                world, worker, "the worker did not exit when asked to", is_to_blame=worker.has_quit
            )
        case due.Kill():
            _kill(world, worker)
        case due.Idle() if worker.enrolled is not None:
            launch_news.unused(world, worker, worker.enrolled)
        case due.Idle():
            workers.drain(world, worker)
        case _:
            assert_never(item)
    if worker.engine_id is not None:
        reconcile.reconcile_engine(world, world.engines[worker.engine_id])


def _never_came(world: World, worker: Worker) -> None:
    workers.terminate(world, worker, "the worker did not register in time", is_to_blame=True)


def _silent(world: World, worker: Worker) -> None:
    """Wait on if the worker has sent something meanwhile; else kill it."""
    lost_at_s = worker.heard_at_s + workers.SILENCE_S
    if world.now.mono_s < lost_at_s:
        world.timers.set(due.Silence(worker.worker_id), lost_at_s)
    else:
        workers.kill(world, worker, "the worker stopped responding", is_to_blame=True)


def _stuck(world: World, worker: Worker) -> None:
    """Ask for the jobs without progress to be dropped; terminate a worker that ignores that."""
    for job_id, slot in worker.slots.items():
        if not slot.is_cancelled:
            slot.is_overdue = True
            jobs.ask_to_drop(world, worker, job_id)


def _is_stuck(worker: Worker) -> bool:
    return any(slot.is_overdue for slot in worker.slots.values())


def _kill(world: World, worker: Worker) -> None:
    """SIGTERM did not help: kill the worker, or, if it is on another host, forget it."""
    if worker.is_local:
        workers.kill(
            world,
            worker,
            worker.terminate or "the worker did not exit when asked to",
            is_to_blame=worker.is_to_blame,
        )
    else:
        worker_exit.worker_gone(world, worker, "abandoned")


DueOfEngine = due.Relaunch | due.KeepAlive | due.Turn | due.Scale | due.Retry | due.GiveUp


def _serve_engine(world: World, engine_id: EngineId, item: DueOfEngine) -> None:
    engine = world.engines[engine_id]
    match item:
        case due.Relaunch() | due.Scale():
            pass  # reconciling launches the missing workers, and counts what there should be
        case due.KeepAlive():
            engines.stop(world, engine)
        case due.Turn():
            engine_admission.look_again(world, engine)
        case due.Retry():
            engine.is_resting = False
        case due.GiveUp():
            engines.give_up(world, engine)
        case _:
            assert_never(item)
    reconcile.reconcile_engine(world, engine)
