"""The denoising step: one call of the UNet for all pictures that can share it, each on its own way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine_worker.engine.parts import Denoiser
from engine_worker.engine.schedulers import Schedule


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What the UNet is told of a prompt.

    Rows are two, unconditional then conditional, or one where guidance is skipped.
    Shapes: embeds (rows, tokens, width); SDXL also pooled (rows, width) and sizes (rows, 6).
    """

    embeds: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    @property
    def rows(self) -> int:
        return self.embeds.shape[0]


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One picture on its way from noise to latents.

    The schedule and the generator are its own and move on with it, so that its past cannot be stepped twice
    and its neighbours cannot change it.
    Shapes: latents (1, channels, height, width), float32 on the engine's device.
    """

    conditioning: Conditioning
    guidance_scale: float
    schedule: Schedule
    generator: torch.Generator
    """On the CPU, whatever the device, so that a seed means the same picture everywhere."""
    latents: Tensor
    calls_done: int = 0

    @property
    def is_done(self) -> bool:
        return self.calls_done == self.schedule.calls

    @property
    def timestep(self) -> Tensor:
        return self.schedule.timesteps[self.calls_done]


def start(
    conditioning: Conditioning,
    guidance_scale: float,
    schedule: Schedule,
    seed: int,
    shape: tuple[int, int, int],
) -> Trajectory:
    """A picture of pure noise. `shape` is that of its latents: channels, height, width."""
    generator = torch.Generator("cpu").manual_seed(seed)
    noise = torch.randn((1, *shape), generator=generator, dtype=torch.float32)
    latents = (noise * schedule.scheduler.init_noise_sigma).to(conditioning.embeds.device)
    return Trajectory(conditioning, guidance_scale, schedule, generator, latents)


def predict(denoiser: Denoiser, trajectories: Sequence[Trajectory], dtype: torch.dtype) -> list[Tensor]:
    """The noise in each picture's latents, guided by its prompt: one call of the UNet for all of them.

    The trajectories stay where they are, so that a call that failed can be made again.
    Shapes: each (1, channels, height, width), float32.
    """
    rows = [trajectory.conditioning.rows for trajectory in trajectories]
    inputs = [_input_rows(trajectory) for trajectory in trajectories]
    device = inputs[0].device
    timesteps = torch.stack([one.timestep for one in trajectories]).repeat_interleave(torch.tensor(rows))
    (predicted,) = denoiser(
        torch.cat(inputs).to(dtype),
        timesteps.to(device, non_blocking=True),
        encoder_hidden_states=torch.cat([one.conditioning.embeds for one in trajectories]),
        added_cond_kwargs=_added(trajectories),
        return_dict=False,
    )
    parts = torch.split(predicted.float(), rows)
    return [_guided(part, one.guidance_scale) for part, one in zip(parts, trajectories, strict=True)]


def advance(trajectory: Trajectory, prediction: Tensor) -> Trajectory:
    """One step along the way: the scheduler takes the predicted noise out of the latents."""
    schedule = trajectory.schedule
    extras: dict[str, torch.Generator | float] = {}
    if schedule.takes_generator:
        extras["generator"] = trajectory.generator
    if schedule.takes_eta:
        extras["eta"] = 0.0
    latents = schedule.scheduler.step(
        prediction, trajectory.timestep, trajectory.latents, return_dict=False, **extras
    )[0]
    return replace(trajectory, latents=latents, calls_done=trajectory.calls_done + 1)


def _input_rows(trajectory: Trajectory) -> Tensor:
    scaled = trajectory.schedule.scheduler.scale_model_input(trajectory.latents, trajectory.timestep)
    return scaled.expand(trajectory.conditioning.rows, -1, -1, -1)


def _added(trajectories: Sequence[Trajectory]) -> dict[str, Tensor] | None:
    """SDXL's further conditions; None for SD."""
    pooled = [one.conditioning.pooled for one in trajectories if one.conditioning.pooled is not None]
    sizes = [one.conditioning.sizes for one in trajectories if one.conditioning.sizes is not None]
    if not pooled:
        return None
    return {"text_embeds": torch.cat(pooled), "time_ids": torch.cat(sizes)}


def _guided(predicted: Tensor, guidance_scale: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans, arXiv:2207.12598): away from the unconditional row."""
    if predicted.shape[0] == 1:
        return predicted
    unconditional, conditional = predicted.chunk(2)
    return unconditional + guidance_scale * (conditional - unconditional)
