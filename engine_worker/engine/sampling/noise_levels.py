"""Spacings of the noise levels that ComfyUI and A1111 have and diffusers lacks, set in diffusers' schedulers.

Each is a choice of timesteps, not all of them whole numbers, of the checkpoint's noise schedule. Their noise
levels are interpolated between those of whole timesteps, in the logarithm.
Sources: T. Karras et al., arXiv:2206.00364, for sampling by noise levels; the definitions are those of
https://github.com/crowsonkb/k-diffusion (`get_sigmas`) and https://github.com/comfyanonymous/ComfyUI
(comfy/samplers.py).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
Timesteps = Callable[[int, int], FloatArray]
"""Of training timesteps and steps: the timesteps in falling order."""


def _normal(trained: int, steps: int) -> FloatArray:
    return np.linspace(trained - 1, 0, steps)


def _sgm_uniform(trained: int, steps: int) -> FloatArray:
    return _normal(trained, steps + 1)[:-1]


def _simple(trained: int, steps: int) -> FloatArray:
    return np.asarray(trained - 1 - np.floor(np.arange(steps) * (trained / steps)), dtype=np.float64)


def _ddim_uniform(trained: int, steps: int) -> FloatArray:
    """ComfyUI makes a few steps more than it was asked for where these do not divide the training timesteps;
    here they are as many."""
    return 1.0 + np.arange(steps)[::-1] * (trained // steps)


LEVELS: Final[Mapping[str, Timesteps]] = {
    "normal": _normal,
    "simple": _simple,
    "sgm_uniform": _sgm_uniform,
    "ddim_uniform": _ddim_uniform,
}


def set_noise_levels(scheduler: Any, timesteps_of: Timesteps, steps: int) -> None:
    """Set a scheduler's timesteps and noise levels; the last level is 0, as always.

    A class with Karras's spacing is told ours in its place, and does the rest itself: the levels between, and
    rounded timesteps where it needs whole ones. Euler a has no other spacing, and no levels between.
    """
    alphas = scheduler.alphas_cumprod.double().numpy()
    trained = np.log(((1 - alphas) / alphas) ** 0.5)
    timesteps = np.clip(timesteps_of(len(trained), steps), 0, len(trained) - 1)
    sigmas = np.exp(np.interp(timesteps, np.arange(len(trained)), trained))
    if hasattr(scheduler, "_convert_to_karras"):
        scheduler.register_to_config(use_karras_sigmas=True)
        scheduler._convert_to_karras = lambda in_sigmas, num_inference_steps=None: sigmas.copy()
        scheduler.set_timesteps(steps, device="cpu")
        return
    scheduler.set_timesteps(steps, device="cpu")
    scheduler.sigmas = torch.from_numpy(np.append(sigmas, 0.0).astype(np.float32))
    scheduler.timesteps = torch.from_numpy(timesteps.astype(np.float32))
