"""Converts a LoRA file's tensors for one layer to a layer delta."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from engine_worker.engine.adapters.layer_delta import (
    Addend,
    Decomposed,
    Hadamard,
    Kronecker,
    Layer,
    LayerDelta,
    LowRank,
    factored,
)
from engine_worker.engine.adapters.lora_keys import Part
from engine_worker.engine.networks.packed_layers import plain
from kernel.protocol.errors import ModelUnreadable

Tensors = Mapping[Part, Tensor]
ScaleOf = Callable[[int], float]
"""From the rank to the factor of the change."""
_META = torch.device("meta")


def make_delta(
    tensors: Tensors, scale_of: ScaleOf, layer: Layer, device: torch.device | None = None
) -> LayerDelta:
    """The change that these tensors make to the layer, in its precision, on the device (None: the layer's
    own).

    The tensors are float32 on the CPU, in which DoRA's magnitudes are computed before rounding. An offloaded
    layer may be loaded meanwhile, so its weight is read only once.
    Raises: ModelUnreadable, if a tensor is missing, or has the wrong shape for this layer.
    """
    weight = layer.weight
    device, dtype = device or weight.device, weight.dtype
    addend = _addend(tensors, scale_of, layer)
    ready = addend.moved(partial(Tensor.to, device=device, dtype=dtype))
    lengths = _lengths(tensors, layer)
    if lengths is None:
        return ready
    gain = _gain(addend.moved(partial(Tensor.to, device=weight.device)), plain(weight), *lengths)
    return Decomposed(ready, gain.to(device, dtype), is_of_rows=lengths[1])


def _addend(tensors: Tensors, scale_of: ScaleOf, layer: Layer) -> Addend:
    try:
        addend = _composed(tensors, scale_of, layer)
        # On the meta device only shapes are computed.
        changed = addend.moved(partial(Tensor.to, device=_META)).matrix()
    except KeyError as error:
        raise ModelUnreadable(f"it lacks the part {Part(error.args[0]).value}") from error
    except RuntimeError as error:
        raise ModelUnreadable("its parts do not match each other or the layer") from error
    weight = layer.weight
    if changed.numel() != weight.numel() or len(changed) != len(weight):
        raise ModelUnreadable(
            f"it is for a layer of shape {list(changed.shape)}, but this one is {list(weight.shape)}"
        )
    return addend


def _composed(tensors: Tensors, scale_of: ScaleOf, layer: Layer) -> Addend:
    """Raises: KeyError, RuntimeError."""
    if Part.DOWN in tensors or Part.UP in tensors:
        return _low_rank(tensors, scale_of, layer)
    if Part.HADA_A1 in tensors:
        return Hadamard(
            scale=scale_of(len(tensors[Part.HADA_B1])),
            a1=tensors[Part.HADA_A1],
            b1=tensors[Part.HADA_B1],
            a2=tensors[Part.HADA_A2],
            b2=tensors[Part.HADA_B2],
            core1=tensors.get(Part.HADA_CORE1),
            core2=tensors.get(Part.HADA_CORE2),
        )
    return _kronecker(tensors, scale_of, layer)


def _low_rank(tensors: Tensors, scale_of: ScaleOf, layer: Layer) -> LowRank:
    down, up, core = tensors[Part.DOWN], tensors[Part.UP], tensors.get(Part.CORE)
    scale, up = scale_of(len(down)), up.flatten(1)
    if isinstance(layer, nn.Linear):
        # Some files store linear layers as 1x1 convolutions.
        return LowRank(scale, down.flatten(1), up)
    kernel = layer.kernel_size if core is None else (1, 1)
    return LowRank(scale, down.reshape(len(down), layer.in_channels, *kernel), up[:, :, None, None], core)


def _kronecker(tensors: Tensors, scale_of: ScaleOf, layer: Layer) -> Kronecker:
    ranked = [tensors[part] for part in (Part.LOKR_B1, Part.LOKR_B2) if part in tensors]
    small = tensors.get(Part.LOKR_1)
    if small is None:
        small = tensors[Part.LOKR_A1] @ tensors[Part.LOKR_B1]
    large = tensors.get(Part.LOKR_2)
    if large is None:
        large = factored(tensors[Part.LOKR_A2], tensors[Part.LOKR_B2], tensors.get(Part.LOKR_CORE2))
    if isinstance(layer, nn.Conv2d) and large.ndim == 2:
        large = large.reshape(len(large), -1, *layer.kernel_size)
    # Two full matrices have no rank.
    scale = scale_of(len(ranked[0])) if ranked else 1.0
    return Kronecker(scale, small, large if isinstance(layer, nn.Conv2d) else large.flatten(1))


def _lengths(tensors: Tensors, layer: Layer) -> tuple[Tensor, bool] | None:
    """DoRA's magnitudes, and whether they are those of rows; None for another kind."""
    if Part.MAGNITUDES in tensors:
        found, is_of_rows = tensors[Part.MAGNITUDES], True
    elif Part.DORA_SCALE in tensors:
        found = tensors[Part.DORA_SCALE]
        is_of_rows = found.ndim == 1 or len(found) == len(layer.weight)
    else:
        return None
    wanted = layer.weight.shape[0 if is_of_rows else 1]
    if found.numel() != wanted:
        raise ModelUnreadable(f"it has {found.numel()} magnitudes for {wanted} rows or columns")
    return found.flatten(), is_of_rows


def _gain(addend: Addend, weight: Tensor, lengths: Tensor, is_of_rows: bool) -> Tensor:
    """The new magnitudes divided by those of the changed weight. A row of zeros stays zero."""
    changed = weight.float() + addend.scale * addend.matrix().reshape(weight.shape)
    across = [axis for axis in range(changed.ndim) if axis != (0 if is_of_rows else 1)]
    present = torch.linalg.vector_norm(changed, dim=across)
    gain: Tensor = lengths.to(present.device) / present.clamp_min(torch.finfo(torch.float32).tiny)
    return gain
