"""Engine admission: which waiting engine starts, which idle one is evicted for it, when a time slice ends.

Engines are served first come, first served. A small engine may not overtake a large one whose memory is being
freed (`Claims`): behind a stream of small engines a large one would wait for ever. An engine that nothing can
help now, because a person keeps the memory's users running, holds no claim, so it does not block those behind
it.

Where memory is short, idle on-demand engines are closed: the longest idle first, and as few as possible. A
pinned engine is never closed. An engine that has waited for a whole time slice may also end the slice of a
working on-demand engine that has had its own, so an engine whose queue never empties cannot starve the
others, and engines never swap more often than that. A slice starts when the engine is ready, so loading does
not use it up; it ends by draining, so no job is lost. Source: adr/0025.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from msgspec.structs import replace as changed

from kernel.core import due
from kernel.core.admission import memory_ledger, pools
from kernel.core.admission.memory_report import absent_device, explain
from kernel.core.lifecycle import engines, launches, workers
from kernel.core.memory_model import memory_demand
from kernel.core.state import transitions
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Engine, World
from kernel.protocol.enums import EngineState, MemoryPlan, Phase, WorkerRole
from kernel.protocol.errors import DeviceUnavailable, NotEnoughMemory


@dataclass(slots=True)
class Claims:
    """Slots and memory (bytes by device) that engines ahead in the admission queue are about to get."""

    slots: int = 0
    bytes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Deficit:
    """The slots and bytes that an engine lacks to start on a device; device None: nothing is known of any
    device."""

    device: str | None
    need_bytes: int
    missing_bytes: int
    missing_slots: int

    @property
    def is_over(self) -> bool:
        return self.missing_bytes <= 0 and self.missing_slots <= 0

    def without(self, world: World, others: Sequence[Engine]) -> "Deficit":
        """The remaining deficit if these engines closed."""
        gained = 0
        if self.device is not None:
            gained = sum(memory_ledger.reserved_bytes(world, engine, self.device) for engine in others)
        return replace(
            self,
            missing_bytes=self.missing_bytes - gained,
            missing_slots=self.missing_slots - len(others),
        )


def join(world: World, engine: Engine) -> None:
    """Add a closed engine to the admission queue, unless it waits already."""
    engine_id = engine.row.engine_id
    if engine_id not in world.admission_queue:
        world.admission_queue[engine_id] = world.now.mono_s
        world.timers.set(due.Turn(engine_id), world.now.mono_s + world.limits.turn_s)


def admit(world: World) -> None:
    """Start the waiting engines that fit, in order of arrival; evict others for them where that helps."""
    if world.phase is not Phase.RUNNING:
        return
    claims = Claims()
    for engine_id in list(world.admission_queue):
        engine = world.engines[engine_id]
        _serve_one(world, engine, claims)
        if engine_id in world.admission_queue:
            _note_waiting(world, engine)


def _note_waiting(world: World, engine: Engine) -> None:
    """Show since when an engine waits, and one of a pool for what."""
    why = None if engine.pool is None else launches.reason(world, engine, engine.pool)
    since_ms = engine.row.waits_since_ms
    if since_ms is None or why != engine.row.waits_reason:
        since_ms = world.now.unix_ms if since_ms is None else since_ms
        transitions.note_engine(world, engine, changed(engine.row, waits_since_ms=since_ms, waits_reason=why))


def look_again(world: World, engine: Engine) -> None:
    """The engine has waited for a time slice: look again when another engine's slice ends, if nothing helps
    now."""
    if engine.row.engine_id in world.admission_queue:
        now_s, turn_s = world.now.mono_s, world.limits.turn_s
        ends_s = [began + turn_s for e in _working(world) if (began := _turn_began_s(e)) is not None]
        later_s = min((end for end in ends_s if end > now_s), default=now_s + turn_s)
        world.timers.set(due.Turn(engine.row.engine_id), later_s)


def fill(world: World, engine: Engine) -> None:
    """Launch the replicas that a running engine lacks, with memory that no other engine waits for."""
    if absent_device(world, engine.row.spec.device) is not None:
        return
    is_measured = bool(memory_ledger.candidates(world, engine.row.spec.device))
    missing = engines.wanted_workers(engine) - sum(1 for _ in engine.live_workers)
    for _ in range(missing):
        if not is_measured:
            workers.launch(world, WorkerRole.ENGINE, engine)
        elif any(world.engines[other].pool is None for other in world.admission_queue) or not any(
            _launch(world, engine, plan, Claims()) for plan in memory_ledger.plans(world, engine)
        ):
            return


def grow(world: World, engine: Engine) -> bool:
    """Launch one more worker of a running engine, under its best plan, if memory is known to be free and no
    engine waits for any."""
    if engine.pool is not None:
        return pools.grow(world, engine, engine.pool)
    waits = any(world.engines[other].pool is None for other in world.admission_queue)
    if waits or not memory_ledger.candidates(world, engine.row.spec.device):
        return False
    return _launch(world, engine, memory_ledger.plans(world, engine)[0], Claims())


def can_be_admitted(world: World, engine: Engine, former: tuple[Engine, ...] = ()) -> bool:
    """Can one more engine start now, if need be by closing engines that nobody uses, or its former self?"""
    return closed_for(world, engine, former) is not None


def closed_for(world: World, engine: Engine, former: tuple[Engine, ...] = ()) -> tuple[Engine, ...] | None:
    """The engines that would close for this one to start now, its former self or ones that nobody uses; None,
    if it could not start all the same."""
    claims, idle = Claims(), [*former, *_idle(world)]
    for plan in memory_ledger.plans(world, engine):
        if _has_slot(world, claims) and _fits(world, engine, plan, claims):
            return ()
        if (found := _eviction_plan(world, engine, plan, claims, idle)) is not None:
            return found[1]
    return None


def is_too_large(world: World, engine: Engine) -> bool:
    """True if the engine would not fit even with one of its devices to itself."""
    places = memory_ledger.candidates(world, engine.row.spec.device)
    return bool(places) and all(
        memory_ledger.needs(world, engine, memory_demand.kind_of(device), plan)[0]
        > memory_ledger.largest_bytes(world, device)
        for device in places
        for plan in memory_demand.plans_for(memory_demand.kind_of(device))
    )


def _serve_one(world: World, engine: Engine, claims: Claims) -> None:
    if engine.pool is not None:
        if pools.serve(world, engine, engine.pool):
            engines.leave_admission_queue(world, engine)
            engines.refresh(world, engine)
        return
    if (fault := absent_device(world, engine.row.spec.device)) is not None:
        engines.fail(world, engine, DeviceUnavailable.code, fault)
        return
    if is_too_large(world, engine):
        engines.fail(world, engine, NotEnoughMemory.code, explain(world, engine).detail)
        return
    for plan in memory_ledger.plans(world, engine):
        if _has_slot(world, claims) and _launch(world, engine, plan, claims):
            engines.leave_admission_queue(world, engine)
            fill(world, engine)
            engines.refresh(world, engine)
            return
        _take_replicas_back(world, engine)
        if _evict_for(world, engine, plan, claims, _idle(world)):
            return
    if world.now.mono_s - world.admission_queue[engine.row.engine_id] >= world.limits.turn_s:
        closable = [*_idle(world), *_with_turn_over(world)]
        any(_evict_for(world, engine, plan, claims, closable) for plan in memory_ledger.plans(world, engine))


def _take_replicas_back(world: World, engine: Engine) -> None:
    """Let workers that other engines were given for their long queues leave the devices of a waiting one."""
    places = memory_ledger.candidates(world, engine.row.spec.device)
    for other in world.engines.values():
        has_some = any(memory_ledger.reserved_bytes(world, other, device) > 0 for device in places)
        while other.extra_replicas and has_some:
            engines.give_back_replica(world, other)


def _launch(world: World, engine: Engine, plan: MemoryPlan, claims: Claims) -> bool:
    """Launch a worker if there is memory for it, or if nothing is known of the device. False, if there is
    not."""
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
    """Bytes of free memory by device that belong to engines ahead, as far as memory that is becoming free
    does not cover their claims."""
    return {
        device: max(claimed - memory_ledger.leaving_bytes(world, device), 0)
        for device, claimed in claims.bytes.items()
    }


def _has_slot(world: World, claims: Claims) -> bool:
    return memory_ledger.free_slots(world) > max(claims.slots - _stopping(world), 0)


def _stopping(world: World) -> int:
    return sum(e.is_stopping and e.is_running_here for e in world.engines.values())


def _evict_for(
    world: World, engine: Engine, plan: MemoryPlan, claims: Claims, closable: Sequence[Engine]
) -> bool:
    """Close other engines for this one and claim what they free; False, if that would not be enough."""
    evictions = _eviction_plan(world, engine, plan, claims, closable)
    if evictions is None:
        return False
    deficit, others = evictions
    for other in others:
        engines.stop(world, other)
        engines.refresh(world, other)
    claims.slots += 1
    if deficit.device is not None:
        claims.bytes[deficit.device] += deficit.need_bytes
    return True


def _eviction_plan(
    world: World, engine: Engine, plan: MemoryPlan, claims: Claims, closable: Sequence[Engine]
) -> tuple[Deficit, tuple[Engine, ...]] | None:
    """The device on which the fewest engines must close for this one, with those engines (none, if the
    deficit goes away by itself); None, if closing does not help on any device."""
    options = [
        (deficit, others)
        for deficit in _deficits(world, engine, plan, claims)
        if (others := _fewest_to_close(world, deficit, closable)) is not None
    ]
    return min(options, key=lambda option: len(option[1]), default=None)


def _deficits(world: World, engine: Engine, plan: MemoryPlan, claims: Claims) -> Iterator[Deficit]:
    slots = 1 + claims.slots - memory_ledger.free_slots(world) - _stopping(world)
    places = memory_ledger.candidates(world, engine.row.spec.device)
    if not places:
        yield Deficit(None, 0, 0, slots)
    for device in places:
        need = memory_ledger.needs(world, engine, memory_demand.kind_of(device), plan)[0]
        coming = memory_ledger.spare_bytes(world, device) + memory_ledger.leaving_bytes(world, device)
        yield Deficit(device, need, need + claims.bytes[device] - coming, slots)


def _fewest_to_close(world: World, deficit: Deficit, closable: Sequence[Engine]) -> tuple[Engine, ...] | None:
    """The fewest of `closable`, earlier ones first, that cover the deficit; None, if all of them do not."""
    chosen: list[Engine] = []
    for engine in closable:
        is_holding = (
            deficit.device is not None and memory_ledger.reserved_bytes(world, engine, deficit.device) > 0
        )
        if is_holding and deficit.without(world, chosen).missing_bytes > 0:
            chosen.append(engine)
    for engine in closable:
        if engine not in chosen and deficit.without(world, chosen).missing_slots > 0:
            chosen.append(engine)
    if not deficit.without(world, chosen).is_over:
        return None
    for engine in list(chosen):
        others = [other for other in chosen if other is not engine]
        if deficit.without(world, others).is_over:
            chosen = others
    return tuple(chosen)


def _idle(world: World) -> list[Engine]:
    """Ready on-demand engines without work, longest idle first."""
    found = [
        e
        for e in world.engines.values()
        if _is_on_demand(e) and e.row.status is EngineState.READY and not world.has_work(e) and not e.is_busy
    ]
    return sorted(found, key=lambda engine: engine.idle_since_s or 0.0)


def _with_turn_over(world: World) -> list[Engine]:
    """Working on-demand engines that have had a whole time slice, longest served first."""
    since = [(began, e) for e in _working(world) if (began := _turn_began_s(e)) is not None]
    over = [(began, e) for began, e in since if world.now.mono_s - began >= world.limits.turn_s]
    return [engine for _, engine in sorted(over, key=lambda pair: pair[0])]


def _working(world: World) -> list[Engine]:
    return [e for e in world.engines.values() if _is_on_demand(e) and (world.has_work(e) or e.is_busy)]


def _is_on_demand(engine: Engine) -> bool:
    return not engine.is_pinned and not engine.is_stopping and engine.pool is None


def _turn_began_s(engine: Engine) -> float | None:
    """When the engine's first worker became ready; None while none is, so there is no slice to end."""
    ready = (w for w in engine.workers.values() if w.state is WorkerState.READY)
    return min((w.ready_at_s for w in ready if w.ready_at_s is not None), default=None)
