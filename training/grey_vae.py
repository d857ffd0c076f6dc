"""Makes the second VAE, which decodes every image in grey: the trained one, with its last layer folded.

The decoder's last layer is linear, so its three colours can be replaced by their luminance in the weights:
the latents
stay what they were, and each image is exactly the grey of the first VAE's.
"""

import copy

import torch
from diffusers import AutoencoderKL

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


@torch.no_grad()
def greyed(vae: AutoencoderKL) -> AutoencoderKL:
    """Give a copy that decodes in grey."""
    grey = copy.deepcopy(vae)
    last = grey.decoder.conv_out
    weights = torch.tensor(LUMINANCE, dtype=last.weight.dtype, device=last.weight.device)
    last.weight.copy_(torch.einsum("c,cihw->ihw", weights, last.weight).expand_as(last.weight))
    last.bias.copy_((weights @ last.bias).expand_as(last.bias))
    return grey
