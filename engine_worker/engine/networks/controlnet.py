"""ControlNets in a UNet call: residuals, scales, and the steps in which each is active."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine_worker.engine.networks.components import ControlNet
from engine_worker.engine.runtime.cuda_stream import copy_async


@dataclass(frozen=True, slots=True)
class Control:
    """One ControlNet at work on one image.

    Shapes: image (1, 3, height_px, width_px), 0 to 1, in the precision of the net and on its device.
    """

    net: ControlNet
    image: Tensor
    scale: float
    start: float
    """From this share of the calls of the UNet (0 to 1)."""
    end: float

    def scale_at(self, call: int, calls: int) -> float:
        """How strongly the net works in that call, as diffusers counts (`control_guidance_start`)."""
        is_at_rest = call / calls < self.start or (call + 1) / calls > self.end
        return 0.0 if is_at_rest else self.scale


@dataclass(frozen=True, slots=True)
class UNetInputs:
    """What the UNet and the ControlNets are given alike. The first dimension of all is the rows'."""

    sample: Tensor
    timesteps: Tensor
    embeds: Tensor
    added: Mapping[str, Tensor] | None


@dataclass(frozen=True, slots=True)
class Residuals:
    """What ControlNets add to the UNet: to each block on the way down, and to the middle."""

    down: tuple[Tensor, ...]
    middle: Tensor


@dataclass(frozen=True, slots=True)
class ActiveControlNet:
    """One ControlNet in one call, for all images that share it: a scale and a map for each row."""

    net: ControlNet
    scales: tuple[float, ...]
    images: tuple[Tensor, ...]


def residuals(shared: UNetInputs, working: Sequence[ActiveControlNet]) -> Residuals | None:
    """What the nets add together; None if none of them has a say in this call.

    A net that rests for some rows works for them at a scale of 0, which adds nothing to the last bit.
    """
    total: Residuals | None = None
    for one in working:
        if any(one.scales):
            found = _residuals_of(shared, one)
            total = found if total is None else _sum(total, found)
    return total


def _residuals_of(shared: UNetInputs, working: ActiveControlNet) -> Residuals:
    down, middle = working.net(
        shared.sample,
        shared.timesteps,
        encoder_hidden_states=shared.embeds,
        controlnet_cond=torch.cat(working.images),
        added_cond_kwargs=shared.added,
        return_dict=False,
    )
    scales = copy_async(torch.tensor(working.scales).view(-1, 1, 1, 1), middle.device)
    return Residuals(tuple(_scaled(one, scales) for one in down), _scaled(middle, scales))


def _scaled(residual: Tensor, scales: Tensor) -> Tensor:
    """Multiplied in single precision, as by a plain number, whatever the net computes in."""
    return (residual * scales).to(residual.dtype)


def _sum(one: Residuals, other: Residuals) -> Residuals:
    down = tuple(first + second for first, second in zip(one.down, other.down, strict=True))
    return Residuals(down, one.middle + other.middle)
