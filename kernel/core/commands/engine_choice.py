"""Chooses the engine of a job: the one that it names, else one of its checkpoint, else the default.

The rule is the same at every call, so that people can know it (docs/api.md):

- A checkpoint stands for its engines that can run the job: those that are loaded, and those that start by
  themselves. The first by `_ORDER` counts, of these one that nobody has stopped, of these the oldest.
- A checkpoint without such an engine gets one with default values, in the transaction of its first job. An
  engine in error counts, or each job for a damaged checkpoint would add another one.
- A job that names neither is for `engines.default`, else for the only checkpoint that is ready.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from kernel.core.commands import engine_commands
from kernel.core.state.world import Engine, World
from kernel.protocol import client
from kernel.protocol.enums import EngineState, ModelState, ModelType
from kernel.protocol.errors import ModelMissing, of_field, wrong_field
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.rows import ModelRow
from kernel.protocol.specs import EngineSpec

_ORDER: Final[Mapping[EngineState, int]] = MappingProxyType(
    {
        EngineState.READY: 0,
        EngineState.WORKING: 1,
        EngineState.STARTING: 2,
        EngineState.CLOSED: 3,
        EngineState.STOPPING: 4,
        EngineState.ERROR: 5,
    }
)
_LISTED: Final = 5
"""Models that a refusal lists."""


def choose(world: World, ask: client.SubmitJob) -> Engine:
    """The engine for a job. One that is not in `world.engines` is to be created with the job.

    Raises: EngineNotFound; InvalidField; ModelMissing, WrongModelType, ModelNotReady; NotEnoughMemory, if a
    new engine has no room; ShuttingDown.
    """
    is_engine_named = ask.engine_id is not None or ask.engine_name is not None
    if is_engine_named and ask.checkpoint is not None:
        raise wrong_field("checkpoint", "contradicts the engine, which has its own: set one of them")
    if is_engine_named:
        return engine_commands.find(world, ask.engine_id, ask.engine_name)
    if ask.checkpoint is not None:
        return _engine_of(world, _checkpoint_named(world, ask.checkpoint))
    if world.limits.default_engine is not None:
        return _default(world, world.limits.default_engine)
    return _engine_of(world, _only_checkpoint(world))


def _engine_of(world: World, checkpoint: ModelId) -> Engine:
    """An engine of the checkpoint; a new one with default values if there is none that can run a job."""
    able = [one for one in world.engines.values() if one.row.spec.checkpoint == checkpoint and _can_run(one)]
    if able:
        return min(able, key=_preference)
    return engine_commands.plan(world, EngineSpec(checkpoint=checkpoint), is_to_run=True)


def _can_run(engine: Engine) -> bool:
    return engine.row.spec.autostart or (engine.is_running and not engine.is_stopping)


def _preference(engine: Engine) -> tuple[int, bool, int, EngineId]:
    row = engine.row
    return _ORDER[row.status], engine.is_held, row.created_at_ms, row.engine_id


def _checkpoint_named(world: World, name: str) -> ModelId:
    """The checkpoint with that id or name; `name` itself if there is none, which no engine has.

    Raises: InvalidField, if several have the name.
    """
    if name in world.models:
        return ModelId(name)
    named = [row for row in world.models.values() if row.name == name]
    found = _ready(_checkpoints(named)) or _checkpoints(named) or named
    if len(found) > 1:
        problem = f"several models are named {name!r}: use one of the ids {_listed(found)}"
        raise wrong_field("checkpoint", problem)
    return found[0].model_id if found else ModelId(name)


def _default(world: World, name: str) -> Engine:
    engine = world.engines.get(world.engine_names.get(name, EngineId(name)))
    if engine is not None:
        return engine
    checkpoint = _checkpoint_named(world, name)
    if checkpoint not in world.models:
        problem = f"is required: engines.default is {name!r}, but there is no such engine or checkpoint"
        raise wrong_field("engine", problem)
    return _engine_of(world, checkpoint)


def _only_checkpoint(world: World) -> ModelId:
    """Raises: ModelMissing, if there is none; InvalidField, if it is not the only one."""
    known = _checkpoints(world.models.values())
    found = _ready(known) or known
    if not found:
        problem = "no checkpoint is registered: `spoon models add FILE --type checkpoint --name NAME --wait`"
        raise of_field(ModelMissing, "checkpoint", problem)
    if len(found) > 1:
        problem = f"is required, or an engine, or engines.default: there are several, {_listed(found)}"
        raise wrong_field("checkpoint", problem)
    return found[0].model_id


def _checkpoints(rows: Iterable[ModelRow]) -> list[ModelRow]:
    return [row for row in rows if row.model_type is ModelType.CHECKPOINT]


def _ready(rows: Iterable[ModelRow]) -> list[ModelRow]:
    return [row for row in rows if row.status is ModelState.READY]


def _listed(rows: Sequence[ModelRow]) -> str:
    lines = [f"{row.model_id} ({row.name}, {row.status})" for row in rows[:_LISTED]]
    return "; ".join(lines) + ("; ..." if len(rows) > _LISTED else "")
