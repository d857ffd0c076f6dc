"""What must be true of memory, of the line of engines that wait for it, and of those that make room."""

from dataclasses import dataclass

from kernel.core import due
from kernel.core.admission import memory_ledger, reconcile
from kernel.core.events import Asked, Event, StopAsked
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Worker, World
from kernel.protocol import client
from kernel.protocol.enums import Phase
from kernel.protocol.ids import EngineId


def check_room(world: World) -> None:
    """No device is promised twice, and nobody waits in vain."""
    for device, fact in world.devices.items():
        reserved = [w.reservation for w in world.workers.values() if w.reservation is not None]
        promised = sum(one.need.bytes for one in reserved if one.device == device)
        assert promised <= fact.status.total_bytes, "more is promised than the device has"
    waiting = {e.row.engine_id for e in world.engines.values() if e.row.waits_since_ms is not None}
    if world.phase is Phase.RUNNING:
        assert waiting == set(world.admission_queue)
        _check_line(world)


def _check_line(world: World) -> None:
    for number, engine_id in enumerate(world.admission_queue):
        engine = world.engines[engine_id]
        assert not any(engine.live_workers)
        assert engine.pool is not None or not engine.is_running
        assert reconcile.is_wanted(world, engine)
        assert due.Turn(engine_id) in world.timers, "it will have its turn"
        if engine.pool is not None:
            assert due.ComeBack() in world.timers or not _idle_workers(world, engine.pool)
        elif number == 0 and memory_ledger.free_slots(world) > 0:
            assert not any(
                memory_ledger.find_place(world, engine, plan, {})
                for plan in memory_ledger.plans(world, engine)
            )


def _idle_workers(world: World, pool: str) -> list[Worker]:
    """Workers that could serve any engine of the pool."""
    members = [w for w in world.workers.values() if w.enrolled is not None and w.enrolled.pool == pool]
    return [w for w in members if w.state is WorkerState.IDLE and not w.is_cordoned]


@dataclass(frozen=True)
class Before:
    """What ran before an event, to judge by what closed at it."""

    stopping: frozenset[EngineId]
    pinned: frozenset[EngineId]


def before(world: World) -> Before:
    engines = world.engines.values()
    return Before(
        stopping=frozenset(e.row.engine_id for e in engines if e.is_stopping),
        pinned=frozenset(e.row.engine_id for e in engines if e.is_pinned),
    )


def check_closing(world: World, event: Event, then: Before) -> None:
    """No pinned engine closed for another one, and none at work, unless turns were over."""
    if _is_a_persons_word(event):
        return
    now_s, turn_s = world.now.mono_s, world.limits.turn_s
    for engine_id, engine in world.engines.items():
        if not engine.is_stopping or engine_id in then.stopping or world.phase is not Phase.RUNNING:
            continue
        assert engine_id not in then.pinned
        if world.has_work(engine) or engine.is_busy:
            began_s = [w.ready_at_s for w in engine.workers.values() if w.ready_at_s is not None]
            assert now_s - min(began_s) >= turn_s, "it had its own turn"
            assert any(now_s - since_s >= turn_s for since_s in world.admission_queue.values())


def _is_a_persons_word(event: Event) -> bool:
    return isinstance(event, StopAsked) or (
        isinstance(event, Asked)
        and isinstance(event.ask, client.StopEngine | client.EditEngine | client.Shutdown)
    )
