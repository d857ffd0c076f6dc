"""Specs of jobs and engines, and how the version of each schema wrote them into the database."""

from typing import Any, Final

import msgspec
from hypothesis import strategies as st
from msgspec.structs import replace

from kernel.protocol.enums import (
    ControlType,
    ImageFileType,
    ImageFit,
    InputKind,
    PromptTechnique,
    Scheduler,
    Variant,
)
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import OWN_VAE, Control, LoraUse
from kernel.protocol.specs import EngineSpec, JobSpec

Json = dict[str, Any]

WITH_MODELS: Final = 2
"""The first schema whose specs name models beside the checkpoint, input images and control maps."""
WITH_PATIENCE: Final = 8
"""The first one with `give_up_after_s`."""
WITH_ONE_NAME: Final = 9
"""The first one with the names of the REST API (ADR 0046); it is that of 0.2.0."""

OF_FIRST_JOBS: Final = (
    "prompt", "negative_prompt", "seed", "count", "steps", "guidance_scale", "width_px", "height_px",
    "scheduler", "scheduler_config", "image_file_type", "quality",
)  # fmt: skip
OF_FIRST_ENGINES: Final = (
    "name", "checkpoint", "scheduler", "scheduler_config", "steps", "guidance_scale", "width_px", "height_px",
    "device", "dtype", "autostart", "keep_alive_s", "replicas", "max_batch",
)  # fmt: skip
SINCE_0_2: Final = (
    "guidance_rescale", "eta", "lora_tags", "mask_mode", "mask_blur", "inpaint_area", "inpaint_padding",
    "inpaint_fill",
)  # fmt: skip
OLD_NAMES: Final = {
    "cfg": "guidance_scale", "width": "width_px", "height": "height_px",
    "remove_background_models": "remove_background",
}  # fmt: skip
OLD_NAMES_OF_A_CONTROL: Final = {
    "type_pose": "control_type", "control_scale": "scale", "control_start": "start", "control_end": "end",
    "preprocessed": "is_preprocessed",
}  # fmt: skip
TEXTS: Final = st.text(max_size=20)
MODELS: Final = st.sampled_from(["m1", "m2", "m3"]).map(ModelId)
FRACTIONS: Final = st.floats(0, 1)
SIDES: Final = st.integers(8, 1024).map(lambda side: 8 * side)
OPTIONS: Final = st.dictionaries(
    TEXTS,
    st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    max_size=3,
)
LORAS: Final = st.lists(st.builds(LoraUse, model_id=MODELS, weight=st.floats(-10, 10)), max_size=2).map(tuple)
LISTS: Final = st.lists(MODELS, max_size=3).map(tuple)
CONTROLS: Final = st.builds(
    Control,
    control_type=st.sampled_from(ControlType),
    control_model=MODELS,
    scale=st.floats(0, 10),
    start=FRACTIONS,
    end=FRACTIONS,
    is_preprocessed=st.booleans(),
)
SPECS_OF_JOBS: Final = st.builds(
    JobSpec,
    prompt=TEXTS,
    negative_prompt=TEXTS,
    loras=LORAS,
    embeddings=LISTS,
    vae=MODELS | st.just(OWN_VAE),
    long_prompt_technique=st.sampled_from(PromptTechnique),
    clip_skip=st.none() | st.integers(1, 12),
    inputs=st.lists(st.sampled_from(InputKind), unique=True).map(tuple),
    strength=FRACTIONS,
    image_fit=st.sampled_from(ImageFit),
    controls=st.lists(CONTROLS, max_size=2).map(tuple),
    remove_background=LISTS,
    background_color=st.sampled_from(["#102030", "#ffffff"]),
    previews=st.booleans(),
    expire_after_s=st.none() | st.floats(0.001, 3e9),
    delete_after_downloads=st.none() | st.integers(1, 2**63 - 1),
    give_up_after_s=st.none() | st.floats(0, 3e9),
    seed=st.integers(0, 2**63 - 1),
    count=st.integers(1, 10_000),
    steps=st.integers(1, 10_000),
    guidance_scale=st.floats(0, 100),
    width_px=SIDES,
    height_px=SIDES,
    scheduler=st.sampled_from(Scheduler),
    scheduler_config=OPTIONS,
    image_file_type=st.sampled_from(ImageFileType),
    quality=st.integers(1, 100),
)
SPECS_OF_ENGINES: Final = st.builds(
    EngineSpec,
    name=st.none() | st.text(min_size=1, max_size=9),
    checkpoint=MODELS,
    vae=MODELS | st.just(OWN_VAE),
    loras=LORAS,
    embeddings=LISTS,
    control_models=LISTS,
    control_net=st.none() | st.sampled_from(ControlType),
    long_prompt_technique=st.sampled_from(PromptTechnique),
    clip_skip=st.none() | st.integers(1, 12),
    scheduler=st.sampled_from(Scheduler),
    scheduler_config=OPTIONS,
    steps=st.integers(1, 10_000),
    guidance_scale=st.floats(0, 100),
    width_px=st.none() | SIDES,
    height_px=st.none() | SIDES,
    device=st.sampled_from(["auto", "cpu", "cuda:0"]),
    dtype=st.none() | st.sampled_from(Variant),
    autostart=st.booleans(),
    keep_alive_s=st.none() | st.floats(0, 1e6),
    give_up_after_s=st.none() | st.floats(0, 3e9),
    replicas=st.integers(1, 4),
    max_batch=st.none() | st.integers(1, 64),
)

