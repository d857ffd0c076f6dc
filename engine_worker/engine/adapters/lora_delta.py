"""Converts a LoRA file's tensors for one layer to a layer delta."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from engine_worker.engine.adapters.layer_delta import (
    Addend,
    Biased,
    Decomposed,
    Full,
    Generalized,
    Hadamard,
    Kronecker,
    Layer,
    LayerDelta,
    LowRank,
    OfNorm,
    Rotated,
    Scaled,
    factored,
)
from engine_worker.engine.networks.packed_layers import plain
from engine_worker.formats.lora_keys import Part
from kernel.protocol.errors import ModelUnreadable

Tensors = Mapping[Part, Tensor]
ScaleOf = Callable[[int | None], float]
"""From the rank to the factor of the change; the rank is None for two whole matrices (LoKr)."""
_META = torch.device("meta")


class LayerMisfit(ModelUnreadable):
    """The change is for a layer of another shape."""


def make_delta(
    tensors: Tensors, scale_of: ScaleOf, layer: Layer, device: torch.device | None = None
) -> LayerDelta:
    """The change that these tensors make to the layer, in its precision, on the device (None: the layer's
    own).

    The tensors are float32 on the CPU, in which rotations and DoRA's magnitudes are computed before rounding.
    An offloaded layer may be loaded meanwhile, so its weight is read only once.
    Raises: ModelUnreadable, if a tensor is missing; LayerMisfit, if one is for a layer of another shape.
    """
    weight = layer.weight
    move = partial(Tensor.to, device=device or weight.device, dtype=weight.dtype)
    try:
        delta = _delta(tensors, scale_of, layer, move)
        bias = _bias(tensors, scale_of, layer)
    except KeyError as error:
        raise ModelUnreadable(f"it lacks the part {Part(error.args[0]).value}") from error
    except RuntimeError as error:
        raise LayerMisfit("its parts do not match each other or the layer") from error
    if bias is not None:
        return Biased(delta, move(bias))
    assert delta is not None, "there is a change of the weight or of the bias"
    return delta


def _delta(
    tensors: Tensors, scale_of: ScaleOf, layer: Layer, move: Callable[[Tensor], Tensor]
) -> LayerDelta | None:
    if isinstance(layer, nn.LayerNorm | nn.GroupNorm):
        return _of_norm(tensors, layer, move)
    if Part.OFT_BLOCKS in tensors:
        return _rotated(tensors, layer, move)
    if Part.IA3 in tensors:
        return _scaled(tensors, layer, move)
    if Part.GLORA_A1 in tensors:
        return _generalized(tensors, scale_of, layer, move)
    if tensors.keys() <= {Part.DIFF_B, Part.ALPHA}:
        return None if Part.DIFF_B in tensors else _fitting(tensors, scale_of, layer)
    addend = _fitting(tensors, scale_of, layer)
    lengths = _lengths(tensors, layer)
    ready = addend.moved(move)
    if lengths is None:
        return ready
    weight = layer.weight
    precise = addend.moved(partial(Tensor.to, device=weight.device))
    gain = _gain(precise, plain(weight), *lengths, is_half=torch.finfo(weight.dtype).bits < 32)
    return Decomposed(ready, gain.to(ready.tensors[0].device), is_of_rows=lengths[1])


def _fitting(tensors: Tensors, scale_of: ScaleOf, layer: Layer) -> Addend:
    addend = _composed(tensors, scale_of, layer)
    # On the meta device only shapes are computed.
    changed = addend.moved(partial(Tensor.to, device=_META)).matrix()
    weight = layer.weight
    if changed.numel() != weight.numel() or len(changed) != len(weight):
        raise _misfit(list(changed.shape), layer)
    return addend


def _misfit(shape: list[int], layer: Layer) -> LayerMisfit:
    return LayerMisfit(f"it is for a layer of shape {shape}, but this one is {list(layer.weight.shape)}")


def _composed(tensors: Tensors, scale_of: ScaleOf, layer: Layer) -> Addend:
    """Raises: KeyError, RuntimeError."""
    if Part.DIFF in tensors:
        return Full(1.0, tensors[Part.DIFF])
    if Part.DOWN in tensors or Part.UP in tensors:
        down, up, core = tensors[Part.DOWN], tensors[Part.UP], tensors.get(Part.CORE)
        return _low_rank(down, up, core, scale_of(len(down)), layer)
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


def _low_rank(down: Tensor, up: Tensor, core: Tensor | None, scale: float, layer: Layer) -> LowRank:
    up = up.flatten(1)
    if not isinstance(layer, nn.Conv2d):
        # Some files store linear layers as 1x1 convolutions.
        if core is not None:
            up, core = up @ core.flatten(1), None
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
    scale = scale_of(len(ranked[0]) if ranked else None)
    return Kronecker(scale, small, large if isinstance(layer, nn.Conv2d) else large.flatten(1))


def _bias(tensors: Tensors, scale_of: ScaleOf, layer: Layer) -> Tensor | None:
    """What is added to the layer's bias: as it is, or scaled with the matrix that it belongs to (peft)."""
    if isinstance(layer, nn.LayerNorm | nn.GroupNorm):
        return None
    found = [tensors[Part.DIFF_B].flatten()] if Part.DIFF_B in tensors else []
    if Part.UP_BIAS in tensors:
        found.append(tensors[Part.UP_BIAS].flatten() * scale_of(len(tensors[Part.DOWN])))
    if not found:
        return None
    if any(len(bias) != len(layer.weight) for bias in found):
        raise _misfit(list(found[0].shape), layer)
    return torch.stack(found).sum(0)


