"""Offloads networks to host memory, and loads them onto the device only while they are used.

Under the `swapped` plan text encoders and VAE share the device with a UNet that fills most of it. Weights
never change, so the originals stay in host memory, and offloading only drops the copies on the device:
nothing is ever copied back. Several threads may use a network at once; a user count decides when it is loaded
and dropped. A GPU works asynchronously, so the last user waits until the device has read the weights before
they are dropped.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from engine_worker.engine.runtime.devices import release_unused
from engine_worker.formats.checkpoint_layout import Network
from kernel.protocol.enums import MemoryPlan

HOME: Final = torch.device("cpu")
"""The device of offloaded networks."""

LoadModules = Callable[[], AbstractContextManager[None]]
"""A context in which networks are on the device. It can be nested, and entered by several threads at once.

Raises: torch.OutOfMemoryError, if they do not fit; they stay offloaded then.
"""


class Carrier(Protocol):
    """Copies weights from host memory to a device."""

    def fetch(self, tensor: Tensor) -> Tensor:
        """A copy on the device, which is complete after this thread has called `settle`."""

    def settle(self) -> None:
        """Wait until the device has done everything that this thread asked for."""

    def clear(self) -> None:
        """Return unused memory to the device."""


def offload_under(plan: MemoryPlan) -> frozenset[Network]:
    """The networks of a checkpoint that a plan keeps offloaded between uses.

    `kernel/core/memory_model/memory_demand.py` estimates memory by the same rule.
    """
    if plan is not MemoryPlan.SWAPPED:
        return frozenset()
    return frozenset({Network.VAE, Network.TEXT_ENCODER, Network.PROJECTING_TEXT_ENCODER})


def load_under(plan: MemoryPlan, networks: Sequence[nn.Module], device: torch.device) -> LoadModules:
    """How text encoders or a VAE are loaded onto the device; under most plans they are always there."""
    return OffloadedModules(networks, DeviceCarrier(device)).loaded if offload_under(plan) else nullcontext


class OffloadedModules:
    """Networks that are used together. Their home is the device that they are on when this object is made.

    A parameter is replaced, never changed in place: code that holds one, at home or on the device, holds a
    complete one.
    """

    def __init__(self, networks: Sequence[nn.Module], carrier: Carrier) -> None:
        self._carrier = carrier
        self._slots = [slot for network in networks for slot in _slots(network)]
        self._users = 0
        self._lock = Lock()

    @contextmanager
    def loaded(self) -> Iterator[None]:
        """A context in which the networks are on the device. The first user loads them, the last one drops
        them."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._lock:
            if not self._users:
                self._load()
            self._users += 1

    def _leave(self) -> None:
        try:
            # A GPU works asynchronously: it may still be reading the weights.
            self._carrier.settle()
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._drop()

    def _load(self) -> None:
        # Unused blocks of earlier steps would otherwise occupy memory beside the weights.
        self._carrier.clear()
        copies = [self._carrier.fetch(slot.at_home) for slot in self._slots]
        # Other threads, in other streams, may use them next.
        self._carrier.settle()
        for slot, copy in zip(self._slots, copies, strict=True):
            slot.hold(copy)

    def _drop(self) -> None:
        for slot in self._slots:
            slot.hold(slot.at_home)
        self._carrier.clear()


@dataclass(frozen=True, slots=True)
class _Slot:
    """The place of a parameter or buffer in a network."""

    owner: nn.Module
    name: str
    at_home: Tensor

    def hold(self, tensor: Tensor) -> None:
        is_bare = isinstance(self.at_home, nn.Parameter) and not isinstance(tensor, nn.Parameter)
        setattr(self.owner, self.name, nn.Parameter(tensor, requires_grad=False) if is_bare else tensor)


def _slots(network: nn.Module) -> Iterator[_Slot]:
    for owner in network.modules():
        for name, held in (*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)):
            yield _Slot(owner, name, held)


class DeviceCarrier:
    """Copies to a device; on a CPU it does nothing.

    The host waits for each copy, because weights are in pageable memory (adr/0032).
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def fetch(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device)

    def settle(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()

    def clear(self) -> None:
        release_unused(self._device)
