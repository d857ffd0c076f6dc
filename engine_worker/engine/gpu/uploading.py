"""From the host to a device, without the host waiting for the device."""

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, from where this thread's stream may use it.

    A GPU fetches by itself only what lies in memory that the system never moves (pinned); torch keeps such a
    copy until it has been fetched. From any other memory the host would wait until the GPU has come so far.
    """
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
