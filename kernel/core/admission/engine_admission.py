"""Engine admission: which waiting engine starts, which idle one is evicted for it, when a time slice ends.

Those who came first are served first. Where there is no room, idle on-demand engines are closed, the
longest idle first and only as many as it takes; one that a person started never is. An engine that has
waited for a whole turn may also end the turn of an on-demand engine that works, if that has had its own.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from msgspec.structs import replace as changed

from kernel.core import due
from kernel.core.admission import memory_ledger
from kernel.core.admission.memory_report import absent_device, explain
from kernel.core.lifecycle import engines, workers
from kernel.core.memory_model import memory_demand
from kernel.core.state import transitions
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Engine, World
from kernel.protocol.enums import EngineState, MemoryPlan, Phase, WorkerRole
from kernel.protocol.errors import DeviceUnavailable, NotEnoughMemory


@dataclass(slots=True)
class Claims:
    """What those further ahead in the line are about to get: places to run, and memory by device."""

    slots: int = 0
    bytes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Deficit:
    """What an engine lacks to start on one device; None stands for a device of which nothing is known."""

    device: str | None
    need_bytes: int
    missing_bytes: int
    missing_slots: int

    @property
    def is_over(self) -> bool:
        return self.missing_bytes <= 0 and self.missing_slots <= 0

    def without(self, world: World, others: Sequence[Engine]) -> "Deficit":
        """What would still be missing if these engines closed."""
        gained = 0
        if self.device is not None:
            gained = sum(memory_ledger.reserved_bytes(world, engine, self.device) for engine in others)
        return replace(
            self,
            missing_bytes=self.missing_bytes - gained,
            missing_slots=self.missing_slots - len(others),
        )


def join(world: World, engine: Engine) -> None:
    """Let a closed engine that is wanted wait for its room, unless it waits already."""
    engine_id = engine.row.engine_id
    if engine_id not in world.engines_without_room:
        world.engines_without_room[engine_id] = world.now.mono_s
        world.timers.set(due.Turn(engine_id), world.now.mono_s + world.limits.turn_s)


def admit(world: World) -> None:
    """Start the engines that have room, those first that came first; make room where it can be made."""
    if world.phase is not Phase.RUNNING:
        return
    claims = Claims()
    for engine_id in list(world.engines_without_room):
        engine = world.engines[engine_id]
        _serve_one(world, engine, claims)
        if engine_id in world.engines_without_room and engine.row.waits_since_ms is None:
            transitions.note_engine(world, engine, changed(engine.row, waits_since_ms=world.now.unix_ms))


def look_again(world: World, engine: Engine) -> None:
    """The engine has waited for a turn: come back when another one's is over, in case nothing helps now."""
    if engine.row.engine_id in world.engines_without_room:
        now_s, turn_s = world.now.mono_s, world.limits.turn_s
        ends_s = [began + turn_s for e in _working(world) if (began := _turn_began_s(e)) is not None]
        later_s = min((end for end in ends_s if end > now_s), default=now_s + turn_s)
        world.timers.set(due.Turn(engine.row.engine_id), later_s)


def fill(world: World, engine: Engine) -> None:
    """Launch the workers that a running engine lacks, into room that nobody waits for."""
    if absent_device(world, engine.row.spec.device) is not None:
        return
    is_measured = bool(memory_ledger.candidates(world, engine.row.spec.device))
    missing = engine.row.spec.replicas - sum(1 for _ in engine.live_workers)
    for _ in range(missing):
        if not is_measured:
            workers.launch(world, WorkerRole.ENGINE, engine)
        elif world.engines_without_room or not any(
            _launch(world, engine, plan, Claims()) for plan in memory_ledger.plans(world, engine)
        ):
            return


def can_have_room(world: World, engine: Engine) -> bool:
    """Is there room for one more engine, or can it be made by closing what runs for nobody?"""
    claims, idle = Claims(), _idle(world)
    for plan in memory_ledger.plans(world, engine):
        if _has_slot(world, claims) and _fits(world, engine, plan, claims):
            return True
        if _way(world, engine, plan, claims, idle) is not None:
            return True
    return False


def is_too_large(world: World, engine: Engine) -> bool:
    """Would the engine not even fit if it had one of its devices for itself?"""
    places = memory_ledger.candidates(world, engine.row.spec.device)
    return bool(places) and all(
        memory_ledger.needs(world, engine, memory_demand.kind_of(device), plan)[0]
        > memory_ledger.largest_bytes(world, device)
        for device in places
        for plan in memory_demand.plans_for(memory_demand.kind_of(device))
    )


def _serve_one(world: World, engine: Engine, claims: Claims) -> None:
    if (fault := absent_device(world, engine.row.spec.device)) is not None:
        if not engine.workers:  # nobody from another host, which may have it, is invited
            engines.fail(world, engine, DeviceUnavailable.code, fault)
        return
    if is_too_large(world, engine):
        engines.fail(world, engine, NotEnoughMemory.code, explain(world, engine).detail)
        return
    for plan in memory_ledger.plans(world, engine):
        if _has_slot(world, claims) and _launch(world, engine, plan, claims):
            engines.leave_line(world, engine)
            fill(world, engine)
            engines.refresh(world, engine)
            return
        if _make_room(world, engine, plan, claims, _idle(world)):
            return
    if world.now.mono_s - world.engines_without_room[engine.row.engine_id] >= world.limits.turn_s:
        closable = [*_idle(world), *_with_turn_over(world)]
        any(_make_room(world, engine, plan, claims, closable) for plan in memory_ledger.plans(world, engine))


