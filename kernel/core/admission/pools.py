"""Pools: which idle worker an engine of a pool gets, and which idle engine closes for a waiting one.

An engine of a pool waits in the admission queue like any other, for a worker in place of memory. A worker
that has enrolled holds nothing; whether an engine fits is computed from the memory of its devices, by the
same model as on this host. Where no worker is free, an idle on-demand engine of the same pool closes: its
process ends, since only that surely frees a GPU, and its host starts a fresh one that enrolls again. That
takes seconds, for which the waiting engine closes no other one. After a start nothing is handed out until
the workers that were there before have had a moment to come back with what they hold.
Source: adr/0085, adr/0086.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from kernel.core import due
from kernel.core.admission import memory_ledger
from kernel.core.lifecycle import engines, launches, workers
from kernel.core.memory_model import memory_demand
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Engine, Enrolled, Worker, World
from kernel.protocol.enums import EngineState, MemoryPlan
from kernel.protocol.memory import EngineValid
from kernel.protocol.specs import EngineLoad
from kernel.protocol.worker import WorkerDevice

FRESH_S: Final = 60.0
"""A worker whose engine was closed is replaced by a fresh process within this time."""


def supply(world: World, engine: Engine, pool: str) -> bool:
    """Give an engine the workers that it lacks, as far as idle ones fit. False, if it has none at all."""
    missing = engines.wanted_workers(engine) - sum(1 for _ in engine.live_workers)
    for _ in range(missing):
        if not _take_one(world, engine, pool):
            break
    if due.ComeBack() not in world.timers:
        still_missing = engines.wanted_workers(engine) - sum(1 for _ in engine.live_workers)
        launches.request(world, engine, pool, max(still_missing, 0))
    return any(engine.live_workers)


def grow(world: World, engine: Engine, pool: str) -> bool:
    """Give an engine one more worker, if one is idle and nobody waits for it, or have one launched."""
    if any(world.engines[other].pool == pool for other in world.admission_queue):
        return False
    return _take_one(world, engine, pool) or launches.request(world, engine, pool, 1)


def serve(world: World, engine: Engine, pool: str) -> bool:
    """Supply an engine that waits, if need be by closing an idle one. True, once it has a worker."""
    if supply(world, engine, pool):
        engine.made_room_at_s = None
        return True
    is_coming = bool(launches.coming_for(world, engine.row.engine_id))
    if due.ComeBack() not in world.timers and not is_coming and _may_make_room(world, engine):
        _make_room(world, engine, pool)
    return False


def outlook(world: World, engine: Engine, pool: str) -> EngineValid:
    """Whether an engine that does not exist yet could start now."""
    idle = _idle_workers(world, pool)
    if any(load_for(world, engine, worker, worker.enrolled) for worker in idle if worker.enrolled):
        return EngineValid(fits=True)
    closable = next(_closable(world, engine, pool), None)
    if closable is not None:
        return EngineValid(fits=True, closes=(closable.row.engine_id,))
    return EngineValid(fits=False, detail=f"no worker of pool {pool} is free for it: it would wait for one")


def load_for(world: World, engine: Engine, worker: Worker, enrolled: Enrolled) -> EngineLoad | None:
    """How a worker would load the engine: the first plan that fits on a device, with as many images together
    as fit. None, if it does not fit."""
    load = workers.engine_load(world, engine, None)
    if not enrolled.said.devices:
        return load
    places = _places(enrolled.said.devices, engine.row.spec.device)
    for plan in MemoryPlan:
        for place in sorted(places, key=lambda one: -one.free_bytes):
            kind = memory_demand.kind_of(place.device)
            if plan not in memory_demand.plans_for(kind):
                continue
            batch_size = bisect_right(memory_ledger.needs(world, engine, kind, plan), place.free_bytes)
            if batch_size:
                return replace(load, device=place.device, max_batch=batch_size, plan=plan)
    return None


def is_same(world: World, engine: Engine, load: EngineLoad) -> bool:
    """True if what a worker has loaded is what the engine wants: the same checkpoint in the same precision,
    on a device that it may run on. The rest is brought with the jobs, or adjusted."""
    wanted = workers.engine_load(world, engine, None)
    is_loaded = (load.checkpoint, load.dtype, load.compilation)
    is_wanted = (wanted.checkpoint, wanted.dtype, wanted.compilation)
    may_be_there = load.device == wanted.device or _places((_named(load.device),), wanted.device)
    return is_loaded == is_wanted and bool(may_be_there)


def _named(device: str) -> WorkerDevice:
    return WorkerDevice(device=device, name=device, total_bytes=0, free_bytes=0)


def _places(devices: tuple[WorkerDevice, ...], wanted: str) -> tuple[WorkerDevice, ...]:
    """The devices that an engine may run on: as `memory_ledger.candidates`, of a worker's host."""
    if wanted == memory_ledger.AUTO:
        gpus = tuple(one for one in devices if one.device != memory_demand.CPU)
        return gpus or devices
    return tuple(one for one in devices if wanted in (one.device, one.device.partition(":")[0]))


def _take_one(world: World, engine: Engine, pool: str) -> bool:
    if due.ComeBack() in world.timers:
        return False
    for worker in _idle_workers(world, pool):
        if worker.enrolled is not None:
            load = load_for(world, engine, worker, worker.enrolled)
            if load is not None:
                workers.assign(world, engine, worker, worker.enrolled, load)
                return True
    return False


def _idle_workers(world: World, pool: str) -> list[Worker]:
    """Those that may get an engine, the one with the most free memory on a device first."""
    for worker_id, worker in list(world.idle_workers.items()):
        if worker.state is not WorkerState.IDLE:
            del world.idle_workers[worker_id]
    found = [
        worker
        for worker in world.idle_workers.values()
        if worker.enrolled is not None and worker.enrolled.pool == pool and not worker.is_cordoned
    ]
    return sorted(found, key=_free_bytes, reverse=True)


def _free_bytes(worker: Worker) -> int:
    devices = () if worker.enrolled is None else worker.enrolled.said.devices
    gpus = [one.free_bytes for one in devices if one.device != memory_demand.CPU]
    return max(gpus or [one.free_bytes for one in devices], default=0)


def _may_make_room(world: World, engine: Engine) -> bool:
    """True unless an engine was closed for this one a moment ago: its worker is on its way back."""
    since_s = engine.made_room_at_s
    return since_s is None or world.now.mono_s - since_s >= FRESH_S


def _make_room(world: World, engine: Engine, pool: str) -> None:
    other = next(_closable(world, engine, pool), None)
    if other is not None:
        engine.made_room_at_s = world.now.mono_s
        engines.stop(world, other)
        engines.refresh(world, other)


def _closable(world: World, engine: Engine, pool: str) -> Iterator[Engine]:
    """The idle on-demand engines of the pool that have a worker on which this one would fit, longest idle
    first."""
    idle = [
        other
        for other in world.engines.values()
        if other.pool == pool
        and other.row.status is EngineState.READY
        and not other.is_pinned
        and not other.is_stopping
        and not world.has_work(other)
        and not other.is_busy
    ]
    for other in sorted(idle, key=lambda one: one.idle_since_s or 0.0):
        holders = [worker for worker in other.live_workers if worker.enrolled is not None]
        if any(load_for(world, engine, one, one.enrolled) for one in holders if one.enrolled is not None):
            yield other
