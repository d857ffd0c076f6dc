"""Builds networks from a checkpoint layout; all names are checked before the first network is filled."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

import torch
from torch import Tensor, nn

from engine_worker.engine.loading.networks import build_empty, fill
from engine_worker.engine.loading.weights import parameter_reader
from engine_worker.engine.networks.batch_invariant_layers import make_batch_invariant
from engine_worker.engine.networks.offload import HOME
from engine_worker.engine.networks.packed_layers import packed
from engine_worker.engine.runtime.devices import vae_dtype
from engine_worker.formats.checkpoint_layout import Network, NetworkPlan
from engine_worker.formats.tensor_places import Place, find_places, find_use, listed
from kernel.process.log import line

_log = logging.getLogger(__name__)
_TIMES_TOLD: Final = 100
_CONVOLVING: Final = frozenset({Network.UNET, Network.VAE, Network.CONTROLNET})
_TEXT_ENCODERS: Final = (Network.TEXT_ENCODER, Network.PROJECTING_TEXT_ENCODER)


OnProgress = Callable[[int, int], None]
"""Takes the bytes that are loaded, and all bytes, at most a hundred times, from any thread."""


class Meter:
    """Counts the bytes that are loaded. Thread-safe."""

    def __init__(self, total_bytes: int, on_progress: OnProgress) -> None:
        self._total_bytes, self._on_progress = total_bytes, on_progress
        self._done_bytes = self._told_bytes = 0
        self._lock = Lock()

    def add(self, count: int) -> None:
        """So many more bytes are loaded."""
        with self._lock:
            self._done_bytes += count
            done_bytes = self._done_bytes
            is_news = (done_bytes - self._told_bytes) * _TIMES_TOLD >= self._total_bytes
            if is_news:
                self._told_bytes = done_bytes
        if is_news:
            self._on_progress(done_bytes, self._total_bytes)


@dataclass(frozen=True, slots=True)
class _Target:
    """The device on which a network is stored, and the device and precision in which it computes."""

    place: torch.device
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(
        cls, network: Network, device: torch.device, dtype: torch.dtype, offloaded: frozenset[Network]
    ) -> "_Target":
        own_dtype = vae_dtype(dtype, device) if network is Network.VAE else dtype
        return cls(HOME if network in offloaded else device, device, own_dtype)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A network whose parameters are being read."""

    empty: nn.Module
    parameters: Callable[[], dict[str, Tensor]]
    target: _Target


def build_networks(
    plans: Sequence[NetworkPlan],
    device: torch.device,
    dtype: torch.dtype,
    offloaded: frozenset[Network] = frozenset(),
    on_progress: OnProgress = lambda done_bytes, total_bytes: None,
) -> list[nn.Module]:
    """Build networks with their parameters, in the order of the plans.

    Offloaded networks are stored in host memory, in the precision of the device. Parameters are read while
    further networks are built and filled: text encoders first, which are built soonest, and a VAE last, which
    is filled soonest.
    Raises: ModelUnreadable, if a tensor is missing, has the wrong shape, would change a network, or cannot be
    read; torch.OutOfMemoryError.
    """
    files = {header.path: header for plan in plans for header in plan.files}
    found: list[tuple[NetworkPlan, Mapping[str, Place]]] = []
    begun: dict[Network, _Begun] = {}
    total_bytes = sum(entry.size_bytes for header in files.values() for entry in header.tensors.values())
    meter = Meter(total_bytes, on_progress)
    with parameter_reader(files.values(), meter.add) as reader:
        for plan in sorted(plans, key=lambda plan: plan.network not in _TEXT_ENCODERS):
            empty = build_empty(plan)
            places = find_places({name: tuple(held.shape) for name, held in empty.named_parameters()}, plan)
            target = _Target.of(plan.network, device, dtype, offloaded)
            pack = packed(empty, plan.network, target.device, target.dtype)
            parameters = reader.begin(places, target.place, target.dtype, pack)
            begun[plan.network] = _Begun(empty, parameters, target)
            found.append((plan, places))
        use = find_use(found)
        if ignored := (*use.leftovers, *use.unknown):
            _log.info(line("tensors_ignored", count=len(ignored), tensors=listed(ignored)))
        made = {network: _filled(one, network) for network, one in begun.items()}
    return [made[plan.network] for plan in plans]


def _filled(begun: _Begun, network: Network) -> nn.Module:
    target = begun.target
    filled = fill(begun.empty, begun.parameters(), target.place)
    laid_out = set_memory_format(filled, network, target.device, target.dtype)
    return make_batch_invariant(laid_out, network, target.device, target.dtype)


def set_memory_format(
    module: nn.Module, network: Network, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """Set the memory format of a network's convolution weights that is fastest on the device.

    A GPU's tensor cores compute convolutions in half precision with channels last; from the ordinary format
    cuDNN would convert the activations before and after each one.
    """
    if device.type != "cuda" or dtype is torch.float32 or network not in _CONVOLVING:
        return module
    return module.to(memory_format=torch.channels_last)
