"""The number format of the forward passes: bfloat16 where the processor is faster in it."""

import torch


def autocast(device: torch.device, *, is_convolutional: bool = True) -> torch.autocast:
    """Give the context for a forward pass and its loss.

    On a GPU bfloat16 is always faster. On a CPU it makes the VAE's wide feature maps 1.6 times as fast and
    the
    UNet's small ones slower.
    """
    return torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=device.type == "cuda" or is_convolutional
    )
