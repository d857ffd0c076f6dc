"""Schedules: a diffusers scheduler set up for one picture, and the timesteps that it goes through."""

import inspect
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import diffusers
import torch
from torch import Tensor

from engine_worker.engine.blueprint import Config
from kernel.protocol.errors import JobRejected
from kernel.protocol.schedulers import KINDS
from kernel.protocol.specs import JobSpec, SchedulerConfig
from kernel.protocol.vocabulary import Scheduler


class SchedulerTraits(Protocol):
    """What a scheduler is asked about itself."""

    @property
    def prediction_type(self) -> str: ...


class NoiseScheduler(Protocol):
    """A diffusers scheduler. It remembers the way it came: one object serves one picture."""

    order: int
    """Calls of the UNet in a step."""
    timesteps: Tensor
    """One number per call of the UNet, which some schedulers make twice in a step."""
    init_noise_sigma: float | Tensor
    alphas_cumprod: Tensor
    """The share of signal at each timestep that the checkpoint was trained on."""

    @property
    def config(self) -> "SchedulerTraits": ...

    def set_timesteps(self, num_inference_steps: int, device: str) -> None: ...

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor: ...

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor: ...

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        *,
        return_dict: bool,
        **extras: torch.Generator | float,
    ) -> tuple[Tensor, ...]: ...


@runtime_checkable
class LateStarter(Protocol):
    """A scheduler that keeps count, and wants to be told where a shortened way begins; others go by the
    timestep alone."""

    def set_begin_index(self, begin_index: int) -> None: ...


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


# No option of any scheduler comes near; beyond, some would fill the memory with tables.
_LARGEST_OPTION = 10_000

# All that constructors of schedulers were seen to raise; ImportError asks for scipy.
_CANNOT = (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError, ImportError)


def make_schedule(spec: JobSpec, checkpoint_config: Config, seed: int, strength: float | None) -> Schedule:
    """A fresh schedule: the job's options laid over what its scheduler's name stands for, laid over the
    checkpoint's own. `seed` is the picture's, for the schedulers that draw noise by themselves.

    `strength` is the share of the steps that is made, of a picture that does not begin with pure noise.
    Raises: JobRejected, if the scheduler has no such option, or cannot work that way.
    """
    kind = KINDS[spec.scheduler]
    scheduler_class = getattr(diffusers, kind.class_name)
    known = set(inspect.signature(scheduler_class.__init__).parameters) - {"self"}
    _check_options(spec.scheduler, spec.scheduler_config, known)
    # A config that does not say so means the default of its own class, and clipping ruins latents.
    defaults = {"clip_sample": False, "noise_sampler_seed": seed}
    config = {**defaults, **checkpoint_config, **kind.options, **spec.scheduler_config}
    config = {name: value for name, value in config.items() if name in known}
    _check_steps(spec.steps, config)
    try:
        scheduler: NoiseScheduler = scheduler_class.from_config(config)
        scheduler.set_timesteps(spec.steps, device="cpu")
    except _CANNOT as error:
        raise JobRejected(
            f"{spec.scheduler} cannot make {spec.steps} steps with this scheduler_config: {error}"
        ) from error
    timesteps = scheduler.timesteps if strength is None else _shortened(scheduler, spec.steps, strength)
    taken = inspect.signature(scheduler.step).parameters
    return Schedule(scheduler, timesteps, "generator" in taken, "eta" in taken)


def _shortened(scheduler: NoiseScheduler, steps: int, strength: float) -> Tensor:
    """The last timesteps, as many as the strength asks for; rounded down, as in diffusers, even to none."""
    begin = (steps - min(int(steps * strength), steps)) * scheduler.order
    if isinstance(scheduler, LateStarter):
        scheduler.set_begin_index(begin)
    return scheduler.timesteps[begin:]


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
