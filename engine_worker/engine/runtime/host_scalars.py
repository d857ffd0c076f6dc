"""Runs diffusers' schedulers on a GPU without the synchronization that some of them cause.

Schedulers look up timesteps, sigmas and signal shares. These tables stay on the CPU, and most schedulers use
the numbers from there, which costs nothing: a CPU scalar is passed to a kernel as an argument. But ancestral
schedulers draw noise on the CPU and copy it in a blocking way, and UniPC moves its sigmas to the GPU, solves
two equations there and waits for the result. Their source is not ours, so torch's functions are intercepted
instead.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from engine_worker.engine.runtime.cuda_stream import copy_async

_MAKERS: Final[tuple[object, ...]] = (torch.ones, torch.zeros, torch.full, torch.tensor)
_CPU: Final = torch.device("cpu")


def without_waiting(device: torch.device) -> AbstractContextManager[object]:
    """A context in which schedulers do not wait for the device. On a CPU it does nothing."""
    return nullcontext() if device.type == "cpu" else HostScalars(device)


Function = Callable[..., object]


class HostScalars(TorchFunctionMode):
    """Keeps CPU scalars on the CPU when they are sent to the device, and copies tensors without blocking."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(
        self,
        func: Function,
        types: Collection[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Called by torch in place of each of its functions while this mode is active."""
        named = dict(kwargs or {})
        if func is torch.Tensor.to:
            return self._sent(func, args, named)
        if func in _MAKERS and self._is_ours(named.get("device")):
            return self._kept_or_uploaded(func(*args, **{**named, "device": _CPU}))
        return func(*args, **named)

    def _sent(self, to: Function, args: tuple[object, ...], named: dict[str, object]) -> object:
        """`tensor.to(...)`, in the forms that schedulers use."""
        tensor, *further = args
        assert isinstance(tensor, Tensor), "a method of tensors was called"
        target = named.get("device", further[0] if further else None)
        if tensor.device.type != "cpu" or not self._is_ours(target):
            return to(*args, **named)
        rest = {name: value for name, value in named.items() if name not in ("device", "non_blocking")}
        others = further if "device" in named else further[1:]
        return self._kept_or_uploaded(to(tensor, *others, **rest) if others or rest else tensor)

    def _kept_or_uploaded(self, tensor: object) -> object:
        assert isinstance(tensor, Tensor), "what makes tensors made something else"
        return copy_async(tensor, self._device) if tensor.ndim else tensor

    def _is_ours(self, target: object) -> bool:
        if isinstance(target, str):
            target = torch.device(target)
        return isinstance(target, torch.device) and target.type == self._device.type
