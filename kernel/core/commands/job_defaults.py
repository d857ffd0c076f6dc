"""Resolves a job's values: the request's, else the engine's, else the checkpoint's. All are checked.

A JobSpec holds every value as decided when the job was accepted, so that the same job makes the same image
whatever happens to its engine later, and REST shows what the worker gets. A value without meaning for the job
(the strength without a reference image) is None. One loop resolves every field that request, engine and spec
have in common; the few fields with a rule of their own are in `resolve`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import fields, replace

from kernel.core.state import model_refs
from kernel.core.state.world import World
from kernel.protocol.enums import (
    NATIVE_SIZES_PX,
    ControlType,
    ImageFileType,
    ImageFit,
    InpaintArea,
    InpaintFill,
    InputKind,
    MaskMode,
    ModelBase,
)
from kernel.protocol.errors import wrong_field
from kernel.protocol.ids import MAX_INTEGER
from kernel.protocol.masks import has_mask
from kernel.protocol.model_refs import Control, ControlUse
from kernel.protocol.prompts import fault_of_length
from kernel.protocol.rows import EngineRow
from kernel.protocol.schedulers import KINDS, LEVELS, TAKES_ETA, problem_with_levels
from kernel.protocol.specs import EngineSpec, JobRequest, JobSpec, SchedulerConfig
from kernel.protocol.values import PIXELS_PER_LATENT, WHITE

DEFAULT_STRENGTH: Final = 0.75
DEFAULT_IMAGE_FIT: Final = ImageFit.CROP
MASK_DEFAULTS: Final[Mapping[str, object]] = MappingProxyType(
    {
        "mask_mode": MaskMode.LUMINANCE,
        "mask_blur": 4,
        "inpaint_area": InpaintArea.WHOLE,
        "inpaint_padding": 32,
        "inpaint_fill": InpaintFill.ORIGINAL,
    }
)
"""The values of a mask, with A1111's defaults."""
_DEFAULTS: Final = frozenset(field.name for field in fields(EngineSpec))
_NAMES: Final = tuple(field.name for field in fields(JobSpec))
_OPTIONAL: Final = frozenset(field.name for field in fields(JobSpec) if field.default is None)
"""Values that a resolved job may be without."""
_REQUESTED: Final = frozenset(field.name for field in fields(JobRequest))


def resolve(world: World, request: JobRequest, engine: EngineRow) -> JobSpec:
    """A job with every value resolved and checked. 0 is a value; an empty list means none.

    Raises: InvalidField; ModelMissing, WrongModelType, ModelNotReady, WrongModelBase.
    """
    default, checkpoint = engine.spec, world.models[engine.spec.checkpoint]
    native_size_px = checkpoint.native_size_px or NATIVE_SIZES_PX[checkpoint.model_base or ModelBase.SD]
    values = {
        "width_px": native_size_px,
        "height_px": native_size_px,
        "lora_tags": world.limits.lora_tags,
        "seed": world.id_source.seed() if request.seed is None else request.seed,
        **_of(request, default),
        "controls": _controls(world, request, default, checkpoint.model_base),
        "scheduler_config": _scheduler_config(request, default),
        "strength": _strength(request),
        **_inpainting(request),
        "background_color": _background(request),
    }
    spec = _with_eta(JobSpec(**values), request)
    loras = model_refs.with_lora_tags(world, spec, checkpoint.model_base)
    if loras is not spec.loras:
        spec = replace(spec, loras=loras)
    _check_size(world, spec)
    _check_texts(spec)
    _check_inputs(spec)
    _check_levels(spec)
    model_refs.check_job(world, spec, checkpoint)
    return spec


def _with_eta(spec: JobSpec, request: JobRequest) -> JobSpec:
    """An engine's eta is for the schedulers that take one.

    Raises: InvalidField, if the job itself asks for eta with another one.
    """
    if spec.eta is None or KINDS[spec.scheduler].class_name in TAKES_ETA:
        return spec
    if request.eta is not None:
        known = ", ".join(name for name, kind in KINDS.items() if kind.class_name in TAKES_ETA)
        raise wrong_field("eta", f"has no effect with {spec.scheduler}: omit it, or use {known}")
    return replace(spec, eta=None)


def _of(request: JobRequest, default: EngineSpec) -> dict[str, Any]:
    """The values of the request, else of the engine; a field that neither has is left out."""
    found: dict[str, Any] = {}
    for name in _NAMES:
        value = getattr(request, name) if name in _REQUESTED else None
        if value is None and name in _DEFAULTS and not (request.is_resolved and name in _OPTIONAL):
            value = getattr(default, name)
        if value is not None:
            found[name] = value
    return found