SAYING_NOTHING: Final[Json] = {"strength": 0.75, "image_fit": "crop", "background_color": "#ffffff"}
"""What was written before ADR 0046 where a value has no effect."""


def as_written(spec: JobSpec | EngineSpec, schema: int) -> str:
    """JSON of a spec that has only values which that schema's version knew."""
    values: Json = msgspec.to_builtins(spec)
    for name in SINCE_0_2:
        values.pop(name, None)
    if schema < WITH_ONE_NAME:
        values = {OLD_NAMES.get(name, name): value for name, value in values.items()}
        values["vae"] = None if values["vae"] == OWN_VAE else values["vae"]
        if isinstance(spec, JobSpec):
            values |= _of_an_old_job(values)
    if schema < WITH_PATIENCE:
        del values["give_up_after_s"]
    if schema < WITH_MODELS:
        known = OF_FIRST_JOBS if isinstance(spec, JobSpec) else OF_FIRST_ENGINES
        values = {name: values[name] for name in known}
    return msgspec.json.encode(values).decode()


def _of_an_old_job(values: Json) -> Json:
    controls = values["controls"]
    told = {name: values[name] for name in SAYING_NOTHING if values[name] is not None}
    return {
        **SAYING_NOTHING,
        **told,
        "control_models": [control["control_model"] for control in controls],
        "controls": [
            {old: control[name] for name, old in OLD_NAMES_OF_A_CONTROL.items()} for control in controls
        ],
    }


def known_to(schema: int, spec: JobSpec) -> JobSpec:
    """The job without what that schema's version could not say, or left out as it has no effect."""
    if schema < WITH_PATIENCE:
        spec = replace(spec, give_up_after_s=None)
    if schema < WITH_MODELS:
        spec = JobSpec(
            **{name: getattr(spec, name) for name in OF_FIRST_JOBS},
            long_prompt_technique=PromptTechnique.NONE,
        )
    has_background = len(spec.remove_background) > (0 if spec.image_file_type is ImageFileType.JPEG else 1)
    return replace(
        spec,
        strength=spec.strength if InputKind.REFERENCE in spec.inputs else None,
        image_fit=spec.image_fit if spec.inputs else None,
        background_color=spec.background_color if has_background else None,
    )


def engine_known_to(schema: int, spec: EngineSpec) -> EngineSpec:
    """The same for an engine."""
    if schema < WITH_PATIENCE:
        spec = replace(spec, give_up_after_s=None)
    if schema < WITH_MODELS:
        spec = EngineSpec(
            **{name: getattr(spec, name) for name in OF_FIRST_ENGINES},
            long_prompt_technique=PromptTechnique.NONE,
        )
    return spec
