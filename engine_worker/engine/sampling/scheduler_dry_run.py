"""Runs a scheduler with a single number in place of an image, to check a job's options before any work is
done.

diffusers validates many options only in a step, and some only in the last one, so the dry run makes all
steps.
"""

from typing import Final

import torch
from msgspec.structs import replace

from engine_worker.engine.sampling.brownian import BrownianScheduler, walk_on_the_cpu
from engine_worker.engine.sampling.scheduler_options import settle
from engine_worker.engine.sampling.schedulers import CANNOT, schedule_of
from engine_worker.formats.checkpoint_layout import Config
from kernel.protocol.errors import JobRejected
from kernel.protocol.specs import JobSpec, SchedulerConfig

_SHAPE: Final = (1, 1, 1, 1)
_CPU: Final = torch.device("cpu")


def dry_run(spec: JobSpec, checkpoint_config: Config, strength: float | None) -> None:
    """Raises: JobRejected with the offending option, if the scheduler does not reach its last step."""
    try:
        _go(spec, checkpoint_config, strength)
    except CANNOT as error:
        fault = _fault(spec, checkpoint_config, strength)
        said = " ".join(str(error).split()) or type(error).__name__
        raise JobRejected(
            f"{fault}: {spec.scheduler} cannot run {spec.steps} steps with it ({said}): omit it, or use "
            "another value"
        ) from error


def _go(spec: JobSpec, checkpoint_config: Config, strength: float | None) -> None:
    schedule = schedule_of(spec, settle(spec, checkpoint_config, spec.seed), strength)
    scheduler, generator = schedule.scheduler, torch.Generator().manual_seed(spec.seed)
    if isinstance(scheduler, BrownianScheduler):
        walk_on_the_cpu(scheduler, _SHAPE, _CPU)
    noise = torch.ones(_SHAPE)
    latents = noise * scheduler.init_noise_sigma
    for call in range(schedule.calls):
        if strength is not None:
            scheduler.add_noise(noise, noise, schedule.timesteps[call : call + 1])
        prediction = scheduler.scale_model_input(latents, schedule.timesteps[call])
        latents = schedule.step(prediction, call, latents, generator)


def _fault(spec: JobSpec, checkpoint_config: Config, strength: float | None) -> str:
    """The options each of which is enough to leave out; all of them, if there is none."""
    names = [
        name for name in spec.scheduler_config if _works(_without(spec, name), checkpoint_config, strength)
    ]
    return ", ".join(f"scheduler_config.{name}" for name in names) or "scheduler_config"


def _without(spec: JobSpec, option: str) -> JobSpec:
    left: SchedulerConfig = {name: value for name, value in spec.scheduler_config.items() if name != option}
    return replace(spec, scheduler_config=left)


def _works(spec: JobSpec, checkpoint_config: Config, strength: float | None) -> bool:
    try:
        _go(spec, checkpoint_config, strength)
    except (*CANNOT, JobRejected):
        return False
    return True
