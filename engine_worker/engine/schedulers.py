"""The one table of schedulers: users' names, what they are in diffusers, and what other tools call them."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import diffusers
import torch
from torch import Tensor

from engine_worker.engine.blueprint import Config
from kernel.protocol.errors import JobRejected
from kernel.protocol.specs import SchedulerConfig
from kernel.protocol.vocabulary import Scheduler


class NoiseScheduler(Protocol):
    """A diffusers scheduler. It remembers the way it came: one object serves one picture."""

    timesteps: Tensor
    """One number per call of the UNet, which some schedulers make twice in a step."""
    init_noise_sigma: float | Tensor

    def set_timesteps(self, num_inference_steps: int, device: str) -> None: ...

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor: ...

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        *,
        return_dict: bool,
        **extras: torch.Generator | float,
    ) -> tuple[Tensor, ...]: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """What a name stands for."""

    class_name: str
    """In diffusers."""
    label: str
    """The name of the sampler in the recipes that Stable Diffusion tools write and read."""
    options: SchedulerConfig = field(default_factory=dict)


# No option of any scheduler comes near; beyond, some would fill the memory with tables.
_LARGEST_OPTION = 10_000

# All that constructors of schedulers were seen to raise; ImportError asks for scipy.
_CANNOT = (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError, ImportError)

_KARRAS: SchedulerConfig = {"use_karras_sigmas": True}
_SDE: SchedulerConfig = {"algorithm_type": "sde-dpmsolver++"}

KINDS: Mapping[Scheduler, Kind] = {
    Scheduler.EULER: Kind("EulerDiscreteScheduler", "Euler"),
    Scheduler.EULER_A: Kind("EulerAncestralDiscreteScheduler", "Euler a"),
    Scheduler.HEUN: Kind("HeunDiscreteScheduler", "Heun"),
    Scheduler.DPM2: Kind("KDPM2DiscreteScheduler", "DPM2"),
    Scheduler.DPM2_A: Kind("KDPM2AncestralDiscreteScheduler", "DPM2 a"),
    Scheduler.DPMPP_2M: Kind("DPMSolverMultistepScheduler", "DPM++ 2M"),
    Scheduler.DPMPP_2M_KARRAS: Kind("DPMSolverMultistepScheduler", "DPM++ 2M Karras", _KARRAS),
    Scheduler.DPMPP_2M_SDE: Kind("DPMSolverMultistepScheduler", "DPM++ 2M SDE", _SDE),
    Scheduler.DPMPP_2M_SDE_KARRAS: Kind(
        "DPMSolverMultistepScheduler", "DPM++ 2M SDE Karras", {**_SDE, **_KARRAS}
    ),
    Scheduler.DEIS: Kind("DEISMultistepScheduler", "DEIS"),
    Scheduler.UNIPC: Kind("UniPCMultistepScheduler", "UniPC"),
    Scheduler.PNDM: Kind("PNDMScheduler", "PLMS"),
    Scheduler.DDIM: Kind("DDIMScheduler", "DDIM"),
    Scheduler.DDPM: Kind("DDPMScheduler", "DDPM"),
    Scheduler.LCM: Kind("LCMScheduler", "LCM"),
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A scheduler on its way through its timesteps, for one picture."""

    scheduler: NoiseScheduler
    timesteps: Tensor
    """(calls,) on the CPU, so that looking one up never waits for a GPU."""
    takes_generator: bool
    takes_eta: bool

    @property
    def calls(self) -> int:
        """How many calls of the UNet the picture takes."""
        return len(self.timesteps)


def make_schedule(
    name: Scheduler, steps: int, checkpoint_config: Config, options: SchedulerConfig
) -> Schedule:
    """A fresh schedule: `options` laid over what the name stands for, laid over the checkpoint's own.

    Raises: JobRejected, if the scheduler has no such option, or cannot work that way.
    """
    kind = KINDS[name]
    scheduler_class = getattr(diffusers, kind.class_name)
    known = set(inspect.signature(scheduler_class.__init__).parameters) - {"self"}
    _check_options(name, options, known)
    # A config that does not say so means the default of its own class, and clipping ruins latents.
    config = {"clip_sample": False, **checkpoint_config, **kind.options, **options}
    config = {name: value for name, value in config.items() if name in known}
    _check_steps(steps, config)
    try:
        scheduler: NoiseScheduler = scheduler_class.from_config(config)
        scheduler.set_timesteps(steps, device="cpu")
    except _CANNOT as error:
        raise JobRejected(f"{name} cannot make {steps} steps with this scheduler_config: {error}") from error
    taken = inspect.signature(scheduler.step).parameters
    return Schedule(scheduler, scheduler.timesteps, "generator" in taken, "eta" in taken)


def _check_options(name: Scheduler, options: SchedulerConfig, known: set[str]) -> None:
    unknown = sorted(set(options) - known)
    if unknown:
        raise JobRejected(f"scheduler_config: {name} has no option {', '.join(unknown)}")
    for option, value in options.items():
        if not isinstance(value, str) and not abs(value) <= _LARGEST_OPTION:
            raise JobRejected(f"scheduler_config: {option} is out of all proportion: {value}")


def _check_steps(steps: int, config: Config) -> None:
    """Beyond the timesteps that the checkpoint was trained on, steps would stand still."""
    trained = config.get("num_train_timesteps")
    if isinstance(trained, int) and steps > trained:
        raise JobRejected(f"{steps} steps are too many: the checkpoint was trained on {trained} timesteps")
