"""Schedules: a diffusers scheduler set up for one image, and its timesteps."""

import inspect
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import diffusers
import torch
from torch import Tensor

from engine_worker.engine.sampling.scheduler_options import Options, settle
from engine_worker.formats.checkpoint_layout import Config
from kernel.protocol.errors import JobRejected
from kernel.protocol.schedulers import KINDS
from kernel.protocol.specs import JobSpec


class SchedulerTraits(Protocol):
    """What a scheduler is asked about itself."""

    @property
    def prediction_type(self) -> str: ...


class NoiseScheduler(Protocol):
    """A diffusers scheduler. It remembers the way it came: one object serves one image."""

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
        **adapters: torch.Generator | float,
    ) -> tuple[Tensor, ...]: ...


@runtime_checkable
class LateStarter(Protocol):
    """A scheduler that keeps count, and wants to be told where a shortened way begins; others go by the
    timestep alone."""

    def set_begin_index(self, begin_index: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """A scheduler on its way through its timesteps, for one image."""

    scheduler: NoiseScheduler
    timesteps: Tensor
    """(calls,) on the CPU, so that looking one up never waits for a GPU."""
    takes_generator: bool
    takes_eta: bool

    @property
    def calls(self) -> int:
        """How many calls of the UNet the image takes."""
        return len(self.timesteps)

    def step(self, prediction: Tensor, call: int, latents: Tensor, generator: torch.Generator) -> Tensor:
        """The latents after that call of the UNet, which predicted this. Eta is 0, as in stock pipelines."""
        adapters: dict[str, torch.Generator | float] = {}
        if self.takes_generator:
            adapters["generator"] = generator
        if self.takes_eta:
            adapters["eta"] = 0.0
        return self.scheduler.step(prediction, self.timesteps[call], latents, return_dict=False, **adapters)[
            0
        ]


# All that schedulers were seen to raise; ImportError asks for scipy.
CANNOT: Final = (
    TypeError, ValueError, ArithmeticError, LookupError, RuntimeError, ImportError, AssertionError,
    AttributeError,
)  # fmt: skip


def make_schedule(spec: JobSpec, checkpoint_config: Config, seed: int, strength: float | None) -> Schedule:
    """A fresh schedule: the job's options laid over what its scheduler's name stands for, laid over what is
    the checkpoint's own. `seed` is the image's, for the schedulers that draw noise by themselves.

    `strength` is the share of the steps that is made, of an image that does not begin with pure noise.
    Raises: JobRejected, if the scheduler has no such option, or cannot work that way.
    """
    options = settle(spec, checkpoint_config, seed)
    try:
        return schedule_of(spec, options, strength)
    except CANNOT as error:
        raise JobRejected(
            f"scheduler_config: {spec.scheduler} cannot run {spec.steps} steps with it: {error}"
        ) from error


def schedule_of(spec: JobSpec, options: Options, strength: float | None) -> Schedule:
    """The schedule with these options. Raises: one of CANNOT."""
    scheduler: NoiseScheduler = getattr(diffusers, KINDS[spec.scheduler].class_name).from_config(
        dict(options)
    )
    scheduler.set_timesteps(spec.steps, device="cpu")
    timesteps = scheduler.timesteps if strength is None else _shortened(scheduler, spec.steps, strength)
    taken = inspect.signature(scheduler.step).parameters
    return Schedule(scheduler, timesteps, "generator" in taken, "eta" in taken)


def _shortened(scheduler: NoiseScheduler, steps: int, strength: float) -> Tensor:
    """The last timesteps, as many as the strength asks for; rounded down, as in diffusers, even to none."""
    begin = (steps - min(int(steps * strength), steps)) * scheduler.order
    if isinstance(scheduler, LateStarter):
        scheduler.set_begin_index(begin)
    return scheduler.timesteps[begin:]
