"""Resolves the values of a job: its own, else the engine's, else the checkpoint's. All are checked."""

from typing import Final, TypeVar

from kernel.core.rows import EngineRow
from kernel.core.state import model_refs
from kernel.core.state.world import World
from kernel.core.validation import number_ranges
from kernel.protocol.enums import InputKind, ModelBase
from kernel.protocol.errors import wrong_field
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import OWN_VAE, ControlUse
from kernel.protocol.specs import EngineSpec, JobRequest, JobSpec, SchedulerConfig

T = TypeVar("T")
NATIVE_SIZES_PX: Final = {ModelBase.SD: 512, ModelBase.SDXL: 1024}


def resolve(world: World, request: JobRequest, engine: EngineRow) -> JobSpec:
    """A job with every value decided, and checked. 0 is a value; an empty list means none.

    Raises: InvalidField; ModelMissing, WrongModelType, ModelNotReady, WrongModelBase.
    """
    checkpoint = world.models[engine.spec.checkpoint]
    native_size_px = checkpoint.native_size_px or NATIVE_SIZES_PX[checkpoint.model_base or ModelBase.SD]
    seed = world.id_source.seed() if request.seed is None else request.seed
    controls = _controls(request, engine.spec)
    control_models = model_refs.control_models(world, engine.spec, controls)
    spec = _filled_in(request, engine.spec, native_size_px, seed, controls, control_models)
    _check_size(world, spec)
    number_ranges.check_job(spec)
    _check_pictures(spec)
    model_refs.check_job(world, spec, checkpoint.model_base)
    return spec


def _controls(request: JobRequest, default: EngineSpec) -> tuple[ControlUse, ...]:
    """A pose image of which the job says nothing is what the engine's `control_net` says."""
    if request.controls or InputKind.POSE not in request.inputs or default.control_net is None:
        return request.controls
    return (ControlUse(control_type=default.control_net),)


def _filled_in(
    request: JobRequest,
    default: EngineSpec,
    native_size_px: int,
    seed: int,
    controls: tuple[ControlUse, ...],
    control_models: tuple[ModelId, ...],
) -> JobSpec:
    return JobSpec(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        loras=_first(request.loras, default.loras),
        embeddings=_first(request.embeddings, default.embeddings),
        vae=_vae(request.vae, default.vae),
        long_prompt_technique=default.long_prompt_technique,
        clip_skip=_first(request.clip_skip, default.clip_skip),
        inputs=request.inputs,
        image_fit=request.image_fit,
        strength=request.strength,
        controls=controls,
        control_models=control_models,
        remove_background=request.remove_background,
        background_color=request.background_color,
        previews=request.previews,
        expire_after_s=request.expire_after_s,
        delete_after_downloads=request.delete_after_downloads,
        give_up_after_s=_first(request.give_up_after_s, default.give_up_after_s),
        seed=seed,
        count=request.count,
        steps=_first(request.steps, default.steps),
        guidance_scale=_first(request.guidance_scale, default.guidance_scale),
        width_px=_first(request.width_px, _first(default.width_px, native_size_px)),
        height_px=_first(request.height_px, _first(default.height_px, native_size_px)),
        scheduler=_first(request.scheduler, default.scheduler),
        scheduler_config=_scheduler_config(request, default),
        image_file_type=request.image_file_type,
        quality=request.quality,
    )


def _scheduler_config(request: JobRequest, default: EngineSpec) -> SchedulerConfig:
    """The engine's options are those of its scheduler: another one may not even know them."""
    if request.scheduler_config is None and request.scheduler not in (None, default.scheduler):
        return {}
    return _first(request.scheduler_config, default.scheduler_config)


def _vae(asked: ModelId | None, default: ModelId | None) -> ModelId | None:
    """None: the checkpoint's own, because neither names another one or because the job wants it back."""
    return None if asked == OWN_VAE else _first(asked, default)


def _first(value: T | None, default: T) -> T:
    return default if value is None else value


def _check_size(world: World, spec: JobSpec) -> None:
    for field, size_px in (("width", spec.width_px), ("height", spec.height_px)):
        if size_px <= 0 or size_px % number_ranges.CELL_PX:
            raise wrong_field(field, f"must be a positive multiple of {number_ranges.CELL_PX}, not {size_px}")
    if spec.width_px * spec.height_px > world.limits.max_pixels:
        raise wrong_field("width", f"width x height must be at most {world.limits.max_pixels} pixels")
    if not 1 <= spec.steps <= world.limits.max_steps:
        raise wrong_field("steps", f"must be between 1 and {world.limits.max_steps}, not {spec.steps}")
    if not 1 <= spec.count <= world.limits.max_count:
        raise wrong_field("count", f"must be between 1 and {world.limits.max_count}, not {spec.count}")


def _check_pictures(spec: JobSpec) -> None:
    """Do the pictures that come along, and the controls that work on one of them, make sense together?"""
    for n, kind in enumerate(spec.inputs):
        if kind in spec.inputs[:n]:
            raise wrong_field(kind, "sent twice: send one image")
    if InputKind.MASK in spec.inputs and InputKind.REFERENCE not in spec.inputs:
        raise wrong_field(InputKind.MASK, "requires a reference image")
    if spec.controls and InputKind.POSE not in spec.inputs:
        raise wrong_field(InputKind.POSE, "is required: controls need a pose image")
    if InputKind.POSE in spec.inputs and not spec.controls:
        raise wrong_field("controls", "is required for the pose image: the engine has no default control_net")
    types = [use.control_type for use in spec.controls]
    for n, control_type in enumerate(types):
        if control_type in types[:n]:
            raise wrong_field(
                f"controls[{n}].control_type", f"a second control of type {control_type}: keep one of them"
            )
