"""Ranges of numbers that make sense and that the database can store."""

from collections.abc import Sequence
from math import isfinite
from typing import Final

from kernel.protocol.errors import wrong_field
from kernel.protocol.ids import MAX_INTEGER
from kernel.protocol.model_refs import ControlUse, LoraUse
from kernel.protocol.prompts import fault_of_length
from kernel.protocol.specs import EngineSpec, JobSpec

MAX_LORA_WEIGHT: Final = 10.0
"""Far beyond what makes pictures: users go to about 2, sliders to about 8, in either direction."""
MAX_GUIDANCE_SCALE: Final = 100.0
"""Users go to about 30; beyond a few hundred half precision overflows, and every pixel is NaN."""
MAX_CONTROL_SCALE: Final = 10.0
MAX_CLIP_SKIP: Final = 12
"""The text encoder of SD has 12 layers."""
MAX_STEPS: Final = 10_000
MAX_SIDE_PX: Final = 16_384
MAX_REPLICAS: Final = 64
MAX_BATCH: Final = 1_024
MAX_QUALITY: Final = 100
CELL_PX: Final = 8
"""One latent stands for 8 x 8 pixels in every Stable Diffusion VAE."""
MAX_LIFE_S: Final = 3_155_760_000.0
"""A hundred years: what a clock in milliseconds is sure to hold."""
_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")
_COLOR_DIGITS: Final = 6


def check_priority(priority: int) -> None:
    """Raises: InvalidField."""
    if abs(priority) > MAX_INTEGER:
        raise wrong_field("priority", f"must be between -{MAX_INTEGER} and {MAX_INTEGER}")


def check_engine(spec: EngineSpec) -> None:
    """Raises: InvalidField."""
    _check_finite(spec)
    _check_guidance(spec)
    _check_clip_skip(spec.clip_skip)
    _check_loras(spec.loras)
    check_between("steps", spec.steps, 1, MAX_STEPS)
    _check_side("width", spec.width_px)
    _check_side("height", spec.height_px)
    check_between("keep_alive_s", spec.keep_alive_s, 0.0, MAX_LIFE_S)
    check_between("replicas", spec.replicas, 1, MAX_REPLICAS)
    check_between("max_batch", spec.max_batch, 1, MAX_BATCH)
    check_between("give_up_after_s", spec.give_up_after_s, 0.0, MAX_LIFE_S)


def check_option(field: str, value: float) -> None:
    """An option's number must fit into 64 bits, and into JSON, which knows neither infinity nor NaN.

    Raises: InvalidField.
    """
    if not isfinite(value):
        raise wrong_field(field, "must be a finite number")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise wrong_field(field, f"must be between -{MAX_INTEGER} and {MAX_INTEGER}")


def _check_side(field: str, size_px: int | None) -> None:
    check_between(field, size_px, 1, MAX_SIDE_PX)
    if size_px is not None and size_px % CELL_PX:
        raise wrong_field(field, f"must be a multiple of {CELL_PX}, not {size_px}")


def check_job(spec: JobSpec) -> None:
    """Raises: InvalidField."""
    _check_prompts(spec)
    _check_finite(spec)
    _check_guidance(spec)
    _check_seeds(spec)
    _check_clip_skip(spec.clip_skip)
    _check_loras(spec.loras)
    for n, use in enumerate(spec.controls):
        _check_control(f"controls[{n}]", use)
    # 0 is a value, as in other programs: the picture goes through the VAE, and is not painted over.
    check_between("quality", spec.quality, 0, MAX_QUALITY)
    check_between("strength", spec.strength, 0.0, 1.0)
    _check_color(spec.background_color)
    _check_life(spec)
    check_between("give_up_after_s", spec.give_up_after_s, 0.0, MAX_LIFE_S)


def _check_guidance(spec: EngineSpec | JobSpec) -> None:
    check_between("guidance_scale", spec.guidance_scale, 0.0, MAX_GUIDANCE_SCALE)


def _check_prompts(spec: JobSpec) -> None:
    for field, prompt in (("prompt", spec.prompt), ("negative_prompt", spec.negative_prompt)):
        fault = fault_of_length(prompt, spec.long_prompt_technique)
        if fault is not None:
            raise wrong_field(field, fault)


def _check_finite(spec: EngineSpec | JobSpec) -> None:
    """JSON knows neither infinity nor NaN, and specs are stored as JSON."""
    for name, value in spec.scheduler_config.items():
        if isinstance(value, float):
            check_option(f"scheduler_config.{name}", value)


def _check_seeds(spec: JobSpec) -> None:
    """Of the first picture and of the last."""
    if not 0 <= spec.seed <= MAX_INTEGER - (spec.count - 1):
        raise wrong_field("seed", f"must not be negative, and seed + count - 1 must be at most {MAX_INTEGER}")


def _check_clip_skip(clip_skip: int | None) -> None:
    if clip_skip is not None and not 1 <= clip_skip <= MAX_CLIP_SKIP:
        raise wrong_field("clip_skip", f"must be between 1 and {MAX_CLIP_SKIP}, not {clip_skip}")


def _check_loras(loras: Sequence[LoraUse]) -> None:
    for n, use in enumerate(loras):
        check_between(f"loras[{n}].weight", use.weight, -MAX_LORA_WEIGHT, MAX_LORA_WEIGHT)


def _check_control(field: str, use: ControlUse) -> None:
    check_between(f"{field}.scale", use.scale, 0.0, MAX_CONTROL_SCALE)
    check_between(f"{field}.start", use.start, 0.0, 1.0)
    check_between(f"{field}.end", use.end, 0.0, 1.0)
    if not use.start < use.end:
        raise wrong_field(f"{field}.end", f"must be greater than the control's start ({use.start:g})")


def check_between(field: str, value: float | None, least: float, most: float) -> None:
    """NaN lies between nothing; nothing is wrong with what is left out.

    Raises: InvalidField.
    """
    if value is not None and not least <= value <= most:
        raise wrong_field(field, f"must be between {least:g} and {most:g}, not {value:g}")


def _check_color(color: str) -> None:
    digits = color.removeprefix("#")
    if not color.startswith("#") or len(digits) != _COLOR_DIGITS or not _HEX_DIGITS.issuperset(digits):
        raise wrong_field("background_color", "must be a color written #rrggbb, such as #ffffff for white")


def _check_life(spec: JobSpec) -> None:
    """How long the images of a job stay, if the job says so."""
    life_s, downloads = spec.expire_after_s, spec.delete_after_downloads
    if life_s is not None and not 0.0 < life_s <= MAX_LIFE_S:
        raise wrong_field(
            "expire_after_s", f"must be greater than 0 and at most {MAX_LIFE_S:g}, not {life_s:g}"
        )
    if downloads is not None and not 1 <= downloads <= MAX_INTEGER:
        raise wrong_field("delete_after_downloads", f"must be between 1 and {MAX_INTEGER}, not {downloads}")
