"""Checks the scheduler of a diffusers folder: its noise must be what the sampler removes."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.type_info import analyzed

_FAMILIES: Final = (
    "DDIM", "DDPM", "PNDM", "LMSDiscrete", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete",
    "KDPM2", "DPMSolver", "DEIS", "UniPC", "LCM", "TCD", "SASolver", "IPNDM",
)  # fmt: skip
"""How the names of schedulers begin whose noise follows a schedule of betas, as that of SD and SDXL does."""
_OTHER_NOISE: Final = {"EDM": "EDM noise", "FlowMatch": "flow matching", "CosineDPM": "EDM noise"}
_Beta = Annotated[float, Meta(gt=0, lt=1)]
_Number = float | None
_TRAINED: Final = 1000


class _Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options that belong to a checkpoint's training, with the types of diffusers' schedulers."""

    class_name: str | None = msgspec.field(default=None, name="_class_name")
    num_train_timesteps: Annotated[int, Meta(ge=1, le=10_000)] = _TRAINED
    beta_start: _Beta = 0.0001
    beta_end: _Beta = 0.02
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    trained_betas: tuple[_Beta, ...] | None = None
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    rescale_betas_zero_snr: bool = False
    timestep_spacing: Literal["leading", "trailing", "linspace"] = "leading"
    steps_offset: Annotated[int, Meta(ge=0, le=1000)] = 0
    set_alpha_to_one: bool = True
    clip_sample: bool = False
    clip_sample_range: float = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: float = 0.995
    sample_max_value: float = 1.0
    lambda_min_clipped: _Number = None
    sigma_min: _Number = None
    sigma_max: _Number = None
    timestep_type: Literal["discrete"] = "discrete"
    use_flow_sigmas: Literal[False] | None = False
    original_inference_steps: Annotated[int, Meta(ge=1)] | None = None
    timestep_scaling: float = 10.0


def check_scheduler(in_index: str | None, config: Mapping[str, object]) -> str | None:
    """Check the scheduler's class, as model_index.json and its own configuration name it, and its options.

    Returns: what the UNet predicts; None if the configuration does not tell.
    Raises: ModelUnreadable, if the checkpoint was trained on another kind of noise, or an option is invalid.
    """
    for name in (in_index, config.get("_class_name")):
        _check_class(name)
    for option, value in (("timestep_type", "continuous"), ("use_flow_sigmas", True)):
        if config.get(option) == value:
            raise _other_noise(f"{option} is {value}")
    if config.get("prediction_type") not in (None, "epsilon", "v_prediction") and isinstance(
        config.get("prediction_type"), str
    ):
        raise _other_noise(f"prediction_type is {config['prediction_type']!r:.40}")
    try:
        options = msgspec.convert(without_nulls(config), analyzed(_Options))
    except msgspec.ValidationError as error:
        raise ModelUnreadable(f"scheduler/scheduler_config.json is invalid: {error}") from error
    betas = options.trained_betas
    if betas is not None and len(betas) != options.num_train_timesteps:
        raise ModelUnreadable(
            f"scheduler/scheduler_config.json is invalid: trained_betas has {len(betas)} numbers for "
            f"{options.num_train_timesteps} timesteps"
        )
    return options.prediction_type if "prediction_type" in config else None


def _check_class(name: object) -> None:
    if name is None:
        return
    for beginning, what in _OTHER_NOISE.items():
        if isinstance(name, str) and name.startswith(beginning):
            raise _other_noise(f"its scheduler {name:.60} is for {what}")
    if not isinstance(name, str) or not name.startswith(_FAMILIES):
        raise _other_noise(f"its scheduler is {name!r:.60}")


def _other_noise(reason: str) -> ModelUnreadable:
    return ModelUnreadable(
        f"this checkpoint was trained on another kind of noise ({reason}): only those with a schedule of "
        "betas and epsilon or v prediction, as SD 1.5 and SDXL, are supported"
    )


def without_nulls(config: Mapping[str, object]) -> dict[str, object]:
    """A configuration without options that are null, which mean their default."""
    return {name: value for name, value in config.items() if value is not None}
