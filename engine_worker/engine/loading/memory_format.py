"""Sets the memory format (channels last) of a network's weights."""

from typing import Final

import torch
from torch import nn

from engine_worker.formats.checkpoint_layout import Network

_CONVOLVING: Final = frozenset({Network.UNET, Network.VAE, Network.CONTROLNET})


def set_memory_format(
    module: nn.Module, network: Network, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """The network with its convolutions' weights in the order that the device is quickest with.

    The tensor cores of a GPU compute convolutions in half precision channel by channel for each pixel
    (channels last); from the ordinary layout cuDNN brings the images there and back around each one.
    """
    if device.type != "cuda" or dtype is torch.float32 or network not in _CONVOLVING:
        return module
    return module.to(memory_format=torch.channels_last)
