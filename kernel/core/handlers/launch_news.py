"""Handles what the launchers of pools say: a worker waits for capacity, runs, or has ended."""

from typing import assert_never

from kernel.core.admission import pools, reconcile, scaling
from kernel.core.events import LaunchRan, LaunchWaited
from kernel.core.handlers import worker_exit
from kernel.core.lifecycle import engines, launches, workers
from kernel.core.state.world import Enrolled, Launch, LaunchState, Worker, World
from kernel.protocol.enums import Phase
from kernel.protocol.errors import NotEnoughMemory
from kernel.protocol.ids import WorkerId


def told(world: World, event: LaunchWaited | LaunchRan) -> None:
    """It waits for capacity, and its engine shows the reason; or it has a place, and must join in time."""
    match event:
        case LaunchWaited(name, reason):
            _tell(world, launches.waited(world, name, reason))
        case LaunchRan(name):
            _tell(world, launches.ran(world, name))
        case _:
            assert_never(event)


def exited(world: World, name: WorkerId, status: str, last_words: str) -> None:
    """A process has ended: that of a worker, or of a launch that has not become one yet."""
    launch = launches.ended(world, name)
    if (worker := world.workers.get(name)) is not None:
        worker_exit.worker_gone(world, worker, status, last_words)
    if launch is None:
        return
    if launch.state is LaunchState.COMING or launch.fault is not None:
        _failed(world, launch, status, last_words)
    if world.phase is Phase.RUNNING:
        for engine in [one for one in world.engines.values() if one.pool == launch.pool]:
            reconcile.reconcile_engine(world, engine)


def overdue(world: World, name: WorkerId) -> None:
    """It has not joined in time, or its process does not end."""
    launch = world.launches[name]
    launches.overdue(world, name)
    _tell(world, launch)


def unused(world: World, worker: Worker, enrolled: Enrolled) -> None:
    """A launched worker got nothing to do: let it leave. If the engine that it was started for does not fit
    there, launching another one would not help."""
    launch = world.launches.get(worker.worker_id)
    engine = None if launch is None else world.engines.get(launch.engine_id)
    workers.drain(world, worker)
    if engine is None or engine.row.engine_id not in world.admission_queue:
        return
    if pools.load_for(world, engine, worker, enrolled) is None:
        text = f"the worker that was started for it in pool {enrolled.pool} has no device on which it fits"
        engines.fail(world, engine, NotEnoughMemory.code, text)


def _failed(world: World, launch: Launch, status: str, last_words: str) -> None:
    """It ended before it joined: that counts as a crash of its engine."""
    engine = world.engines.get(launch.engine_id)
    if engine is None or world.phase is not Phase.RUNNING:
        return
    if not scaling.give_up_launch(world, engine):
        why = launch.fault or "the worker ended before it joined"
        worker_exit.count_death(world, engine, None, worker_exit.reason_of(why, status, last_words))


def _tell(world: World, launch: Launch | None) -> None:
    engine = None if launch is None else world.engines.get(launch.engine_id)
    if engine is not None:
        reconcile.reconcile_engine(world, engine)
