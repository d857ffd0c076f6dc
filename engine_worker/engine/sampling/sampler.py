"""The denoising step: one UNet call for all images that can share it, each on its own trajectory."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from engine_worker.engine.networks.batch_invariant_layers import ImageRows, batch_composition
from engine_worker.engine.networks.components import GUIDANCE, Denoiser
from engine_worker.engine.networks.controlnet import ActiveControlNet, Residuals, UNetInputs, residuals
from engine_worker.engine.runtime.cuda_stream import copy_async
from engine_worker.engine.runtime.host_scalars import without_waiting
from engine_worker.engine.sampling.trajectory import Trajectory


def predict(denoiser: Denoiser, trajectories: Sequence[Trajectory], dtype: torch.dtype) -> list[Tensor]:
    """Predict the noise in each image's latents, with guidance, in one UNet call for all of them.

    The images have the same latent size, the same ControlNets, and all or none have inpainting channels. With
    ControlNets their prompts also have the same length, because ControlNets take no mask. The trajectories
    are not changed, so a failed call can be repeated.
    Shapes: each (1, channels, height, width), float32.
    """
    rows = [one.conditioning.rows for one in trajectories]
    embeds, mask = _embeds(trajectories)
    shared = UNetInputs(
        sample=torch.cat([model_input(one).expand(_rows(one), -1, -1, -1) for one in trajectories]).to(dtype),
        timesteps=copy_async(_timesteps(trajectories), embeds.device),
        embeds=embeds,
        added=_added(trajectories),
    )
    with batch_composition([ImageRows(_rows(one), one.conditioning.tokens) for one in trajectories]):
        added = residuals(shared, _working(trajectories))
        predicted = _denoised(denoiser, shared, _widened(shared.sample, trajectories), mask, added)
    parts = torch.split(predicted.float(), rows)
    return [_guided(part, one) for part, one in zip(parts, trajectories, strict=True)]


def advance(trajectory: Trajectory, prediction: Tensor) -> Trajectory:
    """Make one step: the scheduler removes the predicted noise from the latents."""
    schedule, calls_done = trajectory.schedule, trajectory.calls_done + 1
    with without_waiting(trajectory.latents.device):
        latents = schedule.step(prediction, trajectory.calls_done, trajectory.latents, trajectory.generator)
    if trajectory.inpaint_mask is not None:
        latents = trajectory.inpaint_mask.put_back(latents, schedule, calls_done)
    return replace(trajectory, latents=latents, calls_done=calls_done)


def model_input(trajectory: Trajectory) -> Tensor:
    """The latents scaled for the UNet: to the variance of its training, at every timestep."""
    return trajectory.schedule.scheduler.scale_model_input(trajectory.latents, trajectory.timestep)


def _rows(trajectory: Trajectory) -> int:
    return trajectory.conditioning.rows


def _timesteps(trajectories: Sequence[Trajectory]) -> Tensor:
    """One per row, concatenated on the CPU: no lookup waits for a GPU."""
    return torch.cat([one.timestep.expand(_rows(one)) for one in trajectories])


def _embeds(trajectories: Sequence[Trajectory]) -> tuple[Tensor, Tensor | None]:
    """All prompts, and if they differ in length, a mask of the tokens that count (rows, tokens).

    A masked token contributes exactly nothing to the UNet's attention: see docs/adr/0023.
    """
    embeds = [one.conditioning.embeds for one in trajectories]
    if len(embeds) == 1:
        return embeds[0], None
    lengths = [one.shape[1] for one in embeds for _ in range(one.shape[0])]
    longest = max(lengths)
    if min(lengths) == longest:
        return torch.cat(embeds), None
    padded = torch.cat([pad(one, (0, 0, 0, longest - one.shape[1])) for one in embeds])
    mask = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
    return padded, copy_async(mask, padded.device)


def _added(trajectories: Sequence[Trajectory]) -> dict[str, Tensor] | None:
    """The conditions beside the prompts: SDXL's, and a distilled UNet's guidance; None if there are none."""
    given = [one.conditioning for one in trajectories]
    found = {
        "text_embeds": [one.pooled for one in given if one.pooled is not None],
        "time_ids": [one.sizes for one in given if one.sizes is not None],
        GUIDANCE: [one.guidance for one in given if one.guidance is not None],
    }
    return {name: torch.cat(tensors) for name, tensors in found.items() if tensors} or None


def _working(trajectories: Sequence[Trajectory]) -> list[ActiveControlNet]:
    """The ControlNets of the call, which all images share."""
    working = []
    for number, control in enumerate(trajectories[0].controls):
        rows = [(one, one.controls[number]) for one in trajectories for _ in range(_rows(one))]
        scales = tuple(own.scale_at(one.calls_done, one.schedule.calls) for one, own in rows)
        working.append(ActiveControlNet(control.net, scales, tuple(own.image for _, own in rows)))
    return working


def _widened(sample: Tensor, trajectories: Sequence[Trajectory]) -> Tensor:
    """The rows with the additional channels of an inpainting UNet, if it is one."""
    further = [
        one.further_channels.expand(_rows(one), -1, -1, -1)
        for one in trajectories
        if one.further_channels is not None
    ]
    return torch.cat([sample, torch.cat(further).to(sample.dtype)], dim=1) if further else sample


def _denoised(
    denoiser: Denoiser, shared: UNetInputs, sample: Tensor, mask: Tensor | None, added: Residuals | None
) -> Tensor:
    (predicted,) = denoiser(
        sample,
        shared.timesteps,
        encoder_hidden_states=shared.embeds,
        encoder_attention_mask=mask,
        added_cond_kwargs=shared.added,
        down_block_additional_residuals=None if added is None else added.down,
        mid_block_additional_residual=None if added is None else added.middle,
        return_dict=False,
    )
    return predicted


def _guided(predicted: Tensor, trajectory: Trajectory) -> Tensor:
    """Classifier-free guidance (Ho and Salimans, arXiv:2207.12598): away from the unconditional row."""
    if predicted.shape[0] == 1:
        return predicted
    unconditional, conditional = predicted[:1], predicted[1:]
    weights = trajectory.conditioning.weights
    if weights != (1.0,):
        conditional = unconditional + _weighted_sum(conditional - unconditional, weights)
    guided = unconditional + trajectory.guidance_scale * (conditional - unconditional)
    share = trajectory.guidance_rescale
    return _rescaled(guided, conditional, share) if share else guided


def _weighted_sum(directions: Tensor, weights: Sequence[float]) -> Tensor:
    """Composed prompts guide together (Liu et al., arXiv:2206.01714, equation 11).

    Shapes: directions (n, channels, height, width), sum (1, channels, height, width).
    """
    total = weights[0] * directions[:1]
    for number, weight in enumerate(weights[1:], start=1):
        total = total + weight * directions[number : number + 1]
    return total


def _rescaled(guided: Tensor, conditional: Tensor, share: float) -> Tensor:
    """Bring the deviation back that guidance has enlarged (Lin et al., arXiv:2305.08891, section 3.4).

    `share` is the paper's phi: 0 for plain guidance, 1 for the deviation of the conditional prediction.
    """
    dimensions = tuple(range(1, guided.dim()))
    ratio = conditional.std(dimensions, keepdim=True) / guided.std(dimensions, keepdim=True)
    return share * (guided * ratio) + (1 - share) * guided
