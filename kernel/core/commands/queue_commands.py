"""Commands on queues: pause and resume one engine's queue, or all of them.

A pause is durable, and concerns only jobs that wait: those that a worker holds finish, and new ones are
accepted. A paused engine has no work, so it is not started for its jobs, and closes when it has been idle for
long enough.
"""

from msgspec.structs import replace

from kernel.core import actions
from kernel.core.admission import reconcile
from kernel.core.commands import engine_commands
from kernel.core.state import transitions
from kernel.core.state.world import World
from kernel.protocol import client
from kernel.protocol.enums import ChangeKind
from kernel.protocol.ids import EngineId

ALL = "all"
"""The id of all queues together, in changes."""


def pause(world: World, ask: client.PauseQueue) -> client.SingleReply:
    """Give out no more waiting jobs. A queue that is paused stays so since the same time.

    Raises: EngineNotFound.
    """
    return _set(world, ask.engine_id, is_paused=True)


def resume(world: World, ask: client.ResumeQueue) -> client.SingleReply:
    """End the pause of one engine, or of all; an engine that is paused by itself stays paused.

    Raises: EngineNotFound.
    """
    return _set(world, ask.engine_id, is_paused=False)


def _set(world: World, engine_id: EngineId | None, *, is_paused: bool) -> client.SingleReply:
    since_ms = world.now.unix_ms if is_paused else None
    if engine_id is not None:
        engine = engine_commands.find(world, engine_id)
        if is_paused is (engine.row.paused_since_ms is None):
            transitions.note_engine(world, engine, replace(engine.row, paused_since_ms=since_ms))
            reconcile.reconcile_engine(world, engine)
    elif is_paused is (world.paused_since_ms is None):
        world.paused_since_ms = since_ms
        world.act(actions.SavePause(since_ms))
        transitions.change(world, ChangeKind.QUEUE, ALL, "paused" if is_paused else "running")
        for engine in list(world.engines.values()):
            reconcile.reconcile_engine(world, engine)
    return client.Done()
