"""The memory ledger of each device: bytes reserved for workers before they use them, and bytes left.

Free memory alone cannot decide whether an engine fits: engines that were started just before have not
allocated theirs yet. So the ledger counts promises. A device's pool is its free memory plus what our own
workers hold; it changes only when other programs take or give memory, so a measurement that is ten seconds
old is good enough, and a worker's exit needs no new one. From launch to exit each worker has a reservation
out of the pool, which counts as the larger of the predicted and the observed use, also while the worker is
idle: its next job will need it. Workers of pools are not in the ledger. Units: bytes. Source: adr/0025.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping

from kernel.core.events import DeviceFact
from kernel.core.memory_model import memory_demand
from kernel.core.memory_model.memory_demand import Need, Reservation
from kernel.core.state.world import Engine, Worker, World
from kernel.protocol.enums import MemoryPlan
from kernel.protocol.status import DeviceStatus

AUTO = "auto"


def look(world: World, devices: tuple[DeviceFact, ...]) -> None:
    """Take over a new measurement of the devices, if the shell made one."""
    if devices:
        told = {name: fact for name, fact in world.devices.items() if fact.is_told}
        world.devices = told | {fact.status.device: fact for fact in devices}
        world.looked_at_s = world.now.mono_s


def learn(world: World, engine: Engine, worker: Worker, seen: DeviceStatus) -> None:
    """Take a worker's word for its device where the shell cannot measure it, and promise it what it needs.

    What its workers held then is what they reported when they were ready.
    """
    known = world.devices.get(seen.device)
    if not worker.is_local or not world.devices or (known is not None and not known.is_told):
        return
    world.touch()
    if worker.reservation is None:
        worker.reservation = _reservation_of(world, engine, worker, seen.device)
    held = {one.worker_id: one.memory_bytes for one in _residents(world, seen.device)}
    world.devices = {**world.devices, seen.device: DeviceFact(seen, held, is_told=True)}


def _reservation_of(world: World, engine: Engine, worker: Worker, device: str) -> Reservation:
    """That of a worker which was launched without one: what it needs as it runs now."""
    kind, plan = memory_demand.kind_of(device), MemoryPlan.FAST
    sizes = needs(world, engine, kind, plan)
    batch_size = min(max(worker.capacity, 1), len(sizes))
    demand = memory_demand.demand_of(engine.row, world.models, world.limits.compilation)
    need = Need(plan, batch_size, sizes[batch_size - 1])
    return Reservation(device, need, memory_demand.resident_bytes(demand, kind, plan))


def candidates(world: World, wanted: str) -> tuple[str, ...]:
    """The devices that an engine may run on, given the device that its spec names.

    `auto` means the GPUs, or the CPU on a host without one; `cuda` any CUDA device, `xpu` any of Intel's.
    Empty if there is no such device, or nothing is known of it or of any device.
    """
    if wanted == AUTO:
        gpus = tuple(name for name in world.devices if name != memory_demand.CPU)
        return gpus or tuple(world.devices)
    return tuple(name for name in world.devices if wanted in (name, name.partition(":")[0]))


def plans(world: World, engine: Engine) -> tuple[MemoryPlan, ...]:
    """The memory plans that the engine may run under, in the order in which they are tried; the first plan
    alone if nothing is known of its device."""
    kinds = {memory_demand.kind_of(device) for device in candidates(world, engine.row.spec.device)}
    offered = {plan for kind in kinds for plan in memory_demand.plans_for(kind)}
    return tuple(plan for plan in MemoryPlan if plan in offered) or (MemoryPlan.FAST,)


def free_bytes(world: World, device: str) -> int:
    """Bytes that can still be promised to a worker."""
    return max(spare_bytes(world, device), 0)


def spare_bytes(world: World, device: str) -> int:
    """As `free_bytes`, but negative where other programs have taken memory that was already promised."""
    fact = world.devices[device]
    return _pool_bytes(world, fact) - promised_bytes(world, device) - world.limits.keep_free_bytes


def promised_bytes(world: World, device: str) -> int:
    """Bytes of a device that are promised to workers."""
    fact = world.devices[device]
    return sum(_counted(world, fact, worker) for worker in _residents(world, device))


def free_slots(world: World) -> int:
    """How many more engines `max_running` allows on this host."""
    return world.limits.max_running - sum(e.is_running_here for e in world.engines.values())


def largest_bytes(world: World, device: str) -> int:
    """The most that one worker can get with the device to itself."""
    return max(world.devices[device].status.total_bytes - world.limits.keep_free_bytes, 0)


def reserved_bytes(world: World, engine: Engine, device: str) -> int:
    """Bytes that become free on a device when the engine closes."""
    fact = world.devices[device]
    return sum(_counted(world, fact, w) for w in engine.workers.values() if _is_on(w, device))


def leaving_bytes(world: World, device: str) -> int:
    """Bytes on a device that workers which have been asked to leave will free."""
    fact = world.devices[device]
    leaving = (w for w in _residents(world, device) if w.is_asked_to_leave)
    return sum(_counted(world, fact, worker) for worker in leaving)


def needs(world: World, engine: Engine, kind: str, plan: MemoryPlan) -> tuple[int, ...]:
    """The engine's need by number of images stepped together, in bytes; computed once."""
    found = engine.needs.get((kind, plan))
    if found is None:
        demand = memory_demand.demand_of(engine.row, world.models, world.limits.compilation)
        found = engine.needs[kind, plan] = memory_demand.needs_of(demand, kind, plan)
    return found


