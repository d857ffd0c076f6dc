"""Runs diffusers' schedulers on a GPU without the synchronization that some of them cause.

All that schedulers look up (timesteps, sigmas, shares of signal) stays on the CPU, and most of them leave it
there: a number of the CPU goes along with a kernel for nothing. But ancestral ones draw their noise on the
CPU and copy it in a way that waits, and UniPC takes its sigmas to the GPU to solve two equations there, and
waits for the answer. Their source is not ours to change, so what they ask torch for is answered otherwise.
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
    """While this is entered, nothing waits for the device; on the CPU it is nothing at all."""
    return nullcontext() if device.type == "cpu" else HostScalars(device)


Function = Callable[..., object]


class HostScalars(TorchFunctionMode):
    """Single numbers of the CPU stay there when they are sent to the device; tensors go without a wait."""

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
        """What torch calls instead of each of its functions, while the mode is entered."""
        named = dict(kwargs or {})
        if func is torch.Tensor.to:
            return self._sent(func, args, named)
        if func in _MAKERS and self._is_ours(named.get("device")):
            return self._kept_or_uploaded(func(*args, **{**named, "device": _CPU}))
        return func(*args, **named)

    def _sent(self, to: Function, args: tuple[object, ...], named: dict[str, object]) -> object:
        """`tensor.to(...)`, in the forms in which schedulers use it."""
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
