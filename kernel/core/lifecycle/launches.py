"""Workers of pools that a launcher starts when an engine needs one.

A launch is asked for under the id that its worker will have, and lasts until the launcher says that the
process has ended, whatever becomes of the worker on the bus: so a place of `max_workers` is free only when
nothing runs there any more. Until the worker joins it may wait for capacity, for which no time is set.
Scaling to zero needs no rule: a launched worker that has nothing to do leaves, and is not started again until
an engine needs one. Source: adr/0081.
"""

from typing import Final

from kernel.core import actions, due
from kernel.core.state.world import Engine, Launch, LaunchState, World
from kernel.protocol.errors import NotPermitted
from kernel.protocol.ids import EngineId, WorkerId

LEAVE_S: Final = 10.0
"""A process whose worker has left the bus ends within this time, or is ended."""
TERM_S: Final = 10.0
"""From SIGTERM, or a pool's `stop`, to SIGKILL, or its `kill`; and from one `kill` to the next."""


def request(world: World, engine: Engine, pool: str, missing: int) -> bool:
    """Ask the pool's launcher for as many workers as the engine lacks and the pool may have.

    What the engine does not need any more is taken back. Returns: True, if a launch was asked for.
    """
    terms = world.limits.pools.get(pool)
    if terms is None:
        return False
    room = terms.max_workers - sum(launch.pool == pool for launch in world.launches.values())
    coming = coming_for(world, engine.row.engine_id)
    for launch in coming[missing:]:
        _terminate(world, launch)
    failed = len(_failed_for(world, engine.row.engine_id))
    wanted = min(missing - len(coming) - failed, room)
    for _ in range(wanted):
        name = world.new_worker_id()
        world.launches[name] = Launch(name, pool, engine.row.engine_id)
        world.timers.set(due.Launch(name), world.now.mono_s + terms.launch_timeout_s)
        world.act(actions.LaunchInPool(name, pool, engine.row.engine_id))
    return wanted > 0


def coming_for(world: World, engine_id: EngineId) -> list[Launch]:
    """The launches for an engine whose workers have not joined yet."""
    return [
        launch
        for launch in world.launches.values()
        if launch.engine_id == engine_id and launch.state is LaunchState.COMING
    ]


def _failed_for(world: World, engine_id: EngineId) -> list[Launch]:
    """Those that did not join in time: the next one is launched when their end is known, which counts."""
    return [one for one in world.launches.values() if one.engine_id == engine_id and one.fault is not None]


def withdraw(world: World, engine: Engine) -> None:
    """The engine needs no more workers: end the launches for it that have not joined."""
    for launch in coming_for(world, engine.row.engine_id):
        _terminate(world, launch)


def reason(world: World, engine: Engine, pool: str) -> str:
    """Why an engine has no worker yet, for a person."""
    coming = coming_for(world, engine.row.engine_id)
    waiting = [launch.reason for launch in coming if launch.reason is not None]
    terms = world.limits.pools.get(pool)
    if waiting:
        return waiting[0]
    if coming:
        return f"a worker of pool {pool} is starting"
    if failed := _failed_for(world, engine.row.engine_id):
        return f"{failed[0].fault}, and is being ended"
    if terms is None or not any(launch.pool == pool for launch in world.launches.values()):
        return f"no worker of pool {pool} is free"
    return f"all {terms.max_workers} workers of pool {pool} are taken (pools.{pool}.max_workers)"


def waited(world: World, name: WorkerId, why: str) -> Launch | None:
    """It waits for capacity, so no deadline runs. Returns: the launch, if it has not joined."""
    launch = world.launches.get(name)
    if launch is None or launch.state is not LaunchState.COMING:
        return None
    world.touch()
    launch.reason = why
    world.timers.clear(due.Launch(name))
    return launch


def ran(world: World, name: WorkerId) -> Launch | None:
    """It has a place, and must join in time. Returns: the launch, if it has not joined."""
    launch = world.launches.get(name)
    if launch is None or launch.state is not LaunchState.COMING:
        return None
    world.touch()
    launch.reason = None
    world.timers.set(due.Launch(name), world.now.mono_s + world.limits.pools[launch.pool].launch_timeout_s)
    return launch


def expected(world: World, name: str | None, pool: str) -> WorkerId | None:
    """The launch that a worker names as it joins a pool; None, if no launcher has started it.

    Raises: NotPermitted, if nobody waits for it (any more). In a pool without a launcher names mean nothing.
    """
    if name is None or pool not in world.limits.pools:
        return None
    launch = world.launches.get(WorkerId(name))
    if launch is None or launch.pool != pool or launch.state is not LaunchState.COMING:
        raise NotPermitted(f"the server does not wait for a launch with the name {name}")
    return launch.name


def joined(world: World, name: WorkerId) -> None:
    """The worker has enrolled, under the name of its launch."""
    if (launch := world.launches.get(name)) is not None:
        launch.state, launch.reason = LaunchState.JOINED, None
        world.timers.clear(due.Launch(name))


def assigned(world: World, name: WorkerId, engine_id: EngineId) -> None:
    """Its worker gets an engine. If it was started for another one, that one gets a launch for this engine in
    exchange."""
    launch = world.launches.get(name)
    if launch is None or launch.engine_id == engine_id:
        return
    for other in coming_for(world, engine_id)[:1]:
        other.engine_id = launch.engine_id
    launch.engine_id = engine_id


def left(world: World, name: WorkerId) -> None:
    """The worker is forgotten: its process must end."""
    launch = world.launches.get(name)
    if launch is not None and launch.state is LaunchState.JOINED:
        launch.state = LaunchState.LEAVING
        world.timers.set(due.Launch(name), world.now.mono_s + LEAVE_S)


def overdue(world: World, name: WorkerId) -> None:
    """It has not joined in time, or not ended in time: take the next step."""
    launch = world.launches[name]
    if launch.state is LaunchState.COMING:
        launch.fault = "the worker did not join in time"
        _terminate(world, launch)
    elif launch.state is LaunchState.LEAVING:
        _terminate(world, launch)
    else:
        world.act(actions.KillWorker(name))
        world.timers.set(due.Launch(name), world.now.mono_s + TERM_S)


def ended(world: World, name: WorkerId) -> Launch | None:
    """Its process has ended. Returns: the launch that is over; None, if it was none."""
    launch = world.launches.pop(name, None)
    if launch is not None:
        world.timers.clear(due.Launch(name))
    return launch


def _terminate(world: World, launch: Launch) -> None:
    world.touch()
    launch.state, launch.reason = LaunchState.ENDING, None
    world.act(actions.TerminateWorker(launch.name))
    world.timers.set(due.Launch(launch.name), world.now.mono_s + TERM_S)