def _controls(
    world: World, request: JobRequest, default: EngineSpec, base: ModelBase | None
) -> tuple[Control, ...]:
    """Each control with its ControlNet, one of those that the request names, else one of the engine's.

    Controls without a type take the request's ControlNets in their order, else the engine's `control_net`.
    """
    own = request.control_models
    if own is None and not request.controls and InputKind.POSE not in request.inputs:
        return ()
    usual: tuple[ControlType, ...]
    if own is None:
        nets = model_refs.control_nets(world, default.control_models)
        usual = () if default.control_net is None else (default.control_net,)
    else:
        nets = model_refs.own_control_nets(world, own, base)
        usual = tuple(nets)
    uses = request.controls
    if not uses and InputKind.POSE in request.inputs:
        uses = (ControlUse(),) * len(usual)
    types = [use.control_type or (usual[n] if n < len(usual) else None) for n, use in enumerate(uses)]
    found = [(one, use) for one, use in zip(types, uses, strict=True) if one is not None]
    if len(found) < len(uses):
        raise wrong_field("type_pose", "is required: the engine has no default control_net")
    for n, control_type in enumerate(nets if own else ()):
        if control_type not in types:
            problem = f"no control is for {control_type}: add it to type_pose, or omit this ControlNet"
            raise wrong_field(f"control_models[{n}]", problem)
    return model_refs.controls(nets, found)


def _scheduler_config(request: JobRequest, default: EngineSpec) -> SchedulerConfig:
    """The scheduler options. The engine's belong to its own scheduler: another one may not know them."""
    if request.scheduler_config is not None:
        return request.scheduler_config
    return {} if request.scheduler not in (None, default.scheduler) else default.scheduler_config


def _strength(request: JobRequest) -> float | None:
    if InputKind.REFERENCE not in request.inputs:
        return None
    return DEFAULT_STRENGTH if request.strength is None else request.strength


def _inpainting(request: JobRequest) -> dict[str, Any]:
    """The values of the mask, which may be the reference image's own alpha channel, and of the fitting.

    Where only the masked area is drawn, nothing is fitted.
    """
    image_fit = (request.image_fit or DEFAULT_IMAGE_FIT) if request.inputs else None
    if not has_mask(request.inputs, request.mask_mode):
        return {**dict.fromkeys(MASK_DEFAULTS), "image_fit": image_fit}
    given = {name: getattr(request, name) for name in MASK_DEFAULTS}
    found = {name: default if given[name] is None else given[name] for name, default in MASK_DEFAULTS.items()}
    if found["inpaint_area"] is InpaintArea.MASKED:
        return {**found, "image_fit": None}
    return {**found, "inpaint_padding": None, "image_fit": image_fit}


def _background(request: JobRequest) -> str | None:
    """The background color. JPEG without a background needs one, and so does an image between two
    removers."""
    removers, is_jpeg = len(request.remove_background), request.image_file_type is ImageFileType.JPEG
    if removers < (1 if is_jpeg else 2):
        return None
    return (request.background_color or WHITE).lower()


def _check_size(world: World, spec: JobSpec) -> None:
    for field, size_px in (("width", spec.width_px), ("height", spec.height_px)):
        if size_px <= 0 or size_px % PIXELS_PER_LATENT:
            raise wrong_field(field, f"must be a positive multiple of {PIXELS_PER_LATENT}, not {size_px}")
    if spec.width_px * spec.height_px > world.limits.max_pixels:
        raise wrong_field("width", f"width x height must be at most {world.limits.max_pixels} pixels")
    if not 1 <= spec.steps <= world.limits.max_steps:
        raise wrong_field("steps", f"must be between 1 and {world.limits.max_steps}, not {spec.steps}")
    if not 1 <= spec.count <= world.limits.max_count:
        raise wrong_field("count", f"must be between 1 and {world.limits.max_count}, not {spec.count}")


def _check_texts(spec: JobSpec) -> None:
    for field, prompt in (("prompt", spec.prompt), ("negative_prompt", spec.negative_prompt)):
        fault = fault_of_length(prompt, spec.long_prompt_technique)
        if fault is not None:
            raise wrong_field(field, fault)
    if spec.seed > MAX_INTEGER - (spec.count - 1):
        raise wrong_field("seed", f"seed + count - 1 must be at most {MAX_INTEGER}")


def _check_levels(spec: JobSpec) -> None:
    """Raises: InvalidField, if the scheduler cannot have the noise levels that its options ask for."""
    levels = spec.scheduler_config.get("timestep_spacing")
    problem = problem_with_levels(spec.scheduler, str(levels)) if levels in LEVELS else None
    if problem is not None:
        raise wrong_field("scheduler_config.timestep_spacing", problem)


def _check_inputs(spec: JobSpec) -> None:
    """Check that the input images fit together, and fit the controls that use them.

    Raises: InvalidField.
    """
    for n, kind in enumerate(spec.inputs):
        if kind in spec.inputs[:n]:
            raise wrong_field(kind, "sent twice: send one image")
    if InputKind.MASK in spec.inputs and InputKind.REFERENCE not in spec.inputs:
        raise wrong_field(InputKind.MASK, "requires a reference image")
    if spec.controls and InputKind.POSE not in spec.inputs:
        raise wrong_field(InputKind.POSE, "is required: controls need a pose image")
    if InputKind.POSE in spec.inputs and not spec.controls:
        problem = "is required for the pose image: the engine has no default control_net"
        raise wrong_field("controls", f"{problem}, and the job names no control_models")
    types = [control.control_type for control in spec.controls]
    for n, control in enumerate(spec.controls):
        if control.control_type in types[:n]:
            raise wrong_field(
                f"controls[{n}].type_pose",
                f"a second control of type {control.control_type}: keep one of them",
            )
        if not control.start < control.end:
            problem = f"must be greater than control_start ({control.start:g})"
            raise wrong_field(f"controls[{n}].control_end", problem)
