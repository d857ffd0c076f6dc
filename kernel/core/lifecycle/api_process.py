"""The API process: started with the Manager, restarted when it dies, stopped before it.

The Manager's work does not need the API, so it is restarted for ever and no number of crashes ends the
Manager (adr/0038). Pauses between restarts double, so that an API which dies at its start does not keep a
core busy; after a long run they start anew. The exception is an API that has never served and exits because
its configuration or its port cannot be used: waiting does not fix that, so the Manager exits too, and the
person who started it sees the reason.
"""

from typing import Final

from kernel.core import actions, due
from kernel.core.events import ApiExited
from kernel.core.state.world import ApiProcess, World
from kernel.protocol.status import ApiLife

TERM_S: Final = 8.0
FIRST_PAUSE_S: Final = 0.4
LONGEST_PAUSE_S: Final = 60.0
STEADY_S: Final = 60.0
"""An API that ran for this long did not die because of its start."""
MISCONFIGURED: Final = 78
"""The exit code for unusable configuration. Source: sysexits(3), EX_CONFIG."""
_MOST_DOUBLINGS: Final = 16


def launch(world: World) -> None:
    """Start the API."""
    api_process = world.api_process
    api_process.is_running, api_process.since_s = True, world.now.mono_s
    world.timers.clear(due.ApiProcess())
    world.act(actions.LaunchApi(api_process.restarts))


def terminate(world: World) -> None:
    """Ask the API to exit; it is killed if it does not."""
    world.act(actions.TerminateApi())
    world.timers.set(due.ApiProcess(), world.now.mono_s + TERM_S)


def kill(world: World) -> None:
    """Kill an API that did not exit by itself."""
    if world.api_process.is_running:
        world.act(actions.KillApi())


def gone(world: World) -> None:
    """The API has exited and is not needed any more."""
    world.api_process.is_running = False
    world.timers.clear(due.ApiProcess())


def is_hopeless(world: World, event: ApiExited) -> bool:
    """True if the API exited without ever having served, because it cannot use its configuration or port."""
    return event.exit_code == MISCONFIGURED and not world.api_process.restarts and not _was_steady(world)


def died(world: World, event: ApiExited) -> None:
    """The API has crashed: restart it after a pause that doubles with each crash in a row."""
    api_process = world.api_process
    api_process.deaths = 1 if _was_steady(world) else api_process.deaths + 1
    api_process.restarts += 1
    api_process.failure = event.status
    gone(world)
    world.timers.set(due.ApiProcess(), world.now.mono_s + _pause_s(api_process))


def life(world: World) -> ApiLife | None:
    """The API's status for clients; None, if the Manager runs no API."""
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
