"""The inputs of a UNet call in tensors at fixed addresses, as recorded calls need them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from engine_worker.engine.gpu.call_shape import CallShape, pooled_width
from engine_worker.engine.networks.components import GUIDANCE, Components, Denoiser


@dataclass(frozen=True, slots=True)
class CallInputs:
    """The inputs of a call without mask and residuals.

    Shapes: sample (rows, channels, height, width), timesteps (rows,), float32, embeds (rows, tokens, width),
    added as in diffusers' `added_cond_kwargs`; None for SD.
    """

    sample: Tensor
    timesteps: Tensor
    embeds: Tensor
    added: Mapping[str, Tensor] | None

    def take(
        self, sample: Tensor, timesteps: Tensor, embeds: Tensor, added: Mapping[str, Tensor] | None
    ) -> None:
        """Copy the inputs of another call of the same shape into these tensors."""
        self.sample.copy_(sample, non_blocking=True)
        self.timesteps.copy_(timesteps, non_blocking=True)
        self.embeds.copy_(embeds, non_blocking=True)
        if self.added is not None and added is not None:
            for name, held in self.added.items():
                held.copy_(added[name], non_blocking=True)

    def given_to(self, denoiser: Denoiser) -> Tensor:
        """The denoiser's prediction for these inputs."""
        (predicted,) = denoiser(
            self.sample,
            self.timesteps,
            encoder_hidden_states=self.embeds,
            encoder_attention_mask=None,
            added_cond_kwargs=self.added,
            down_block_additional_residuals=None,
            mid_block_additional_residual=None,
            return_dict=False,
        )
        return predicted


def blank_inputs(parts: Components, shape: CallShape) -> CallInputs:
    """Inputs of that shape: zeros, at a timestep in the middle."""
    device, dtype = parts.device, parts.dtype
    width = parts.unet_shape.cross_attention_width
    pooled = pooled_width(parts)
    guidance = parts.unet_shape.time_cond_width
    added: dict[str, Tensor] = {}
    if pooled is not None:
        added["text_embeds"] = torch.zeros(shape.rows, pooled, device=device, dtype=dtype)
        added["time_ids"] = torch.zeros(shape.rows, 6, device=device)
    if guidance is not None:
        added[GUIDANCE] = torch.zeros(shape.rows, guidance, device=device, dtype=dtype)
    return CallInputs(
        sample=torch.zeros(shape.rows, shape.channels, shape.height, shape.width, device=device, dtype=dtype),
        timesteps=torch.full((shape.rows,), 500.0, device=device),
        embeds=torch.zeros(shape.rows, shape.tokens, width, device=device, dtype=dtype),
        added=added or None,
    )
