"""The one table of schedulers: users' names, diffusers' classes, and other tools' names.

It imports no torch, so that the API can read other tools' names with it and the engine can build the
schedulers. A name is a sampler's, optionally followed by that of a spacing of the noise levels: every sampler
whose class has the spacing options has all of these names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from kernel.protocol.enums import Scheduler
from kernel.protocol.specs import SchedulerConfig


@dataclass(frozen=True, slots=True)
class Spacing:
    """The spacing of the noise levels, if it is not that of the checkpoint's timesteps."""

    option: str
    """The name of diffusers' option."""
    label: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SchedulerKind:
    """What a name stands for, apart from the checkpoint's own properties."""

    class_name: str
    """In diffusers."""
    label: str
    """The sampler's name in the infotext of Stable Diffusion tools."""
    others: tuple[str, ...] = ()
    """Other names for it."""
    options: SchedulerConfig = field(default_factory=dict)
    """Options that differ from the class's defaults."""
    spacing: Spacing | None = None


SPACINGS: Final[Mapping[str, Spacing]] = {
    "karras": Spacing("use_karras_sigmas", "Karras", ("k",)),
    "exponential": Spacing("use_exponential_sigmas", "Exponential", ("exp",)),
    "beta": Spacing("use_beta_sigmas", "Beta"),
}

_MULTISTEP: Final = "DPMSolverMultistepScheduler"
_ORDER_2: Final[SchedulerConfig] = {"algorithm_type": "dpmsolver++", "solver_order": 2}
# Without the last one, diffusers sets it anyway, with two warnings per image.
_SINGLE_2: Final[SchedulerConfig] = {**_ORDER_2, "lower_order_final": True}
_SDE_2: Final[SchedulerConfig] = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}
_SDE_3: Final[SchedulerConfig] = {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}


TAKES_ETA: Final = frozenset({"DDIMScheduler", "TCDScheduler"})
"""The classes whose steps add as much noise as `eta` says; in TCD's paper (arXiv 2402.19159) it is gamma."""


def _kind(class_name: str, label: str, *others: str, options: SchedulerConfig | None = None) -> SchedulerKind:
    return SchedulerKind(class_name, label, others, options or {})


# Labels are the web interface's names; then come those of ComfyUI and k-diffusion, then of diffusers. A class
# that implements several samplers is the plainest of them.
_SPACED: Final[Mapping[Scheduler, SchedulerKind]] = {
    Scheduler.EULER: _kind("EulerDiscreteScheduler", "Euler", "k_euler", "EulerDiscreteScheduler"),
    Scheduler.HEUN: _kind("HeunDiscreteScheduler", "Heun", "k_heun", "HeunDiscreteScheduler"),
    Scheduler.DPM2: _kind("KDPM2DiscreteScheduler", "DPM2", "dpm_2", "k_dpm_2", "KDPM2DiscreteScheduler"),
    Scheduler.DPM2_A: _kind(
        "KDPM2AncestralDiscreteScheduler", "DPM2 a",
        "dpm_2_ancestral", "k_dpm_2_a", "k_dpm_2_ancestral", "KDPM2AncestralDiscreteScheduler",
    ),
    Scheduler.LMS: _kind("LMSDiscreteScheduler", "LMS", "k_lms", "LMSDiscreteScheduler"),
    Scheduler.DPMPP_2S: _kind(
        "DPMSolverSinglestepScheduler", "DPM++ 2S", "DPMSolverSinglestepScheduler", options=_SINGLE_2
    ),
    Scheduler.DPMPP_2M: _kind(
        _MULTISTEP, "DPM++ 2M", "k_dpmpp_2m", _MULTISTEP, "DPMSolver++", options=_ORDER_2
    ),
    Scheduler.DPMPP_SDE: _kind(
        "DPMSolverSDEScheduler", "DPM++ SDE", "dpmpp_sde_gpu", "DPMSolverSDEScheduler"
    ),
    Scheduler.DPMPP_2M_SDE: _kind(_MULTISTEP, "DPM++ 2M SDE", "dpmpp_2m_sde_gpu", options=_SDE_2),
    Scheduler.DPMPP_3M_SDE: _kind(_MULTISTEP, "DPM++ 3M SDE", "dpmpp_3m_sde_gpu", options=_SDE_3),
    Scheduler.DEIS: _kind("DEISMultistepScheduler", "DEIS", "DEISMultistepScheduler"),
    Scheduler.UNIPC: _kind(
        "UniPCMultistepScheduler", "UniPC", "uni_pc", "uni_pc_bh2", "UniPCMultistepScheduler"
    ),
}  # fmt: skip
_PLAIN: Final[Mapping[Scheduler, SchedulerKind]] = {
    Scheduler.EULER_A: _kind(
        "EulerAncestralDiscreteScheduler", "Euler a",
        "euler_ancestral", "k_euler_a", "k_euler_ancestral", "EulerAncestralDiscreteScheduler",
    ),
    # Without the Runge-Kutta warm-up steps, as PLMS is implemented elsewhere.
    Scheduler.PNDM: _kind("PNDMScheduler", "PLMS", "PNDMScheduler", options={"skip_prk_steps": True}),
    Scheduler.DDIM: _kind("DDIMScheduler", "DDIM", "DDIMScheduler"),
    Scheduler.DDPM: _kind("DDPMScheduler", "DDPM", "DDPMScheduler"),
    Scheduler.LCM: _kind("LCMScheduler", "LCM", "LCMScheduler"),
    Scheduler.TCD: _kind("TCDScheduler", "TCD", "TCDScheduler"),
}  # fmt: skip


