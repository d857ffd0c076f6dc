"""The one table of schedulers: users' names, what they are in diffusers, and what other tools call them.

It stands here, without a line of torch, so that the API can read the names of others with it and the engine
can build what they stand for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from kernel.protocol.specs import SchedulerConfig
from kernel.protocol.vocabulary import Scheduler


@dataclass(frozen=True, slots=True)
class SchedulerKind:
    """What a name stands for."""

    class_name: str
    """In diffusers."""
    label: str
    """The name of the sampler in the recipes that Stable Diffusion tools write and read."""
    options: SchedulerConfig = field(default_factory=dict)


_MULTISTEP: Final = "DPMSolverMultistepScheduler"
# What DPM++ 2S is set to anyway by diffusers, with two warnings a picture.
_LOWER_ORDER_FINAL: Final[SchedulerConfig] = {"lower_order_final": True}
_KARRAS: Final[SchedulerConfig] = {"use_karras_sigmas": True}
_EXPONENTIAL: Final[SchedulerConfig] = {"use_exponential_sigmas": True}
_BETA: Final[SchedulerConfig] = {"use_beta_sigmas": True}
_SDE: Final[SchedulerConfig] = {"algorithm_type": "sde-dpmsolver++"}
_SDE_3: Final[SchedulerConfig] = {**_SDE, "solver_order": 3}


def _kind(class_name: str, label: str, *options: SchedulerConfig) -> SchedulerKind:
    merged = {name: value for option in options for name, value in option.items()}
    return SchedulerKind(class_name, label, merged)


KINDS: Final[Mapping[Scheduler, SchedulerKind]] = {
    Scheduler.EULER: _kind("EulerDiscreteScheduler", "Euler"),
    Scheduler.EULER_KARRAS: _kind("EulerDiscreteScheduler", "Euler Karras", _KARRAS),
    Scheduler.EULER_BETA: _kind("EulerDiscreteScheduler", "Euler Beta", _BETA),
    Scheduler.EULER_A: _kind("EulerAncestralDiscreteScheduler", "Euler a"),
    Scheduler.HEUN: _kind("HeunDiscreteScheduler", "Heun"),
    Scheduler.HEUN_KARRAS: _kind("HeunDiscreteScheduler", "Heun Karras", _KARRAS),
    Scheduler.DPM2: _kind("KDPM2DiscreteScheduler", "DPM2"),
    Scheduler.DPM2_KARRAS: _kind("KDPM2DiscreteScheduler", "DPM2 Karras", _KARRAS),
    Scheduler.DPM2_A: _kind("KDPM2AncestralDiscreteScheduler", "DPM2 a"),
    Scheduler.DPM2_A_KARRAS: _kind("KDPM2AncestralDiscreteScheduler", "DPM2 a Karras", _KARRAS),
    Scheduler.LMS: _kind("LMSDiscreteScheduler", "LMS"),
    Scheduler.LMS_KARRAS: _kind("LMSDiscreteScheduler", "LMS Karras", _KARRAS),
    Scheduler.DPMPP_2S: _kind("DPMSolverSinglestepScheduler", "DPM++ 2S", _LOWER_ORDER_FINAL),
    Scheduler.DPMPP_2S_KARRAS: _kind(
        "DPMSolverSinglestepScheduler", "DPM++ 2S Karras", _LOWER_ORDER_FINAL, _KARRAS
    ),
    Scheduler.DPMPP_2M: _kind(_MULTISTEP, "DPM++ 2M"),
    Scheduler.DPMPP_2M_KARRAS: _kind(_MULTISTEP, "DPM++ 2M Karras", _KARRAS),
    Scheduler.DPMPP_2M_EXPONENTIAL: _kind(_MULTISTEP, "DPM++ 2M Exponential", _EXPONENTIAL),
    Scheduler.DPMPP_2M_BETA: _kind(_MULTISTEP, "DPM++ 2M Beta", _BETA),
    Scheduler.DPMPP_SDE: _kind("DPMSolverSDEScheduler", "DPM++ SDE"),
    Scheduler.DPMPP_SDE_KARRAS: _kind("DPMSolverSDEScheduler", "DPM++ SDE Karras", _KARRAS),
    Scheduler.DPMPP_2M_SDE: _kind(_MULTISTEP, "DPM++ 2M SDE", _SDE),
    Scheduler.DPMPP_2M_SDE_KARRAS: _kind(_MULTISTEP, "DPM++ 2M SDE Karras", _SDE, _KARRAS),
    Scheduler.DPMPP_2M_SDE_EXPONENTIAL: _kind(_MULTISTEP, "DPM++ 2M SDE Exponential", _SDE, _EXPONENTIAL),
    Scheduler.DPMPP_3M_SDE: _kind(_MULTISTEP, "DPM++ 3M SDE", _SDE_3),
    Scheduler.DPMPP_3M_SDE_KARRAS: _kind(_MULTISTEP, "DPM++ 3M SDE Karras", _SDE_3, _KARRAS),
    Scheduler.DPMPP_3M_SDE_EXPONENTIAL: _kind(_MULTISTEP, "DPM++ 3M SDE Exponential", _SDE_3, _EXPONENTIAL),
    Scheduler.DEIS: _kind("DEISMultistepScheduler", "DEIS"),
    Scheduler.UNIPC: _kind("UniPCMultistepScheduler", "UniPC"),
    Scheduler.UNIPC_KARRAS: _kind("UniPCMultistepScheduler", "UniPC Karras", _KARRAS),
    Scheduler.PNDM: _kind("PNDMScheduler", "PLMS"),
    Scheduler.DDIM: _kind("DDIMScheduler", "DDIM"),
    Scheduler.DDPM: _kind("DDPMScheduler", "DDPM"),
    Scheduler.LCM: _kind("LCMScheduler", "LCM"),
    Scheduler.TCD: _kind("TCDScheduler", "TCD"),
}
