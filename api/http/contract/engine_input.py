"""What a client sends to create an engine, and the ask that the Manager gets."""

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from api.http.contract.constraints import (
    Cfg,
    ClipSkip,
    Device,
    KeepAlive,
    MaxBatch,
    ModelRef,
    ModelRefs,
    Name,
    Replicas,
    SchedulerOptions,
    SizePx,
    Steps,
    VaeRef,
    check_at_most,
    check_line,
    check_options,
    check_size,
)
from api.http.contract.enum_choices import (
    ControlTypeWord,
    PromptTechniqueWord,
    SchedulerWord,
    VariantWord,
    check_choice,
    choice_or_none,
    fold,
)
from api.http.contract.model_names import ModelNames
from api.http.contract.model_refs import Loras, check_loras, check_refs, lora_uses, vae_id
from api.http.contract.retention import Patience, check_patience, patience_s
from api.http.contract.validation_errors import ValidationErrors
from conf.settings import Server
from kernel.protocol.client import CreateEngine
from kernel.protocol.enums import ControlType, ModelType, PromptTechnique, Scheduler, Variant
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import OWN_VAE
from kernel.protocol.specs import EngineSpec

Value = TypeVar("Value")


class EngineInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An engine to create. Its sampling values are defaults for its jobs; each has a `default_` alias."""

    name: Name | None = None
    checkpoint: ModelRef
    vae: VaeRef | None = None
    loras: Loras = ()
    embeddings: ModelRefs = ()
    long_prompt_technique: PromptTechniqueWord | None = None
    control_net: ControlTypeWord | None = None
    control_models: ModelRefs = ()
    clip_skip: ClipSkip | None = None
    default_clip_skip: ClipSkip | None = None
    scheduler: SchedulerWord | None = None
    default_scheduler: SchedulerWord | None = None
    scheduler_config: SchedulerOptions | None = None
    steps: Steps | None = None
    default_steps: Steps | None = None
    cfg: Cfg | None = None
    default_cfg: Cfg | None = None
    width: SizePx | None = None
    default_width: SizePx | None = None
    height: SizePx | None = None
    default_height: SizePx | None = None
    device: Device = "auto"
    dtype: VariantWord | None = None
    autostart: bool = True
    keep_alive_s: KeepAlive | None = None
    give_up_after: Patience | None = None
    replicas: Replicas = 1
    max_batch: MaxBatch | None = None
    start: bool = True


def check_engine(found: EngineInput, limits: Server, faults: ValidationErrors) -> None:
    """Find all that is wrong with an engine to be created."""
    check_line("name", found.name, faults)
    check_line("checkpoint", found.checkpoint, faults)
    check_line("device", found.device, faults)
    _check_models(found, faults)
    check_choice(Scheduler, "scheduler", found.scheduler, faults)
    check_choice(Scheduler, "default_scheduler", found.default_scheduler, faults)
    check_choice(Variant, "dtype", found.dtype, faults)
    check_at_most("steps", found.steps, limits.max_steps, faults)
    check_at_most("default_steps", found.default_steps, limits.max_steps, faults)
    width_px, height_px = (
        _either(found.width, found.default_width),
        _either(found.height, found.default_height),
    )
    check_size(width_px, height_px, limits.max_pixels, faults)
    check_options("scheduler_config", found.scheduler_config, faults)
    check_patience("give_up_after", found.give_up_after, faults)
    for field, value, alias in _aliased(found):
        if value is not None and alias is not None and value != alias:
            faults.wrong(f"default_{field}", f"contradicts {field}: set one of them")


def create_engine(found: EngineInput, names: ModelNames) -> CreateEngine:
    """The ask for a checked input; what was not given has the default of EngineSpec.

    Raises: InvalidField, if a model's name is not clear.
    """
    faults = ValidationErrors()
    spec = _spec(found, names, faults)
    faults.raise_if_any()
    return CreateEngine(spec=spec, start=found.start)


def _spec(found: EngineInput, names: ModelNames, faults: ValidationErrors) -> EngineSpec:
    checkpoint = names.id_of("checkpoint", found.checkpoint, ModelType.CHECKPOINT, faults)
    plain = EngineSpec(checkpoint=checkpoint)
    scheduler = choice_or_none(Scheduler, _either(found.scheduler, found.default_scheduler))
    technique = choice_or_none(PromptTechnique, found.long_prompt_technique)
    return EngineSpec(
        name=found.name,
        checkpoint=checkpoint,
        vae=_other_vae(vae_id(found.vae, names, faults)),
        loras=lora_uses(found.loras, names, faults),
        embeddings=names.ids_of("embeddings", found.embeddings, ModelType.EMBEDDING, faults),
        long_prompt_technique=_first(technique, plain.long_prompt_technique),
        control_net=choice_or_none(ControlType, found.control_net),
        control_models=names.ids_of("control_models", found.control_models, ModelType.CONTROLNET, faults),
        clip_skip=_either(found.clip_skip, found.default_clip_skip),
        scheduler=_first(scheduler, plain.scheduler),
        scheduler_config=_first(found.scheduler_config, plain.scheduler_config),
        steps=_first(_either(found.steps, found.default_steps), plain.steps),
        guidance_scale=_first(_either(found.cfg, found.default_cfg), plain.guidance_scale),
        width_px=_either(found.width, found.default_width),
        height_px=_either(found.height, found.default_height),
        device=found.device,
        dtype=choice_or_none(Variant, found.dtype),
        autostart=found.autostart,
        keep_alive_s=found.keep_alive_s,
        give_up_after_s=patience_s(found.give_up_after),
        replicas=found.replicas,
        max_batch=found.max_batch,
    )


def _other_vae(named: ModelId | None) -> ModelId | None:
    """For an engine the checkpoint's own VAE is none beside it."""
    return None if named == OWN_VAE else named


def _check_models(found: EngineInput, faults: ValidationErrors) -> None:
    check_line("vae", found.vae, faults)
    check_loras(found.loras, faults)
    check_refs("embeddings", found.embeddings, faults)
    check_refs("control_models", found.control_models, faults)
    check_choice(PromptTechnique, "long_prompt_technique", found.long_prompt_technique, faults)
    check_choice(ControlType, "control_net", found.control_net, faults)
    if found.control_net is not None and not found.control_models:
        faults.wrong("control_net", "requires a ControlNet of this type in control_models")


def _aliased(found: EngineInput) -> Iterator[tuple[str, object, object]]:
    """Each field that has an alias, with both values; words of one meaning are one value."""
    yield "scheduler", _folded(found.scheduler), _folded(found.default_scheduler)
    yield "steps", found.steps, found.default_steps
    yield "cfg", found.cfg, found.default_cfg
    yield "width", found.width, found.default_width
    yield "height", found.height, found.default_height
    yield "clip_skip", found.clip_skip, found.default_clip_skip


def _folded(word: str | None) -> str | None:
    return None if word is None else fold(word)


def _either(value: Value | None, alias: Value | None) -> Value | None:
    return value if value is not None else alias


def _first(value: Value | None, default: Value) -> Value:
    return value if value is not None else default
