"""The API process: started with the Manager, restarted when it dies, stopped before it.

The Manager's work goes on without the API, so no number of its deaths ends the Manager. Only one that never
served and whose configuration cannot be used is the Manager's end: nobody waits for that to get better.
"""

from typing import Final

from kernel.core import actions, due
from kernel.core.events import ApiExited
from kernel.core.state.world import ApiProcess, World
from kernel.protocol.client import ApiLife

TERM_S: Final = 8.0
FIRST_PAUSE_S: Final = 0.4
LONGEST_PAUSE_S: Final = 60.0
STEADY_S: Final = 60.0
"""An API that ran for so long did not die of its start."""
MISCONFIGURED: Final = 78
"""How a process ends whose configuration cannot be used. Source: sysexits(3), EX_CONFIG."""
_MOST_DOUBLINGS: Final = 16


def launch(world: World) -> None:
    """Have the API started."""
    api_process = world.api_process
    api_process.is_running, api_process.since_s = True, world.now.mono_s
    world.timers.clear(due.ApiProcess())
    world.act(actions.LaunchApi(api_process.restarts))


def terminate(world: World) -> None:
    """Ask the API to end; it is killed when it does not."""
    world.act(actions.TerminateApi())
    world.timers.set(due.ApiProcess(), world.now.mono_s + TERM_S)


def kill(world: World) -> None:
    """The API did not end by itself."""
    if world.api_process.is_running:
        world.act(actions.KillApi())


def gone(world: World) -> None:
    """The API is gone, and is not needed any more."""
    world.api_process.is_running = False
    world.timers.clear(due.ApiProcess())


def is_hopeless(world: World, event: ApiExited) -> bool:
    """Has an API ended that has never served, for it cannot use its configuration or its port?"""
    return event.exit_code == MISCONFIGURED and not world.api_process.restarts and not _was_steady(world)


def died(world: World, event: ApiExited) -> None:
    """The API is gone though it should not be: start it again, after a pause that doubles as long as it does
    not stay."""
    api_process = world.api_process
    api_process.deaths = 1 if _was_steady(world) else api_process.deaths + 1
    api_process.restarts += 1
    api_process.failure = event.status
    gone(world)
    world.timers.set(due.ApiProcess(), world.now.mono_s + _pause_s(api_process))


def life(world: World) -> ApiLife | None:
    """How the API is, for whoever asks; None, if the Manager runs none."""
    api_process = world.api_process
    if not world.limits.with_api:
        return None
    next_s = world.timers.when_s(due.ApiProcess()) if not api_process.is_running else None
    return ApiLife(
        is_running=api_process.is_running,
        restarts=api_process.restarts,
        last_failure=api_process.failure,
        next_start_s=None if next_s is None else round(max(next_s - world.now.mono_s, 0.0), 3),
    )


def _was_steady(world: World) -> bool:
    return world.now.mono_s - world.api_process.since_s > STEADY_S


def _pause_s(api_process: ApiProcess) -> float:
    doublings = min(api_process.deaths - 1, _MOST_DOUBLINGS)
    return min(FIRST_PAUSE_S * (1 << doublings), LONGEST_PAUSE_S)