def find_place(
    world: World, engine: Engine, plan: MemoryPlan, claims: Mapping[str, int]
) -> Reservation | None:
    """A reservation for one more worker of the engine, on the device with the fewest workers of this engine;
    of those with equally many, on the one with the most memory left after the claims.

    For as many images at once as fit; None, if not even one fits on any device under this plan. Source:
    adr/0076.
    """
    places = candidates(world, engine.row.spec.device)
    free = {device: free_bytes(world, device) - claims.get(device, 0) for device in places}
    own = Counter(w.reservation.device for w in engine.live_workers if w.reservation is not None)
    for device in sorted(places, key=lambda name: (own[name], -free[name])):
        found = reservation_within(world, engine, device, plan, free[device])
        if found is not None:
            return found
    return None


def reservation_within(
    world: World, engine: Engine, device: str, plan: MemoryPlan, budget_bytes: int
) -> Reservation | None:
    """A reservation on a device, for as many images at once as fit into a budget; None, if not even one
    does."""
    kind = memory_demand.kind_of(device)
    sizes = needs(world, engine, kind, plan)
    batch_size = bisect_right(sizes, budget_bytes)
    if batch_size == 0:
        return None
    demand = memory_demand.demand_of(engine.row, world.models, world.limits.compilation)
    weights = memory_demand.resident_bytes(demand, kind, plan)
    return Reservation(device, Need(plan, batch_size, sizes[batch_size - 1]), weights)


def _pool_bytes(world: World, fact: DeviceFact) -> int:
    """Free bytes plus the bytes held, when the device was measured, by workers on it or exited since."""
    held = sum(
        size
        for worker_id, size in fact.held.items()
        if (worker := world.workers.get(worker_id)) is None or _is_on(worker, fact.status.device)
    )
    untold = sum(
        _held_bytes(world, fact, worker)
        for worker in _residents(world, fact.status.device)
        if worker.worker_id not in fact.held
    )
    return min(fact.status.free_bytes + held + untold, fact.status.total_bytes)


def _residents(world: World, device: str) -> list[Worker]:
    return [worker for worker in world.workers.values() if _is_on(worker, device)]


def _is_on(worker: Worker, device: str) -> bool:
    return worker.reservation is not None and worker.reservation.device == device


def _counted(world: World, fact: DeviceFact, worker: Worker) -> int:
    predicted = 0 if worker.reservation is None else worker.reservation.need.bytes
    return max(predicted, _held_bytes(world, fact, worker))


def _held_bytes(world: World, fact: DeviceFact, worker: Worker) -> int:
    """Bytes that the worker held when the device was measured: as observed, or else as it reported before."""
    if worker.worker_id in fact.held:
        return fact.held[worker.worker_id]
    is_older = worker.ready_at_s is not None and worker.ready_at_s <= world.looked_at_s
    return worker.memory_bytes if is_older else 0
