"""ControlNets in a UNet call: residuals, scales, and the steps in which each is active."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine_worker.engine.networks.components import ControlNet
from engine_worker.engine.runtime.cuda_stream import copy_async


@dataclass(frozen=True, slots=True)
class Control:
    """A ControlNet applied to one image.

    Shapes: image (1, 3, height_px, width_px), 0 to 1, in the precision of the net and on its device.
    """

    net: ControlNet
    image: Tensor
    scale: float
    start: float
    """Fraction of the UNet calls (0 to 1) at which it becomes active."""
    end: float

    def scale_at(self, call: int, calls: int) -> float:
        """Its scale in that call, as diffusers computes it (`control_guidance_start`); 0 while it is
        inactive."""
        is_at_rest = call / calls < self.start or (call + 1) / calls > self.end
        return 0.0 if is_at_rest else self.scale


@dataclass(frozen=True, slots=True)
class UNetInputs:
    """The inputs that the UNet and the ControlNets share. The first dimension of each is rows."""

    sample: Tensor
    timesteps: Tensor
    embeds: Tensor
    added: Mapping[str, Tensor] | None


@dataclass(frozen=True, slots=True)
class Residuals:
    """The tensors that ControlNets add to the UNet: one per down block, and one for the middle block."""

    down: tuple[Tensor, ...]
    middle: Tensor


@dataclass(frozen=True, slots=True)
class ActiveControlNet:
    """One ControlNet in one call, with a scale and a control map for each row."""

    net: ControlNet
    scales: tuple[float, ...]
    images: tuple[Tensor, ...]


def residuals(shared: UNetInputs, working: Sequence[ActiveControlNet]) -> Residuals | None:
    """The sum of the residuals of all nets; None if no net is active in this call.

    A net that is inactive for some rows runs for them with a scale of 0, which adds exactly nothing.
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
    """Multiplied in float32, as by a Python number, whatever the precision of the net."""
    return (residual * scales).to(residual.dtype)


def _sum(one: Residuals, other: Residuals) -> Residuals:
    down = tuple(first + second for first, second in zip(one.down, other.down, strict=True))
    return Residuals(down, one.middle + other.middle)
