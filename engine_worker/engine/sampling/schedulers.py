"""Schedules: a diffusers scheduler set up for one image, and its timesteps."""

import inspect
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import diffusers
import torch
from torch import Tensor

from engine_worker.engine.sampling.noise_levels import LEVELS, set_noise_levels
from engine_worker.engine.sampling.scheduler_options import Options, levels_of, settle
from engine_worker.formats.checkpoint_layout import Config
from kernel.protocol.errors import JobRejected
from kernel.protocol.schedulers import KINDS, TAKES_LEVELS
from kernel.protocol.specs import JobSpec


class SchedulerTraits(Protocol):
    """The part of a scheduler's configuration that is read here."""

    @property
    def prediction_type(self) -> str: ...


class NoiseScheduler(Protocol):
    """A diffusers scheduler. It keeps state between steps, so each image has its own."""

    order: int
    """UNet calls per step."""
    timesteps: Tensor
    """One per UNet call; some schedulers make two calls per step."""
    init_noise_sigma: float | Tensor
    alphas_cumprod: Tensor
    """The signal share at each training timestep."""

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
    """A scheduler that counts its steps, and must be told where a shortened schedule begins; others go by the
    timestep."""

    def set_begin_index(self, begin_index: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """A scheduler with its timesteps, for one image."""

    scheduler: NoiseScheduler
    timesteps: Tensor
    """(calls,) on the CPU, so that a lookup never waits for a GPU."""
    takes_generator: bool
    eta: float | None
    """None: the scheduler takes none."""

    @property
    def calls(self) -> int:
        """The number of UNet calls for the image."""
        return len(self.timesteps)

    def step(self, prediction: Tensor, call: int, latents: Tensor, generator: torch.Generator) -> Tensor:
        """The latents after that UNet call, given its prediction."""
        adapters: dict[str, torch.Generator | float] = {}
        if self.takes_generator:
            adapters["generator"] = generator
        if self.eta is not None:
            adapters["eta"] = self.eta
        return self.scheduler.step(prediction, self.timesteps[call], latents, return_dict=False, **adapters)[
            0
        ]


# The exceptions that schedulers are known to raise for bad options; ImportError is for scipy.
CANNOT: Final = (
    TypeError, ValueError, ArithmeticError, LookupError, RuntimeError, ImportError, AssertionError,
    AttributeError,
)  # fmt: skip


def make_schedule(spec: JobSpec, checkpoint_config: Config, seed: int, strength: float | None) -> Schedule:
    """A new schedule with the merged options of job, scheduler name and checkpoint.

    `seed` is the image's, for schedulers that draw noise themselves. `strength` is the share of the steps to
    make, for an image that does not begin as pure noise.
    Raises: JobRejected, if the scheduler has no such option, or cannot run with these options.
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
    levels = levels_of(spec) if KINDS[spec.scheduler].class_name in TAKES_LEVELS else None
    if levels is None:
        scheduler.set_timesteps(spec.steps, device="cpu")
    else:
        set_noise_levels(scheduler, LEVELS[levels], spec.steps)
    timesteps = scheduler.timesteps if strength is None else _shortened(scheduler, spec.steps, strength)
    taken = inspect.signature(scheduler.step).parameters
    eta = (spec.eta or 0.0) if "eta" in taken else None  # 0 as in stock pipelines, whatever the class's own
    return Schedule(scheduler, timesteps, "generator" in taken, eta)


def _shortened(scheduler: NoiseScheduler, steps: int, strength: float) -> Tensor:
    """The last timesteps, by the strength; rounded down as in diffusers, possibly to none."""
    begin = (steps - min(int(steps * strength), steps)) * scheduler.order
    if isinstance(scheduler, LateStarter):
        scheduler.set_begin_index(begin)
    return scheduler.timesteps[begin:]
