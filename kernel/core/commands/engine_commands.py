"""Commands on engines: create, start, stop, delete."""

from kernel.core import due
from kernel.core.admission import engine_admission, memory_report, pools, reconcile
from kernel.core.lifecycle import engines
from kernel.core.state import model_refs, transitions
from kernel.core.state.world import Engine, World
from kernel.protocol import client
from kernel.protocol.enums import EngineState, Phase
from kernel.protocol.errors import (
    EngineNotFound,
    EngineRunning,
    NameTaken,
    ShuttingDown,
    wrong_field,
)
from kernel.protocol.ids import EngineId
from kernel.protocol.memory import EngineValid
from kernel.protocol.rows import EngineRow
from kernel.protocol.specs import EngineSpec


def create(world: World, ask: client.CreateEngine) -> client.SingleReply:
    """Create an engine, and start it if requested. It stays on demand; only an explicit start pins it, or the
    lack of autostart, since nothing would start it again.

    Raises: InvalidField; ModelMissing, WrongModelType, ModelNotReady, WrongModelBase; NameTaken;
    NotEnoughMemory, if it should start and there is no memory; ShuttingDown.
    """
    engine = plan(world, ask.spec, is_to_run=ask.start)
    transitions.add_engine(world, engine)
    if ask.start:
        _start(world, engine, is_pinned=not ask.spec.autostart)
    return accepted(engine)


def check(world: World, ask: client.CreateEngine) -> EngineValid:
    """A dry run of `create`: how the engine would fit; nothing is changed.

    Raises: as `create`, so NotEnoughMemory only if it should start.
    """
    engine = plan(world, ask.spec, is_to_run=ask.start)
    if engine.pool is not None:
        return pools.outlook(world, engine, engine.pool)
    fault = memory_report.absent_device(world, ask.spec.device)
    closed = None if fault is not None else engine_admission.closed_for(world, engine)
    refused = memory_report.explain(world, engine) if fault is None and closed is None else None
    return EngineValid(
        fits=closed is not None,
        closes=tuple(other.row.engine_id for other in closed or ()),
        devices=memory_report.device_fits(world, engine),
        detail=fault if refused is None else refused.detail,
        shortage=None if refused is None else refused.shortage,
    )


def plan(world: World, spec: EngineSpec, *, is_to_run: bool) -> Engine:
    """An engine that could be created now; nothing is changed yet.

    Raises: as `create`.
    """
    model_refs.check_engine(world, spec)
    check_name(world, spec.name)
    row = EngineRow(
        engine_id=EngineId(world.id_source.id()),
        name=spec.name,
        spec=spec,
        status=EngineState.CLOSED,
        created_at_ms=world.now.unix_ms,
    )
    engine = Engine(row)
    if is_to_run:
        _check_running(world)
        check_memory(world, engine)
    return engine


def check_name(world: World, name: str | None) -> None:
    """Raises: NameTaken."""
    if name is not None and name in world.engine_names:
        raise NameTaken(f"an engine named {name!r} already exists: choose another name")


def _check_running(world: World) -> None:
    if world.phase is not Phase.RUNNING:
        raise ShuttingDown


def check_memory(world: World, engine: Engine, former: tuple[Engine, ...] = ()) -> None:
    """Check, before anything is loaded, that the device exists and has enough memory, if need be that of its
    former self.

    An engine of a pool waits for a worker instead.

    Raises: InvalidField; NotEnoughMemory.
    """
    if engine.pool is not None:
        return
    device = engine.row.spec.device
    if (fault := memory_report.absent_device(world, device)) is not None:
        raise wrong_field("device", fault)
    if not engine_admission.can_be_admitted(world, engine, former):
        raise memory_report.explain(world, engine)


def start(world: World, ask: client.StartEngine) -> client.SingleReply:
    """Start an engine and pin it; one that runs already is only pinned.

    Raises: EngineNotFound; ModelMissing, WrongModelType, ModelNotReady, WrongModelBase, which its models can
    have become since; NotEnoughMemory; ShuttingDown.
    """
    engine = find(world, ask.engine_id)
    _check_running(world)
    model_refs.check_engine(world, engine.row.spec)
    if not engine.is_running:
        check_memory(world, engine)
    _start(world, engine, is_pinned=True)
    return accepted(engine)


def _start(world: World, engine: Engine, *, is_pinned: bool) -> None:
    world.touch()
    engine.is_pinned = engine.is_pinned or is_pinned
    engine.is_requested, engine.is_held = not engine.is_running, False
    engine.is_resting, engine.deaths, engine.failures = False, 0, 0
    world.timers.clear(due.Relaunch(engine.row.engine_id))
    reconcile.reconcile_engine(world, engine)


def stop(world: World, ask: client.StopEngine) -> client.SingleReply:
    """Stop an engine; its waiting jobs stay until it is started again by a person or by a new job.

    Raises: EngineNotFound.
    """
    engine = find(world, ask.engine_id)
    world.touch()
    engine.is_held = True
    is_open = engine.is_running or due.Relaunch(engine.row.engine_id) in world.timers
    if is_open or engine.workers or engine.is_pinned or engine.is_requested:
        engines.stop(world, engine, is_now=ask.now)
    engines.leave_admission_queue(world, engine)
    reconcile.reconcile_engine(world, engine)
    return accepted(engine)


def delete(world: World, ask: client.DeleteEngine) -> client.SingleReply:
    """Delete an engine with its jobs and, unless they are to be kept, their images.

    Raises: EngineNotFound; EngineRunning.
    """
    engine = find(world, ask.engine_id)
    if engine.is_running or due.Relaunch(engine.row.engine_id) in world.timers:
        raise EngineRunning(f"the engine is {engine.row.status.value}: stop it first")
    engines.forget_error(world, engine)
    engines.leave_admission_queue(world, engine)
    transitions.drop_engine(world, engine, keeps_images=ask.keep_images)
    return client.Done()


def find(world: World, engine_id: EngineId | None, name: str | None = None) -> Engine:
    """The engine with that id, or else with that name.

    Raises: EngineNotFound.
    """
    if engine_id is None and name is not None:
        engine_id = world.engine_names.get(name)
    engine = world.engines.get(engine_id) if engine_id is not None else None
    if engine is None:
        raise EngineNotFound
    return engine


def accepted(engine: Engine, *, reloads: bool = False) -> client.EngineAccepted:
    """The reply to a command on an engine."""
    return client.EngineAccepted(engine_id=engine.row.engine_id, status=engine.row.status, reloads=reloads)
