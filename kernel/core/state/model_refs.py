"""The models that an engine or a job refers to besides its checkpoint, and checks that they fit."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import asdict

from kernel.core.state.world import World
from kernel.protocol.enums import ControlType, ModelBase, ModelState, ModelType
from kernel.protocol.errors import (
    ModelMissing,
    ModelNotReady,
    WrongModelBase,
    WrongModelType,
    of_field,
    wrong_field,
)
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import OWN_VAE, Control, ControlUse, LoraUse, ModelSource
from kernel.protocol.rows import ModelRow
from kernel.protocol.sources import stored_uri
from kernel.protocol.specs import EngineSpec, JobSpec


class Named(Struct, frozen=True):
    """A model that a spec refers to: the field, and the required type."""

    field: str
    model_id: ModelId
    model_type: ModelType


def of_engine(spec: EngineSpec) -> tuple[Named, ...]:
    """The models that an engine refers to besides its checkpoint."""
    return (
        *_vae(spec.vae),
        *_loras(spec.loras),
        *_each("embeddings", spec.embeddings, ModelType.EMBEDDING),
        *_each("control_models", spec.control_models, ModelType.CONTROLNET),
    )


def of_job(spec: JobSpec) -> tuple[Named, ...]:
    """The models that a job refers to."""
    return (
        *_vae(spec.vae),
        *_loras(spec.loras),
        *_each("embeddings", spec.embeddings, ModelType.EMBEDDING),
        *_each("control_models", spec.control_models, ModelType.CONTROLNET),
        *_each("remove_background_models", spec.remove_background, ModelType.BACKGROUND),
    )


def _vae(model_id: ModelId) -> tuple[Named, ...]:
    return () if model_id == OWN_VAE else (Named("vae", model_id, ModelType.VAE),)


def _loras(loras: Sequence[LoraUse]) -> list[Named]:
    return _each("loras", [use.model_id for use in loras], ModelType.LORA)


def _each(field: str, model_ids: Sequence[ModelId], model_type: ModelType) -> list[Named]:
    return [Named(f"{field}[{n}]", model_id, model_type) for n, model_id in enumerate(model_ids)]


def ids_of_engine(spec: EngineSpec) -> tuple[ModelId, ...]:
    """The ids of the models that an engine refers to besides its checkpoint, without duplicates."""
    return _ids(of_engine(spec))


def ids_of_job(spec: JobSpec) -> tuple[ModelId, ...]:
    """The ids of the models that a job refers to, without duplicates."""
    return _ids(of_job(spec))


def _ids(named: Iterable[Named]) -> tuple[ModelId, ...]:
    return tuple(dict.fromkeys(one.model_id for one in named))


def check_engine(world: World, spec: EngineSpec) -> None:
    """Check that all models of an engine fit together.

    Raises: InvalidField; ModelMissing, WrongModelType, ModelNotReady, WrongModelBase. All name the field.
    """
    checkpoint = _check_one(world, Named("checkpoint", spec.checkpoint, ModelType.CHECKPOINT), None)
    _check(world, of_engine(spec), checkpoint.model_base)
    _check_control_models(world, spec)


def check_job(world: World, spec: JobSpec, base: ModelBase | None) -> None:
    """Check that all models of a job fit its engine's checkpoint, which is of this base.

    Raises: as check_engine.
    """
    _check(world, of_job(spec), base)


def _check(world: World, named: Iterable[Named], base: ModelBase | None) -> None:
    """Check that each model exists, is ready, of the required type and base, and named once.

    A model whose files do not tell its base is taken to fit: only its use shows.
    Raises: as check_engine.
    """
    seen: set[ModelId] = set()
    for one in named:
        _check_one(world, one, base)
        if one.model_id in seen:
            raise wrong_field(one.field, "names the same model twice")
        seen.add(one.model_id)


def _check_one(world: World, named: Named, base: ModelBase | None) -> ModelRow:
    field, row = named.field, world.models.get(named.model_id)
    if row is None:
        problem = f"no model has the id or name {named.model_id!r}: register it first"
        raise of_field(ModelMissing, field, problem)
    if row.model_type is not named.model_type:
        wanted = named.model_type.value
        problem = f"the model is of type {row.model_type.value}; use one of type {wanted}"
        raise of_field(WrongModelType, field, problem)
    if row.status is not ModelState.READY:
        raise of_field(ModelNotReady, field, _state(row))
    if None not in (base, row.model_base) and row.model_base is not base:
        problem = (
            f"the model is for {row.model_base}, but the engine's checkpoint is {base}; use one for {base}"
        )
        raise of_field(WrongModelBase, field, problem)
    return row


def _state(row: ModelRow) -> str:
    """Why a model cannot be used yet, and the remedy."""
    if row.status is ModelState.ERROR:
        return f"the model is in error ({row.error}): retry it, or use another one"
    return f"the model is still {row.status.value}: wait until it is ready"


def _check_control_models(world: World, spec: EngineSpec) -> None:
    """Check that there is one ControlNet for each type of control map, with a known type, and the default
    one.

    Raises: InvalidField.
    """
    found = control_nets(world, spec.control_models)
    if spec.control_net is not None and spec.control_net not in found:
        raise wrong_field("control_net", f"control_models has no ControlNet for {spec.control_net}: add one")


def control_nets(world: World, model_ids: Sequence[ModelId]) -> dict[ControlType, ModelId]:
    """The ControlNets of `control_models` by the control maps that they follow, in the same order.

    Raises: InvalidField, if the type of one is unknown, or two have the same.
    """
    found: dict[ControlType, ModelId] = {}
    for n, model_id in enumerate(model_ids):
        control_type = world.models[model_id].control_type
        if control_type is None:
            raise wrong_field(
                f"control_models[{n}]",
                "the control type of this ControlNet is unknown: register it again with control_type",
            )
        if control_type in found:
            raise wrong_field(
                f"control_models[{n}]", f"a second ControlNet for {control_type}: keep one of them"
            )
        found[control_type] = model_id
    return found


def own_control_nets(
    world: World, model_ids: Sequence[ModelId], base: ModelBase | None
) -> dict[ControlType, ModelId]:
    """As `control_nets`, for those that a job names itself.

    Raises: as check_engine.
    """
    _check(world, _each("control_models", model_ids, ModelType.CONTROLNET), base)
    return control_nets(world, model_ids)


def controls(
    nets: Mapping[ControlType, ModelId], uses: Sequence[tuple[ControlType, ControlUse]]
) -> tuple[Control, ...]:
    """Each control with the ControlNet for its type.

    Raises: InvalidField, if there is none for one of them.
    """
    found = []
    for n, (control_type, use) in enumerate(uses):
        model_id = nets.get(control_type)
        if model_id is None:
            known = ", ".join(sorted(nets)) or "nothing"
            raise wrong_field(
                f"controls[{n}].type_pose",
                f"there is no ControlNet for {control_type}: control_models has those for {known}",
            )
        found.append(Control(**asdict(use) | {"control_type": control_type, "control_model": model_id}))
    return tuple(found)


def source(world: World, model_id: ModelId) -> ModelSource:
    """Where a worker finds a model, and the size and digest that it should have."""
    row = world.models[model_id]
    return ModelSource(
        model_id=row.model_id,
        name=row.name,
        uri=row.uri if row.stored is None else stored_uri(row.stored),
        model_type=row.model_type,
        model_base=row.model_base,
        variant=row.variant,
        sha256=row.sha256 or row.declared_sha256,
        control_type=row.control_type,
        trigger_words=row.trigger_words or row.found_words,
        preparation=row.preparation,
    )