def _of_norm(
    tensors: Tensors, layer: nn.LayerNorm | nn.GroupNorm, move: Callable[[Tensor], Tensor]
) -> LayerDelta:
    count = layer.weight.numel()
    if not tensors.keys() <= {Part.DIFF, Part.DIFF_B, Part.ALPHA}:
        raise LayerMisfit("it is for a linear layer or a convolution, but this one is a norm")
    bias = tensors.get(Part.DIFF_B)
    weight = tensors.get(Part.DIFF, torch.zeros(count))
    if weight.numel() != count or (bias is not None and bias.numel() != count):
        raise _misfit(list(weight.shape), layer)
    return OfNorm(move(weight.flatten()), None if bias is None else move(bias.flatten()))


def _rotated(tensors: Tensors, layer: Layer, move: Callable[[Tensor], Tensor]) -> Rotated:
    """Cayley's rotations. Their generators are limited to the length that alpha and the rows allow."""
    blocks, limit = tensors[Part.OFT_BLOCKS], float(tensors.get(Part.ALPHA, torch.zeros(())))
    out = len(layer.weight)
    if blocks.shape[-3] * blocks.shape[-1] != out:
        raise _misfit([blocks.shape[-3] * blocks.shape[-1]], layer)
    skewed = blocks - blocks.transpose(-1, -2)
    length = torch.linalg.vector_norm(skewed) + 1e-8
    if 0 < limit * out < length:
        skewed = skewed * (limit * out / length)
    unit = torch.eye(blocks.shape[-1])
    turns = (unit + skewed) @ torch.linalg.inv(unit - skewed) - unit
    lengths = tensors.get(Part.RESCALE)
    if lengths is not None and lengths.numel() != out:
        raise _misfit([lengths.numel()], layer)
    is_butterfly = blocks.ndim == 4
    return Rotated(
        turns=move(turns if is_butterfly else turns.transpose(-1, -2)[None]),
        lengths=None if lengths is None else move(lengths.flatten()),
        is_butterfly=is_butterfly,
    )


def _scaled(tensors: Tensors, layer: Layer, move: Callable[[Tensor], Tensor]) -> Scaled:
    by, is_of_inputs = tensors[Part.IA3].flatten(), bool(tensors[Part.ON_INPUT])
    if len(by) != layer.weight.shape[1 if is_of_inputs else 0]:
        raise _misfit([len(by)], layer)
    return Scaled(move(by), is_of_inputs)


def _generalized(
    tensors: Tensors, scale_of: ScaleOf, layer: Layer, move: Callable[[Tensor], Tensor]
) -> Generalized:
    a1, a2 = tensors[Part.GLORA_A1].flatten(1), tensors[Part.GLORA_A2].flatten(1)
    down, up = tensors[Part.GLORA_B2], tensors[Part.GLORA_B1]
    change = _fitting({Part.DOWN: down, Part.UP: up}, scale_of, layer)
    assert isinstance(change, LowRank), "it has a way down and one up"
    if len(a1) != layer.weight.shape[1]:
        raise _misfit([len(up), len(a1)], layer)
    return Generalized(scale_of(len(a2)), move(a1), move(a2), change.moved(move))


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
        raise LayerMisfit(f"it has {found.numel()} magnitudes for {wanted} rows or columns")
    return found.flatten(), is_of_rows


def _gain(addend: Addend, weight: Tensor, lengths: Tensor, is_of_rows: bool, *, is_half: bool) -> Tensor:
    """The new magnitudes divided by those of the changed weight.

    A row of zeros stays zero. So does one that the change cancels: what is left of it is noise of the
    rounding, which would get the magnitude of a trained row.
    """
    own, change = weight.float(), addend.scale * addend.matrix().reshape(weight.shape)
    across = [axis for axis in range(own.ndim) if axis != (0 if is_of_rows else 1)]
    present, of_own, of_change = (
        torch.linalg.vector_norm(one, dim=across) for one in (own + change, own, change)
    )
    precision = torch.finfo(weight.dtype).eps
    is_noise = present <= precision * (of_own + of_change)
    gain: Tensor = lengths.to(present.device) / present.masked_fill(is_noise, 1.0)
    gain = gain.masked_fill(is_noise, 0.0)
    if not is_of_rows and is_half:
        # Inputs are multiplied by it in half precision.
        gain = gain.clamp(max=torch.finfo(weight.dtype).max ** 0.5)
    return gain
