"""Copies weights from host memory to a device."""

import torch
from torch import Tensor


class DeviceCarrier:
    """Implements the carrier of `engine_worker/engine/networks/offload.py`. On a CPU it does nothing.

    The host waits for each copy: weights lie in ordinary memory (adr/0032).
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def fetch(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device)

    def settle(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()

    def clear(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