def _launch(world: World, engine: Engine, plan: MemoryPlan, claims: Claims) -> bool:
    """Launch a worker if there is memory for it; where nothing is known of the device, there is."""
    reservation = memory_ledger.find_place(world, engine, plan, _held_back(world, claims))
    if reservation is None and memory_ledger.candidates(world, engine.row.spec.device):
        return False
    workers.launch(world, WorkerRole.ENGINE, engine, reservation)
    return True


def _fits(world: World, engine: Engine, plan: MemoryPlan, claims: Claims) -> bool:
    is_measured = bool(memory_ledger.candidates(world, engine.row.spec.device))
    return (
        not is_measured
        or memory_ledger.find_place(world, engine, plan, _held_back(world, claims)) is not None
    )


def _held_back(world: World, claims: Claims) -> dict[str, int]:
    """What of the free memory belongs to those ahead: what is becoming free is not enough for them."""
    return {
        device: max(claimed - memory_ledger.leaving_bytes(world, device), 0)
        for device, claimed in claims.bytes.items()
    }


def _has_slot(world: World, claims: Claims) -> bool:
    return memory_ledger.free_slots(world) > max(claims.slots - _stopping(world), 0)


def _stopping(world: World) -> int:
    return sum(e.is_stopping and e.is_running for e in world.engines.values())


def _make_room(
    world: World, engine: Engine, plan: MemoryPlan, claims: Claims, closable: Sequence[Engine]
) -> bool:
    """Close what stands in the engine's way and claim the room; False, if that would not be enough."""
    found = _way(world, engine, plan, claims, closable)
    if found is None:
        return False
    lack, others = found
    for other in others:
        engines.stop(world, other)
        engines.refresh(world, other)
    claims.slots += 1
    if lack.device is not None:
        claims.bytes[lack.device] += lack.need_bytes
    return True


def _way(
    world: World, engine: Engine, plan: MemoryPlan, claims: Claims, closable: Sequence[Engine]
) -> tuple[Deficit, tuple[Engine, ...]] | None:
    """The device on which the fewest engines must close for this one, and which; none, if all that is
    missing becomes free by itself."""
    ways = [
        (lack, others)
        for lack in _lacks(world, engine, plan, claims)
        if (others := _in_the_way(world, lack, closable)) is not None
    ]
    return min(ways, key=lambda way: len(way[1]), default=None)


def _lacks(world: World, engine: Engine, plan: MemoryPlan, claims: Claims) -> Iterator[Deficit]:
    slots = 1 + claims.slots - memory_ledger.free_slots(world) - _stopping(world)
    places = memory_ledger.candidates(world, engine.row.spec.device)
    if not places:
        yield Deficit(None, 0, 0, slots)
    for device in places:
        need = memory_ledger.needs(world, engine, memory_demand.kind_of(device), plan)[0]
        coming = memory_ledger.spare_bytes(world, device) + memory_ledger.leaving_bytes(world, device)
        yield Deficit(device, need, need + claims.bytes[device] - coming, slots)


def _in_the_way(world: World, lack: Deficit, closable: Sequence[Engine]) -> tuple[Engine, ...] | None:
    """As few of these as it takes, the first ones rather than the last; None, if all are not enough."""
    chosen: list[Engine] = []
    for engine in closable:
        is_holding = lack.device is not None and memory_ledger.reserved_bytes(world, engine, lack.device) > 0
        if is_holding and lack.without(world, chosen).missing_bytes > 0:
            chosen.append(engine)
    for engine in closable:
        if engine not in chosen and lack.without(world, chosen).missing_slots > 0:
            chosen.append(engine)
    if not lack.without(world, chosen).is_over:
        return None
    for engine in list(chosen):
        others = [other for other in chosen if other is not engine]
        if lack.without(world, others).is_over:
            chosen = others
    return tuple(chosen)


def _idle(world: World) -> list[Engine]:
    """Running for nobody: started on demand, ready, with nothing to do. The longest idle come first."""
    found = [
        e
        for e in world.engines.values()
        if _is_on_demand(e) and e.row.status is EngineState.READY and not e.queue and not e.is_busy
    ]
    return sorted(found, key=lambda engine: engine.idle_since_s or 0.0)


def _with_turn_over(world: World) -> list[Engine]:
    """Working on demand, for a whole turn at least. Those that have had the room longest come first."""
    since = [(began, e) for e in _working(world) if (began := _turn_began_s(e)) is not None]
    over = [(began, e) for began, e in since if world.now.mono_s - began >= world.limits.turn_s]
    return [engine for _, engine in sorted(over, key=lambda pair: pair[0])]


def _working(world: World) -> list[Engine]:
    return [e for e in world.engines.values() if _is_on_demand(e) and (e.queue or e.is_busy)]


def _is_on_demand(engine: Engine) -> bool:
    return not engine.is_pinned and not engine.is_stopping


def _turn_began_s(engine: Engine) -> float | None:
    """When its first worker became ready; None while it has none, and so no turn that could end."""
    ready = (w for w in engine.workers.values() if w.state is WorkerState.READY)
    return min((w.ready_at_s for w in ready if w.ready_at_s is not None), default=None)
