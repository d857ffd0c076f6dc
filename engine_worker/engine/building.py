"""Building networks from their plans: every name and shape is compared before the first tensor is read."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from engine_worker.engine.blueprint import Network, NetworkPlan
from engine_worker.engine.devices import vae_dtype
from engine_worker.engine.gpu.layout import lay_out
from engine_worker.engine.networks import build_empty, fill
from engine_worker.engine.weights import Place, check_surplus, find_places, read_parameters


def build_networks(
    plans: Sequence[NetworkPlan],
    device: torch.device,
    dtype: torch.dtype,
    is_leftover: Callable[[str], bool],
) -> list[nn.Module]:
    """The networks with their parameters, in the order of the plans.

    Raises: ModelUnreadable, if a tensor is missing, of a wrong shape, of no use and no leftover, or cannot
    be read; torch.OutOfMemoryError.
    """
    empty = [build_empty(plan) for plan in plans]
    shapes = [{name: held.shape for name, held in module.named_parameters()} for module in empty]
    places = [find_places(wanted, plan) for wanted, plan in zip(shapes, plans, strict=True)]
    files = {header.path: header for plan in plans for header in plan.files}
    taken: list[Place] = [place for found in places for place in found.values()]
    check_surplus(files.values(), taken, is_leftover)
    return [
        _filled(module, found, wanted, plan, device, dtype)
        for module, found, wanted, plan in zip(empty, places, shapes, plans, strict=True)
    ]


def _filled(
    empty: nn.Module,
    places: Mapping[str, Place],
    shapes: Mapping[str, torch.Size],
    plan: NetworkPlan,
    device: torch.device,
    dtype: torch.dtype,
) -> nn.Module:
    own_dtype = _dtype_of(plan, device, dtype)
    module = fill(empty, read_parameters(places, shapes, device, own_dtype), device)
    return lay_out(module, plan.network, device, own_dtype)


def _dtype_of(plan: NetworkPlan, device: torch.device, dtype: torch.dtype) -> torch.dtype:
    return vae_dtype(dtype, device) if plan.network is Network.VAE else dtype
