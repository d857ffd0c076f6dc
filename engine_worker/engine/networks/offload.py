"""Modules offloaded to host memory, loaded to the device only while they are used."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from engine_worker.formats.checkpoint_layout import Network
from kernel.protocol.enums import MemoryPlan

HOME: Final = torch.device("cpu")
"""Where networks rest."""

LoadModules = Callable[[], AbstractContextManager[None]]
"""Opens a time in which networks are on their device, for the thread that opens it.

It may be opened within itself, and by several threads at once.
Raises: torch.OutOfMemoryError, if there is no room for them; then they rest as before.
"""


class Carrier(Protocol):
    """The way from the host's memory to a device."""

    def fetch(self, tensor: Tensor) -> Tensor:
        """A copy on the device, which is there at the latest when this thread has settled."""

    def settle(self) -> None:
        """Wait until the device has done all that this thread has asked it for."""

    def clear(self) -> None:
        """Give back to the device what is held of its memory and not used."""


def offload_under(plan: MemoryPlan) -> frozenset[Network]:
    """The networks of a checkpoint that are offloaded between uses.

    `kernel/core/memory_model/memory_demand.py` reckons with the same.
    """
    if plan is not MemoryPlan.SWAPPED:
        return frozenset()
    return frozenset({Network.VAE, Network.TEXT_ENCODER, Network.PROJECTING_TEXT_ENCODER})


def load_under(plan: MemoryPlan, networks: Sequence[nn.Module], device: torch.device) -> LoadModules:
    """How text encoders, or a VAE, are brought to the device: under most plans they are there."""
    return OffloadedModules(networks, DeviceCarrier(device)).loaded if offload_under(plan) else nullcontext


class OffloadedModules:
    """Some networks that are wanted together. At home they are where they were when this was made.

    Weights never change, so what was at home is there again as soon as the copies are let go: nothing is
    ever copied back. A parameter is replaced, never changed: who has taken hold of one, at home or on the
    device, holds a whole one.
    """

    def __init__(self, networks: Sequence[nn.Module], carrier: Carrier) -> None:
        self._carrier = carrier
        self._slots = [slot for network in networks for slot in _slots(network)]
        self._users = 0
        self._lock = Lock()

    @contextmanager
    def loaded(self) -> Iterator[None]:
        """The networks are on the device: they come for the first user and go with the last one."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._lock:
            if not self._users:
                self._bring()
            self._users += 1

    def _leave(self) -> None:
        try:
            # A GPU has only been asked so far: it may still be reading the weights.
            self._carrier.settle()
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._let_go()

    def _bring(self) -> None:
        # What steps have left unused would otherwise be held beside the weights.
        self._carrier.clear()
        copies = [self._carrier.fetch(slot.at_home) for slot in self._slots]
        # Other threads may be the next to use them.
        self._carrier.settle()
        for slot, copy in zip(self._slots, copies, strict=True):
            slot.hold(copy)

    def _let_go(self) -> None:
        for slot in self._slots:
            slot.hold(slot.at_home)
        self._carrier.clear()


@dataclass(frozen=True, slots=True)
class _Slot:
    """A parameter's or buffer's place in a network."""

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
