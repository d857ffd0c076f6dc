"""Builds networks from a checkpoint layout; names and shapes are checked before any tensor is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from engine_worker.engine.loading.networks import build_empty, fill
from engine_worker.engine.loading.weights import Place, check_surplus, find_places, read_parameters
from engine_worker.engine.networks.batch_invariant_layers import make_batch_invariant
from engine_worker.engine.networks.offload import HOME
from engine_worker.engine.networks.packed_layers import packed
from engine_worker.engine.runtime.devices import vae_dtype
from engine_worker.formats.checkpoint_layout import Network, NetworkPlan

_CONVOLVING: Final = frozenset({Network.UNET, Network.VAE, Network.CONTROLNET})


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


def build_networks(
    plans: Sequence[NetworkPlan],
    device: torch.device,
    dtype: torch.dtype,
    is_leftover: Callable[[str], bool],
    offloaded: frozenset[Network] = frozenset(),
) -> list[nn.Module]:
    """Build networks with their parameters, in the order of the plans.

    Offloaded networks are stored in host memory, in the precision of the device.
    Raises: ModelUnreadable, if a tensor is missing, has the wrong shape, is unknown and no leftover, or
    cannot be read; torch.OutOfMemoryError.
    """
    empty = [build_empty(plan) for plan in plans]
    shapes = [{name: held.shape for name, held in module.named_parameters()} for module in empty]
    places = [find_places(wanted, plan) for wanted, plan in zip(shapes, plans, strict=True)]
    files = {header.path: header for plan in plans for header in plan.files}
    taken: list[Place] = [place for found in places for place in found.values()]
    check_surplus(files.values(), taken, is_leftover)
    return [
        _filled(module, found, wanted, plan, _Target.of(plan.network, device, dtype, offloaded))
        for module, found, wanted, plan in zip(empty, places, shapes, plans, strict=True)
    ]


def _filled(
    empty: nn.Module,
    places: Mapping[str, Place],
    shapes: Mapping[str, torch.Size],
    plan: NetworkPlan,
    target: _Target,
) -> nn.Module:
    pack = packed(empty, plan.network, target.device, target.dtype)
    parameters = read_parameters(places, shapes, target.place, target.dtype, pack)
    filled = fill(empty, parameters, target.place)
    laid_out = set_memory_format(filled, plan.network, target.device, target.dtype)
    return make_batch_invariant(laid_out, plan.network, target.device, target.dtype)


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
