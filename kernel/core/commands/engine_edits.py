"""Edits engines: what changes on the workers that run, what loads the checkpoint again, and what is refused.

Almost every value of an engine is a default of its jobs, which get all their values and models when they are
accepted; so a running engine needs no more than a new row. Only the checkpoint, the device and the precision
belong to what is loaded. Models that the engine names are promised memory (adr/0025): a worker that runs gets
a larger promise, with fewer images together if need be; where even one image does not fit any more, the
engine is loaded again under the plan that fits. Source: adr/0052.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec.structs import fields, replace

from kernel.core import due
from kernel.core.admission import memory_ledger, reconcile
from kernel.core.commands import engine_commands
from kernel.core.lifecycle import engines, workers
from kernel.core.memory_model import memory_demand
from kernel.core.memory_model.memory_demand import Reservation
from kernel.core.state import model_refs, transitions
from kernel.core.state.world import Engine, Worker, World
from kernel.protocol import client
from kernel.protocol.enums import EngineState, Phase
from kernel.protocol.errors import IllegalMove, of_field, wrong_field
from kernel.protocol.ids import WorkerId
from kernel.protocol.specs import EngineSpec

_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {field.encode_name: field.name for field in fields(EngineSpec)}
)
_OF_MODELS: Final = ("checkpoint", "vae", "loras", "embeddings", "control_models", "control_net")


def edit(world: World, ask: client.EditEngine) -> client.EngineAccepted:
    """Change some values of an engine. Its jobs stay, with the values that they were accepted with.

    Raises: EngineNotFound; InvalidField; ModelMissing, WrongModelType, ModelNotReady, WrongModelBase;
    NameTaken; IllegalMove, for another checkpoint, if open jobs are for the present one; NotEnoughMemory, if
    the engine runs and would not fit any more.
    """
    engine = engine_commands.find(world, ask.engine_id)
    spec = _merged(engine.row.spec, ask)
    if spec == engine.row.spec:
        return engine_commands.accepted(engine, reloads=False)
    _check(world, engine, spec)
    edited = Engine(replace(engine.row, name=spec.name, spec=spec))
    is_loaded = world.phase is Phase.RUNNING and not engine.is_stopping and any(engine.live_workers)
    promises = _promises(world, engine, edited)
    reloads = is_loaded and (promises is None or _is_loaded_otherwise(world, engine, spec))
    if reloads:
        engine_commands.check_memory(world, edited, (engine,))
    old = engine.row.spec
    transitions.edit_engine(world, engine, edited)
    if reloads:
        engines.reload(world, engine)
    else:
        _adjust(world, engine, old, promises or {})
    if engine.row.status is EngineState.ERROR:
        engine.is_resting, engine.deaths = False, 0
    world.timers.clear(due.KeepAlive(engine.row.engine_id))
    reconcile.reconcile_engine(world, engine)
    return engine_commands.accepted(engine, reloads=reloads)


def _merged(old: EngineSpec, ask: client.EditEngine) -> EngineSpec:
    unknown = [name for name in ask.fields if name not in _NAMES]
    if unknown:
        raise wrong_field("fields", f"an engine has no {unknown[0]}")
    named = [_NAMES[name] for name in ask.fields]
    return replace(old, **{name: getattr(ask.spec, name) for name in named})


def _check(world: World, engine: Engine, spec: EngineSpec) -> None:
    """Check what changes as at the creation of an engine, and that its open jobs can still be made."""
    old = engine.row.spec
    if any(getattr(old, name) != getattr(spec, name) for name in _OF_MODELS):
        model_refs.check_engine(world, spec)
    if spec.name != old.name:
        engine_commands.check_name(world, spec.name)
    if spec.checkpoint != old.checkpoint:
        _check_jobs(world, engine, spec)


def _check_jobs(world: World, engine: Engine, spec: EngineSpec) -> None:
    """Open jobs are made with the new checkpoint, unless they named the present one; and their models are for
    its base.

    Raises: IllegalMove.
    """
    rows = [job.row for job in world.jobs.values() if job.row.engine_id == engine.row.engine_id]
    bound = sum(row.names_checkpoint for row in rows)
    way_out = "wait until they have ended, cancel them, or create another engine"
    if bound:
        problem = f"open jobs that named the present checkpoint: {bound}; {way_out}"
        raise of_field(IllegalMove, "checkpoint", problem)
    bases = [world.models[model_id].model_base for model_id in (engine.row.spec.checkpoint, spec.checkpoint)]
    if rows and None not in bases and bases[0] is not bases[1]:
        problem = (
            f"open jobs that were accepted for {bases[0]}: {len(rows)}, but this is {bases[1]}; {way_out}"
        )
        raise of_field(IllegalMove, "checkpoint", problem)


def _is_loaded_otherwise(world: World, engine: Engine, spec: EngineSpec) -> bool:
    """True if what the workers have loaded, or the place where they have, is not what the engine wants."""
    old = engine.row.spec
    if (spec.checkpoint, spec.pool) != (old.checkpoint, old.pool):
        return True
    if spec.device != old.device and any(not _may_be_on(world, w, spec) for w in engine.live_workers):
        return True
    kinds = {memory_demand.kind_of(_device(engine, worker)) for worker in engine.live_workers}
    return any(
        memory_demand.dtype_on(kind, spec.dtype) is not memory_demand.dtype_on(kind, old.dtype)
        for kind in kinds
    )


def _may_be_on(world: World, worker: Worker, spec: EngineSpec) -> bool:
    reserved = worker.reservation
    return reserved is not None and reserved.device in memory_ledger.candidates(world, spec.device)


def _device(engine: Engine, worker: Worker) -> str:
    if worker.reservation is not None:
        return worker.reservation.device
    return engine.row.device or engine.row.spec.device


def _promises(world: World, engine: Engine, edited: Engine) -> dict[WorkerId, Reservation] | None:
    """New reservations for the workers if the engine's need changes; None, if one of them has no room."""
    demands = [memory_demand.demand_of(one.row, world.models) for one in (engine, edited)]
    if demands[0] == demands[1]:
        return {}
    found: dict[WorkerId, Reservation] = {}
    free: dict[str, int] = {}
    for worker in engine.live_workers:
        held = worker.reservation
        if held is None or held.device not in world.devices:
            continue
        left = free.setdefault(held.device, memory_ledger.free_bytes(world, held.device))
        plan, budget = held.need.plan, held.need.bytes + left
        promise = memory_ledger.reservation_within(world, edited, held.device, plan, budget)
        if promise is None:
            return None
        found[worker.worker_id] = promise
        free[held.device] = min(budget - promise.need.bytes, left)
    return found


def _adjust(world: World, engine: Engine, old: EngineSpec, promises: Mapping[WorkerId, Reservation]) -> None:
    """Bring the workers of an engine that was edited in step with it, without loading anything again."""
    is_other_batch = engine.row.spec.max_batch != old.max_batch
    for worker in engine.live_workers:
        held, promise = worker.reservation, promises.get(worker.worker_id)
        if promise is not None:
            worker.reservation = promise
        if held is None or promise is None:
            must_tell = held is None and (is_other_batch or not worker.is_local)
        else:
            must_tell = held.need.batch_size != promise.need.batch_size
        if must_tell:
            workers.adjust(world, worker)
    _release_surplus(world, engine, old)


def _release_surplus(world: World, engine: Engine, old: EngineSpec) -> None:
    """After an edit of `replicas`: workers within the new range stay while they are needed; after a cut of
    the most, the least busy ones leave."""
    new, live = engine.row.spec, sum(1 for _ in engine.live_workers)
    if new.replicas == old.replicas:
        return
    engine.extra_replicas = min(max(live - new.min_replicas, 0), new.max_replicas - new.min_replicas)
    if new.max_replicas < old.max_replicas:
        engines.release_least_busy(world, engine, max(live - new.max_replicas, 0))
