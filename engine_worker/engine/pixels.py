"""From finished latents to pixels."""

import numpy as np
import torch
from torch import Tensor

from engine_worker.engine.parts import Vae
from engine_worker.engine.picture_file import Pixels
from kernel.protocol.errors import JobRejected


def decode(vae: Vae, latents: Tensor) -> Pixels:
    """Decode one picture. `latents` are (1, channels, height, width).

    Raises: JobRejected, if the way to these latents left the numbers.
    """
    if not bool(torch.isfinite(latents).all()):
        raise JobRejected("The picture came out as not-a-number: use another scheduler or scheduler_config")
    (decoded,) = vae.decoder.decode(_unscaled(vae, latents).to(vae.dtype), return_dict=False)
    image = (decoded[0].float() / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return (image * 255).round().astype(np.uint8)


def _unscaled(vae: Vae, latents: Tensor) -> Tensor:
    if vae.latents_mean is None or vae.latents_std is None:
        return latents / vae.scaling_factor
    mean, std = (
        latents.new_tensor(numbers).view(1, -1, 1, 1) for numbers in (vae.latents_mean, vae.latents_std)
    )
    return latents * std / vae.scaling_factor + mean
