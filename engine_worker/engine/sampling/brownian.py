"""The Brownian noise of DPM++ SDE: each step takes one interval of the path."""

from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import torch
from diffusers.schedulers.scheduling_dpmsolver_sde import BatchedBrownianTree
from torch import Tensor

from engine_worker.engine.runtime.cuda_stream import copy_async

# torchsde rounds the ends of a path to this many digits, those of its tolerance (1e-6).
_DIGITS: Final = 6


@runtime_checkable
class BrownianScheduler(Protocol):
    """A scheduler that uses such noise. The path that it would create itself depends on the device."""

    noise_sampler_seed: int
    sigmas: Tensor
    noise_sampler: "BrownianNoise | None"


@dataclass(frozen=True, slots=True)
class BrownianNoise:
    """One path, drawn on the CPU whatever the device, so that a seed gives the same image everywhere."""

    tree: BatchedBrownianTree
    least: float
    most: float
    device: torch.device

    def __call__(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """The noise between two sigmas. Sigmas that rounding has moved off the path are clamped to it, as
        torchsde does, but without its warning."""
        ends = [min(max(one.item(), self.least), self.most) for one in (sigma, sigma_next)]
        drawn: Tensor = self.tree(*ends) / (sigma_next - sigma).abs().sqrt()
        return copy_async(drawn, self.device)


def walk_on_the_cpu(scheduler: BrownianScheduler, shape: tuple[int, ...], device: torch.device) -> None:
    """Give the scheduler the path that it would create on a CPU. `shape` is that of its latents."""
    least = scheduler.sigmas[scheduler.sigmas > 0].min().item()
    most = scheduler.sigmas.max().item()
    tree = BatchedBrownianTree(torch.zeros(shape), least, most, scheduler.noise_sampler_seed)
    scheduler.noise_sampler = BrownianNoise(tree, round(least, _DIGITS), round(most, _DIGITS), device)
