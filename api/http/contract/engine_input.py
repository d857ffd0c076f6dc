"""The request bodies that create and edit an engine, and their conversion to commands."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, cast

import msgspec
from msgspec.structs import fields

from api.http.contract.constraints import (
    ModelRef,
    ModelRefs,
    VaeRef,
    check_at_most,
    check_line,
    check_options,
    check_size,
)
from api.http.contract.model_names import ModelNames
from api.http.contract.model_refs import LoraInput, Loras, check_loras, check_refs, lora_uses, vae_id
from api.http.contract.retention import Patience, check_patience, patience_s
from api.http.contract.validation_errors import ValidationErrors
from conf.settings import Server
from kernel.protocol.client import CreateEngine, EditEngine
from kernel.protocol.enums import ModelType
from kernel.protocol.ids import EngineId
from kernel.protocol.specs import EngineSpec, EngineValues, Sampling

ALIASED: Final = tuple(field for field in fields(Sampling) if field.name != "scheduler_config")
"""Values with a `default_` alias: they are defaults for jobs."""


class EngineInput(EngineValues, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An engine to create. Its sampling values are defaults for its jobs; each has a `default_` alias."""

    checkpoint: ModelRef
    vae: VaeRef | None = None
    loras: Loras = ()
    embeddings: ModelRefs = ()
    control_models: ModelRefs = ()
    give_up_after: Patience | None = None
    start: bool = True


ENGINE_BODY: Final = cast(
    type[EngineInput],
    msgspec.defstruct(
        "EngineInput",
        [(f"default_{field.encode_name}", field.type, None) for field in ALIASED],
        bases=(EngineInput,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        namespace={"__doc__": EngineInput.__doc__},
    ),
)
"""EngineInput with the aliases."""
ENGINE_EDIT: Final = msgspec.defstruct(
    "EngineEdit",
    [
        (
            one.name,
            one.type | None | msgspec.UnsetType,
            msgspec.field(default=msgspec.UNSET, name=one.encode_name),
        )
        for one in fields(ENGINE_BODY)
        if one.name != "start"
    ],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    namespace={"__doc__": "What changes of an engine: null is the default, and what is omitted stays."},
)
_STORED_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {one.name: one.encode_name for one in fields(ENGINE_BODY)}
    | {f"default_{one.encode_name}": one.encode_name for one in ALIASED}
    | {"give_up_after": "give_up_after_s"}
)
"""The fields of the bodies by the names that EngineSpec has on the bus."""


def check_engine(found: EngineInput, limits: Server, faults: ValidationErrors) -> None:
    """Check an engine to be created."""
    check_line("name", found.name, faults)
    check_line("checkpoint", found.checkpoint, faults)
    check_line("device", found.device, faults)
    check_line("vae", found.vae, faults)
    check_loras(found.loras, faults)
    check_refs("embeddings", found.embeddings, faults)
    check_refs("control_models", found.control_models, faults)
    if found.control_net is not None and not found.control_models:
        faults.wrong("control_net", "requires a ControlNet of this type in control_models")
    check_at_most("steps", found.steps, limits.max_steps, faults)
    check_at_most("default_steps", getattr(found, "default_steps", None), limits.max_steps, faults)
    size = _values(found)
    check_size(size.get("width_px"), size.get("height_px"), limits.max_pixels, faults)
    check_options("scheduler_config", found.scheduler_config, faults)
    check_patience("give_up_after", found.give_up_after, faults)
    for field in ALIASED:
        value, alias = getattr(found, field.name), _alias(found, field.encode_name)
        if value is not None and alias is not None and value != alias:
            name = field.encode_name
            faults.wrong(f"default_{name}", f"contradicts {name}: set one of them")


def create_engine(found: EngineInput, names: ModelNames, *, validate_only: bool = False) -> CreateEngine:
    """The command for a checked input; omitted fields have the defaults of EngineSpec.

    Raises: InvalidField, if a model's name is ambiguous.
    """
    faults = ValidationErrors()
    models = {} if found.vae is None else {"vae": vae_id(found.vae, names, faults)}
    spec = EngineSpec(
        **_values(found) | models,
        checkpoint=names.id_of("checkpoint", found.checkpoint, ModelType.CHECKPOINT, faults),
        loras=lora_uses(found.loras, names, faults),
        embeddings=names.ids_of("embeddings", found.embeddings, ModelType.EMBEDDING, faults),
        control_models=names.ids_of("control_models", found.control_models, ModelType.CONTROLNET, faults),
        give_up_after_s=patience_s(found.give_up_after),
    )
    faults.raise_if_any()
    return CreateEngine(spec=spec, start=found.start, validate_only=validate_only)


def check_edit(found: msgspec.Struct, old: EngineSpec, limits: Server, faults: ValidationErrors) -> None:
    """Check an edit of an engine: the whole engine is checked as if it were created so."""
    said = _said(found)
    if said.get("checkpoint", "") is None:
        faults.wrong("checkpoint", "must not be null: every engine has one")
    for field in ALIASED:
        pair = [said[name] for name in (field.name, f"default_{field.encode_name}") if name in said]
        if len(pair) == 2 and None in pair and pair[0] is not pair[1]:
            faults.wrong(f"default_{field.encode_name}", f"contradicts {field.encode_name}: set one of them")
    check_engine(_edited(said, old), limits, faults)


def edit_engine(found: msgspec.Struct, engine_id: EngineId, old: EngineSpec, names: ModelNames) -> EditEngine:
    """The command for a checked edit.

    Raises: InvalidField, if a model's name is ambiguous.
    """
    said = _said(found)
    changed = dict.fromkeys(_STORED_NAMES[name] for name in said)
    return EditEngine(
        engine_id=engine_id, fields=tuple(changed), spec=create_engine(_edited(said, old), names).spec
    )


def _said(found: msgspec.Struct) -> dict[str, Any]:
    given = {field.name: getattr(found, field.name) for field in fields(found)}
    return {name: value for name, value in given.items() if value is not msgspec.UNSET}


def _edited(said: Mapping[str, Any], old: EngineSpec) -> EngineInput:
    """The engine that results, as it would be created."""
    present = {field.name: getattr(old, field.name) for field in fields(EngineSpec)}
    present |= {
        "loras": tuple(LoraInput(model_id=use.model_id, weight=use.weight) for use in old.loras),
        "give_up_after": present.pop("give_up_after_s"),
    }
    changed = {_STORED_NAMES[name] for name in said}
    kept = {name: value for name, value in present.items() if _STORED_NAMES[name] not in changed}
    given = {name: value for name, value in said.items() if value is not None}
    return ENGINE_BODY(**{"checkpoint": old.checkpoint} | kept | given)


def _values(found: EngineInput) -> dict[str, Any]:
    """The given values that need no lookup, under either name."""
    given = {field.name: getattr(found, field.name) for field in fields(EngineValues)}
    for field in ALIASED:
        if given[field.name] is None:
            given[field.name] = _alias(found, field.encode_name)
    return {name: value for name, value in given.items() if value is not None}


def _alias(found: EngineInput, name: str) -> object:
    return getattr(found, f"default_{name}", None)
