"""Copies tensors to a device without making the host wait."""

import torch
from torch import Tensor


def copy_async(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on that device. A GPU fetches it out of pinned memory when its turn has come; from any other
    memory the host would wait for the GPU's queue to run dry."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