def _all_kinds() -> Iterator[tuple[Scheduler, SchedulerKind]]:
    for word, kind in _SPACED.items():
        yield word, kind
        for ending, spacing in SPACINGS.items():
            yield Scheduler(f"{word}_{ending}"), _spaced(kind, spacing)
    yield from _PLAIN.items()


def _spaced(kind: SchedulerKind, spacing: Spacing) -> SchedulerKind:
    names, ends = (kind.label, *kind.others), (spacing.label, *spacing.others)
    label, *others = (f"{name} {end}" for end in ends for name in names)
    options = {**kind.options, spacing.option: True}
    return SchedulerKind(kind.class_name, label, tuple(others), options, spacing)


KINDS: Final[Mapping[Scheduler, SchedulerKind]] = dict(_all_kinds())
SAMPLERS: Final = tuple(word for word, kind in KINDS.items() if kind.spacing is None)
"""Each sampler once, with the noise levels of the checkpoint's timesteps."""

LEVELS: Final[Mapping[str, tuple[str, ...]]] = {
    "normal": ("uniform",),
    "simple": (),
    "sgm_uniform": (),
    "ddim_uniform": ("ddim",),
}
"""Spacings of the noise levels that ComfyUI has and diffusers lacks, with A1111's other names: values of the
option `timestep_spacing`, and after a sampler's name a spelling of both."""
_NEAREST_SPACINGS: Final[Mapping[str, str]] = {
    "normal": "linspace",
    "simple": "trailing",
    "sgm_uniform": "trailing",
    "ddim_uniform": "leading",
}
TAKES_LEVELS: Final = frozenset(
    kind.class_name
    for word, kind in {**_SPACED, **_PLAIN}.items()
    # DEIS would end at the lowest level instead of 0.
    if word is Scheduler.EULER_A or (word in _SPACED and word is not Scheduler.DEIS)
)
"""The classes that can follow any noise levels."""


_OWN_TIMESTEPS: Final = frozenset({"LCMScheduler", "TCDScheduler"})


def problem_with_levels(scheduler: Scheduler, levels: str) -> str | None:
    """Why a scheduler cannot have these noise levels of LEVELS; None if it can.

    DDIM, DDPM and PNDM step between evenly spaced timesteps, which `ddim_uniform` is.
    """
    class_name = KINDS[scheduler].class_name
    is_even = levels == "ddim_uniform" and scheduler in (Scheduler.DDIM, Scheduler.DDPM, Scheduler.PNDM)
    if class_name in TAKES_LEVELS or is_even:
        return None
    if class_name in _OWN_TIMESTEPS:
        return f"{scheduler} has noise levels of its own: omit {levels}"
    nearest = _NEAREST_SPACINGS[levels]
    return f"{scheduler} cannot have the noise levels {levels}: the closest timestep_spacing is {nearest}"


AUTOMATIC: Final[Mapping[Scheduler, str]] = {
    Scheduler.DPMPP_2M: "Karras",
    Scheduler.DPMPP_SDE: "Karras",
    Scheduler.DPMPP_2M_SDE: "Exponential",
    Scheduler.DPMPP_3M_SDE: "Exponential",
    Scheduler.DPM2: "Karras",
    Scheduler.DPM2_A: "Karras",
}
"""The schedule type that A1111's "Automatic" stands for, since its version 1.9; for other samplers it stands
for the noise levels of the checkpoint's timesteps."""
SCHEDULE_TYPES: Final[Mapping[str, str]] = {
    "normal": "Normal",
    "simple": "Simple",
    "sgm_uniform": "SGM Uniform",
    "ddim_uniform": "DDIM",
}
"""A1111's names for LEVELS."""


def names_of_a1111(scheduler: Scheduler, options: SchedulerConfig) -> tuple[str, str]:
    """The sampler and the schedule type of a scheduler with these options, as A1111's infotexts name them."""
    kind = KINDS[scheduler]
    if kind.spacing is not None:
        return kind.label.removesuffix(f" {kind.spacing.label}"), kind.spacing.label
    levels = SCHEDULE_TYPES.get(str(options.get("timestep_spacing")))
    return kind.label, levels or ("Uniform" if scheduler in AUTOMATIC else "Automatic")


NEAREST: Final[Mapping[str, tuple[Scheduler, ...]]] = {
    "DPM++ 2S a": (Scheduler.DPMPP_2S, Scheduler.DPM2_A),
    "DPM++ 2S a Karras": (Scheduler.DPMPP_2S_KARRAS, Scheduler.DPM2_A_KARRAS),
    "dpmpp_2s_ancestral": (Scheduler.DPMPP_2S, Scheduler.DPM2_A),
    "dpmpp_2s_ancestral karras": (Scheduler.DPMPP_2S_KARRAS, Scheduler.DPM2_A_KARRAS),
    "DPM fast": (Scheduler.DPMPP_2S,),
    "DPM adaptive": (Scheduler.DPMPP_2M, Scheduler.DPMPP_2S),
    "DPM++ 2M SDE Heun": (Scheduler.DPMPP_2M_SDE,),
    "Restart": (Scheduler.HEUN,),
    "heunpp2": (Scheduler.HEUN,),
    "ipndm": (Scheduler.DEIS, Scheduler.LMS),
    "ipndm_v": (Scheduler.DEIS, Scheduler.LMS),
    "res_multistep": (Scheduler.DPMPP_2M, Scheduler.UNIPC),
}
"""Other tools' names for samplers that diffusers lacks, with the nearest of ours: for 2S a the same solver
without fresh noise, and another one with it; for the others solvers of the same kind and order."""
