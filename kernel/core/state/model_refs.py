"""Finds the models that an engine or a job names, and checks that they exist and fit."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final
from urllib.parse import unquote

from msgspec.structs import asdict

from kernel.core.state.world import World
from kernel.protocol.enums import ControlType, ModelBase, ModelState, ModelType
from kernel.protocol.errors import (
    ModelMissing,
    ModelNotReady,
    SpoonError,
    WrongModelBase,
    WrongModelType,
    of_field,
    wrong_field,
)
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import OWN_VAE, Control, ControlUse, LoraUse, ModelSource
from kernel.protocol.named_models import Named, named_each, named_models
from kernel.protocol.prompts import MARKS_OF_TAGS, LoraTag, lora_tags
from kernel.protocol.rows import ModelRow
from kernel.protocol.sources import stem_of, stored_uri
from kernel.protocol.specs import EngineSpec, JobSpec
from kernel.protocol.values import MAX_MODELS

_TAGGED: Final = "prompt"
_LISTED: Final = 5
_COMPARED: Final = 1_000
_GUESSED: Final = 40
"""Comparing names takes the longer the more and the longer they are."""


def check_engine(world: World, spec: EngineSpec) -> None:
    """Check that all models of an engine fit together.

    Raises: InvalidField; ModelMissing, WrongModelType, ModelNotReady, WrongModelBase. All name the field.
    """
    checkpoint = _check_one(world, Named("checkpoint", spec.checkpoint, ModelType.CHECKPOINT), None)
    _check_own_vae(checkpoint, spec.vae)
    _check(world, named_models(spec), checkpoint.model_base)
    _check_control_models(world, spec)


def check_job(world: World, spec: JobSpec, checkpoint: ModelRow) -> None:
    """Check that all models of a job fit its engine's checkpoint.

    Raises: as check_engine.
    """
    _check_own_vae(checkpoint, spec.vae)
    _check(world, named_models(spec), checkpoint.model_base)


def _check_own_vae(checkpoint: ModelRow, vae: ModelId) -> None:
    """Raises: InvalidField, if the VAE should be the checkpoint's own, but it has none."""
    if vae == OWN_VAE and checkpoint.memory is not None and checkpoint.memory.lacks_vae:
        problem = f"the checkpoint {checkpoint.name} has no VAE of its own: name a model of type vae"
        raise wrong_field("vae", problem)


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


def with_lora_tags(world: World, spec: JobSpec, base: ModelBase | None) -> tuple[LoraUse, ...]:
    """The LoRAs of a job, with those of the tags in its prompt. A tag's weight replaces that in `loras`.

    Raises: InvalidField; ModelMissing, WrongModelType, ModelNotReady, WrongModelBase. All name `prompt`.
    """
    tags = lora_tags(spec.prompt) if spec.lora_tags else ()
    if not tags:
        return spec.loras
    tagged: dict[ModelId, LoraUse] = {}
    for tag in tags:
        model_id = _lora_named(world, tag)
        try:
            _check_one(world, Named(_TAGGED, model_id, ModelType.LORA), base)
            use = LoraUse(model_id=model_id, weight=tag.weight())
        except SpoonError as error:
            problem = error.fields[0].problem if error.fields else error.detail
            raise of_field(type(error), _TAGGED, f"{tag.text}: {problem}") from error
        except ValueError as error:
            raise wrong_field(_TAGGED, f"{tag.text} {error}") from error
        if model_id in tagged:
            raise wrong_field(_TAGGED, f"{tag.text} names a LoRA that another tag names: keep one of them")
        tagged[model_id] = use
    others = tagged.keys() - {use.model_id for use in spec.loras}
    if len(spec.loras) + len(others) > MAX_MODELS:
        raise wrong_field(_TAGGED, f"has too many LoRAs: at most {MAX_MODELS}, with those of `loras`")
    uses = (tagged.get(use.model_id, use) for use in spec.loras)
    return (*uses, *(use for model_id, use in tagged.items() if model_id in others))


def _lora_named(world: World, tag: LoraTag) -> ModelId:
    """The LoRA that a tag names: by id, else by name, else by the name of its file, as other tools do.

    Raises: ModelMissing, with the nearest names, if there is none; InvalidField, if there are several.
    """
    if tag.name in world.models:
        return ModelId(tag.name)
    rows = world.models.values()
    loras = [row for row in rows if row.model_type is ModelType.LORA]
    wanted = _plain_name(tag.name)
    found = (
        [row for row in loras if row.name == tag.name]
        or [row for row in loras if _plain_name(row.name) == wanted]
        or [row for row in loras if _plain_name(_stem(row.uri)) == wanted]
        or [row for row in rows if row.name == tag.name]
    )
    found = [row for row in found if row.status is ModelState.READY] or found
    if len(found) > 1:
        several = "; ".join(f"{row.model_id} ({row.name}, {row.status})" for row in found[:_LISTED])
        raise wrong_field(_TAGGED, f"{tag.text} means several models: use one of the ids {several}")
    if not found:
        near = get_close_matches(tag.name[:_GUESSED], [row.name[:_GUESSED] for row in loras[:_COMPARED]])
        nearest = f"; the nearest are {', '.join(near)}" if near else ""
        problem = f"{tag.text}: no LoRA has the id or name {tag.name!r}{nearest}; register it, "
        raise of_field(ModelMissing, _TAGGED, f"{problem}or set lora_tags to false if it is text")
    return found[0].model_id


def _plain_name(name: str) -> str:
    return name.translate(MARKS_OF_TAGS).casefold()


def _stem(uri: str) -> str:
    return stem_of(unquote(uri.rpartition("/")[2]))


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
    _check(world, named_each("control_models", model_ids, ModelType.CONTROLNET), base)
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
        size_bytes=row.size_bytes,
        beside=row.beside,
        control_type=row.control_type,
        trigger_words=row.trigger_words or row.found_words,
        preparation=row.preparation,
        revision=row.revision,
    )
