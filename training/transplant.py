"""Starts a UNet from another family's trained one, so that it need not learn again what a shape is.

Both families' UNets see the same latents, and their convolutions have the same shapes; only the deepest
level, which SDXL lacks, and what reads the words differ. Those keep their random start.
"""

import re

import torch
from torch import Tensor, nn

UP_BLOCK = re.compile(r"up_blocks\.(\d+)\.")


@torch.no_grad()
def transplant(unet: nn.Module, giver: dict[str, Tensor], levels_above: int) -> int:
    """Copy every weight that the giver has in the same place and size.

    Upward blocks are counted from the deepest one; so the giver's stand `levels_above` further up where it
    has so many levels more. Returns: how many numbers were copied.
    """
    copied = 0
    for name, weight in unet.named_parameters():
        given = giver.get(_place_in_giver(name, levels_above))
        if given is not None and given.numel() == weight.numel():
            weight.copy_(given.reshape(weight.shape))  # a linear layer and a 1 x 1 convolution are one thing
            copied += weight.numel()
    return copied


def _place_in_giver(name: str, levels_above: int) -> str:
    return UP_BLOCK.sub(lambda found: f"up_blocks.{int(found[1]) + levels_above}.", name)
