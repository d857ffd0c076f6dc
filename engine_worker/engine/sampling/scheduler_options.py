"""Merges a scheduler's options from checkpoint, scheduler name and job."""

import inspect
from collections.abc import Mapping
from typing import Final

import diffusers

from engine_worker.formats.checkpoint_layout import Config
from kernel.protocol.enums import Scheduler
from kernel.protocol.errors import JobRejected
from kernel.protocol.schedulers import KINDS, LEVELS, SPACINGS, TAKES_LEVELS, problem_with_levels
from kernel.protocol.specs import JobSpec, SchedulerConfig

Options = Mapping[str, object]
"""By diffusers' names, for the class of the scheduler."""

# Options that belong to the checkpoint's training or distillation. The others describe the scheduler that it
# happened to be saved with, and would change the meaning of another scheduler's name.
_OF_THE_CHECKPOINT: Final = frozenset(
    {
        "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas",
        "prediction_type", "rescale_betas_zero_snr", "timestep_spacing", "steps_offset",
        "set_alpha_to_one", "lambda_min_clipped", "clip_sample", "clip_sample_range",
        "thresholding", "dynamic_thresholding_ratio", "sample_max_value", "sigma_min", "sigma_max",
        "timestep_type", "use_flow_sigmas", "flow_shift", "original_inference_steps",
        "timestep_scaling",
    }
)  # fmt: skip
_SPACING: Final = "timestep_spacing"
_FLAGS_OF_NAMES: Final = frozenset(spacing.option for spacing in SPACINGS.values())
_FLAGS: Final = _FLAGS_OF_NAMES | {"use_lu_lambdas", "use_flow_sigmas"}
"""Options that define the spacing of noise levels, of which at most one may be set."""

# No sensible value comes near it; beyond it, some options would allocate huge tables.
_LARGEST_OPTION: Final = 10_000


def settle(spec: JobSpec, checkpoint_config: Config, seed: int) -> Options:
    """Merge options: the job's over those of the scheduler's name, over the checkpoint's own.

    Raises: JobRejected, if the scheduler has no such option, or supports fewer steps.
    """
    known, levels = _known(spec.scheduler), levels_of(spec)
    problem = None if levels is None else problem_with_levels(spec.scheduler, levels)
    if problem is not None:
        raise JobRejected(f"scheduler_config: {problem}")
    _check_options(spec.scheduler, spec.scheduler_config, {*known, *(() if levels is None else (_SPACING,))})
    own = {name: value for name, value in checkpoint_config.items() if name in _OF_THE_CHECKPOINT}
    # An absent `clip_sample` would mean the default of its class, and clipping ruins latents.
    defaults = {"clip_sample": False, "noise_sampler_seed": seed}
    given = {**defaults, **own, **_named(spec), **spec.scheduler_config}
    if (
        levels is not None
    ):  # where noise_levels.py does not set them, they are those of evenly spaced timesteps
        is_set = KINDS[spec.scheduler].class_name in TAKES_LEVELS
        given |= {_SPACING: "trailing"} if is_set else {_SPACING: "leading", "steps_offset": 1}
    options = {name: value for name, value in given.items() if name in known}
    _check_steps(spec, {**known, **options})
    return options


def levels_of(spec: JobSpec) -> str | None:
    """The noise levels that a job asks for by a name that diffusers does not know (noise_levels.py)."""
    levels = spec.scheduler_config.get(_SPACING)
    return levels if isinstance(levels, str) and levels in LEVELS else None


def _known(scheduler: Scheduler) -> dict[str, object]:
    """All options of the class, with their defaults."""
    parameters = inspect.signature(getattr(diffusers, KINDS[scheduler].class_name).__init__).parameters
    return {name: one.default for name, one in parameters.items() if name != "self"}


def _named(spec: JobSpec) -> SchedulerConfig:
    """The options of the scheduler's name. If the job sets another spacing of the noise levels, that of the
    name is dropped."""
    options = KINDS[spec.scheduler].options
    if levels_of(spec) is None and not any(spec.scheduler_config.get(flag) for flag in _FLAGS):
        return options
    return {name: value for name, value in options.items() if name not in _FLAGS_OF_NAMES}


def _check_options(name: Scheduler, options: SchedulerConfig, known: set[str]) -> None:
    unknown = sorted(set(options) - known)
    if unknown:
        raise JobRejected(f"scheduler_config: {name} has no option {', '.join(unknown)}")
    for option, value in options.items():
        if not isinstance(value, str) and not abs(value) <= _LARGEST_OPTION:
            raise JobRejected(f"scheduler_config: {option} is out of range: {value}")


def _check_steps(spec: JobSpec, options: Options) -> None:
    """Beyond the timesteps that the checkpoint was trained or distilled on, steps would change nothing."""
    trained, distilled = options.get("num_train_timesteps"), options.get("original_inference_steps")
    if isinstance(trained, int) and spec.steps > trained:
        raise JobRejected(
            f"steps: must be at most {trained}, the checkpoint's training timesteps, not {spec.steps}"
        )
    if isinstance(distilled, int) and 0 < distilled < spec.steps:
        raise JobRejected(
            f"steps: must be at most {distilled} with {spec.scheduler} (its original_inference_steps), not "
            f"{spec.steps}: use fewer steps, or another scheduler"
        )
