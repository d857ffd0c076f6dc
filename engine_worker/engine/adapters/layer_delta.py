"""The change that an adapter makes to one layer, computed beside the layer and never merged into its weights.

Sources: LoRA (arXiv:2106.09685), its form for convolutions with and without a core (LoCon), LoHa, LoKr and
the forms of GLoRA, OFT, BOFT and IA3 (LyCORIS, arXiv:2309.14859), DoRA (arXiv:2402.09353).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine_worker.engine.networks.batch_invariant_layers import conv1x1, convolve, linear
from engine_worker.engine.networks.packed_layers import plain

Layer = nn.Linear | nn.Conv2d | nn.LayerNorm | nn.GroupNorm
Move = Callable[[Tensor], Tensor]
"""Moves a tensor to another device or precision."""


class LayerDelta(Protocol):
    """The change of one layer."""

    @property
    def scale(self) -> float:
        """The factor of the change at full strength: alpha / rank. Multiplied into factors in half precision,
        it would cost precision, so it is kept apart."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors that it holds."""

    def added(self, layer: Layer, inputs: Tensor, outputs: Tensor) -> Tensor:
        """The tensor to add to the layer's output, given its input and output."""


class Addend(LayerDelta, Protocol):
    """A change that is a matrix of the weight's size, independent of the weight."""

    def matrix(self) -> Tensor:
        """That matrix, without its scale. Shapes: (out, in); for a convolution, any shape of as many
        numbers."""

    def moved(self, move: Move) -> Self:
        """The same with every tensor moved."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """LoRA: through a few channels and back.

    Shapes: down (rank, in[, height, width]), up (out, rank[, 1, 1]); with a core, down is (rank, in, 1, 1)
    and the core (rank, rank, height, width).
    """

    scale: float
    down: Tensor
    up: Tensor
    core: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.down, self.up) if self.core is None else (self.down, self.up, self.core)

    def matrix(self) -> Tensor:
        up = self.up.flatten(1)
        if self.core is None:
            return (up @ self.down.flatten(1)).reshape(len(up), *self.down.shape[1:])
        return torch.einsum("abhw,oa,bi->oihw", self.core, up, self.down.flatten(1))

    def added(self, layer: Layer, inputs: Tensor, outputs: Tensor) -> Tensor:
        if isinstance(layer, nn.Linear):
            return linear(linear(inputs, self.down), self.up)
        if self.core is None:
            return conv1x1(through(layer, inputs, self.down), self.up)
        narrow = conv1x1(inputs, self.down)
        return conv1x1(through(layer, narrow, self.core), self.up)

    def moved(self, move: Move) -> "LowRank":
        return replace(self, down=move(self.down), up=move(self.up), core=_moved(self.core, move))


@dataclass(frozen=True, slots=True)
class Hadamard:
    """LoHa: the elementwise product of two low-rank matrices.

    Shapes: a (out, rank), b (rank, in * height * width); with cores, a is (rank, out), b (rank, in) and a
    core (rank, rank, height, width).
    """

    scale: float
    a1: Tensor
    b1: Tensor
    a2: Tensor
    b2: Tensor
    core1: Tensor | None = None
    core2: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        cores = [core for core in (self.core1, self.core2) if core is not None]
        return (self.a1, self.b1, self.a2, self.b2, *cores)

    def matrix(self) -> Tensor:
        return factored(self.a1, self.b1, self.core1) * factored(self.a2, self.b2, self.core2)

    def added(self, layer: Layer, inputs: Tensor, outputs: Tensor) -> Tensor:
        return through(layer, inputs, self.matrix())

    def moved(self, move: Move) -> "Hadamard":
        return replace(
            self,
            a1=move(self.a1),
            b1=move(self.b1),
            a2=move(self.a2),
            b2=move(self.b2),
            core1=_moved(self.core1, move),
            core2=_moved(self.core2, move),
        )


@dataclass(frozen=True, slots=True)
class Kronecker:
    """LoKr: the Kronecker product of a small and a large matrix.

    Shapes: small (a, b), large (out/a, in/b[, height, width]).
    """

    scale: float
    small: Tensor
    large: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.small, self.large)

    def matrix(self) -> Tensor:
        # As torch.kron, which does not support the meta device.
        return torch.einsum("ab,cd...->acbd...", self.small, self.large).flatten(2, 3).flatten(0, 1)

    def added(self, layer: Layer, inputs: Tensor, outputs: Tensor) -> Tensor:
        if isinstance(layer, nn.Conv2d):
            return through(layer, inputs, self.matrix())
        columns = inputs.reshape(*inputs.shape[:-1], self.small.shape[1], -1)
        return (self.small @ linear(columns, self.large)).flatten(-2)

    def moved(self, move: Move) -> "Kronecker":
        return replace(self, small=move(self.small), large=move(self.large))


@dataclass(frozen=True, slots=True)
class Full:
    """A whole matrix. Shapes: weight (out, in[, height, width])."""

    scale: float
    weight: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.weight,)

    def matrix(self) -> Tensor:
        return self.weight

    def added(self, layer: Layer, inputs: Tensor, outputs: Tensor) -> Tensor:
        return through(layer, inputs, self.weight)

    def moved(self, move: Move) -> "Full":
        return replace(self, weight=move(self.weight))


@dataclass(frozen=True, slots=True)
class OfNorm:
    """The change of a norm's weight and bias. Shapes: (channels)."""

    weight: Tensor
    bias: Tensor | None

    @property
    def scale(self) -> float:
        return 1.0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    def added(self, layer: Layer, inputs: Tensor, outputs: Tensor) -> Tensor:
        if isinstance(layer, nn.GroupNorm):
            return functional.group_norm(inputs, layer.num_groups, self.weight, self.bias, layer.eps)
        return functional.layer_norm(inputs, self.weight.shape, self.weight, self.bias, _eps(layer))


@dataclass(frozen=True, slots=True)
class Scaled:
    """IA3: the layer's outputs, or its inputs, times a vector. Shapes: by (out) or (in)."""

    by: Tensor
    is_of_inputs: bool

    @property
    def scale(self) -> float:
        return 1.0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.by,)

    def added(self, layer: Layer, inputs: Tensor, outputs: Tensor) -> Tensor:
        by = _channels(layer, self.by)
        if self.is_of_inputs:
            return through(layer, inputs * by, plain(layer.weight))
        return without_bias(layer, outputs) * by


@dataclass(frozen=True, slots=True)
class Rotated:
    """OFT and BOFT: the rows of the weight are rotated, in blocks.

    Shapes: turns (stages, blocks, size, size): rotations minus the identity; of OFT there is one stage.
    lengths (out): what the rows are multiplied by afterwards.
    """

    turns: Tensor
    lengths: Tensor | None
    is_butterfly: bool

    @property
    def scale(self) -> float:
        return 1.0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.turns,) if self.lengths is None else (self.turns, self.lengths)

    def added(self, layer: Layer, inputs: Tensor, outputs: Tensor) -> Tensor:
        # The weight is rotated, and not the outputs, so that other rows of the call change no bits.
        rows = plain(layer.weight).flatten(1)
        turned = rows
        for stage, turns in enumerate(self.turns):
            near = 2**stage * (turns.shape[-1] // 2)
            turned = self._turned(turned, turns, near)
        if self.lengths is not None:
            turned = turned * self.lengths[:, None]
        return through(layer, inputs, turned - rows)

    def _turned(self, rows: Tensor, turns: Tensor, near: int) -> Tensor:
        """One stage. Shapes: rows (out, in), turns (blocks, size, size)."""
        blocks, size, _ = turns.shape
        if not self.is_butterfly:
            return rows + (turns @ rows.view(blocks, size, -1)).flatten(0, 1)
        # Row number far * 2 * near + half * near + place meets the one of the other half.
        paired = rows.view(-1, 2, near, rows.shape[1]).transpose(1, 2).reshape(blocks, size, -1)
        turned = paired + turns @ paired
        return turned.view(-1, near, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)


@dataclass(frozen=True, slots=True)
class Generalized:
    """GLoRA: a low-rank change of the inputs, through the layer's own weight, and one of the weight.

    Shapes: a1 (in, rank), a2 (rank, in).
    """

    scale: float
    a1: Tensor
    a2: Tensor
    change: LowRank

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.a1, self.a2, *self.change.tensors)

    def added(self, layer: Layer, inputs: Tensor, outputs: Tensor) -> Tensor:
        a1, a2 = self.a1, self.a2
        if isinstance(layer, nn.Linear):
            changed = linear(linear(inputs, a2), a1)
        else:
            changed = conv1x1(conv1x1(inputs, a2[:, :, None, None]), a1[:, :, None, None])
        return through(layer, changed, plain(layer.weight)) + self.change.added(layer, inputs, outputs)


@dataclass(frozen=True, slots=True)
class Biased:
    """A change with a change of the bias beside it, which alpha does not scale. Shapes: bias (out)."""

    change: LayerDelta | None
    bias: Tensor

    @property
    def scale(self) -> float:
        return 1.0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.bias,) if self.change is None else (*self.change.tensors, self.bias)

    def added(self, layer: Layer, inputs: Tensor, outputs: Tensor) -> Tensor:
        bias = _channels(layer, self.bias)
        if self.change is None:
            return bias.expand_as(outputs)
        return self.change.scale * self.change.added(layer, inputs, outputs) + bias


@dataclass(frozen=True, slots=True)
class Decomposed:
    """DoRA: the rows of the changed weight (in some trainers' files its columns) get new magnitudes.

    Shapes: gain (out) or (in), the new magnitude divided by that of the changed weight, in float32: that of a
    short row may be too large for half precision, in which its product with the row is not.
    """

    change: Addend
    gain: Tensor
    is_of_rows: bool

    @property
    def scale(self) -> float:
        return 1.0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.change.tensors, self.gain)

    def added(self, layer: Layer, inputs: Tensor, outputs: Tensor) -> Tensor:
        gain = _channels(layer, self.gain)
        if not self.is_of_rows:
            own = through(layer, (inputs * (gain - 1)).to(inputs.dtype), plain(layer.weight))
            changed = self.change.added(layer, (inputs * gain).to(inputs.dtype), outputs)
            return own + self.change.scale * changed
        outputs = without_bias(layer, outputs)
        changed = self.change.scale * self.change.added(layer, inputs, outputs)
        return ((gain - 1) * outputs + gain * changed).to(outputs.dtype)


def through(layer: Layer, inputs: Tensor, weight: Tensor) -> Tensor:
    """The output of a linear layer or a convolution for this weight, without a bias."""
    if isinstance(layer, nn.Linear):
        return linear(inputs, weight.reshape(-1, layer.in_features))
    assert isinstance(layer, nn.Conv2d), "a norm has changes of its own"
    shape = weight.shape if weight.ndim == 4 else (len(weight), layer.in_channels, *layer.kernel_size)
    return convolve(layer, inputs, weight.reshape(shape))


def without_bias(layer: Layer, outputs: Tensor) -> Tensor:
    """The output that a layer would have had without its bias."""
    return outputs if layer.bias is None else outputs - _channels(layer, layer.bias)


def _channels(layer: Layer, values: Tensor) -> Tensor:
    """A value for each channel, in the shape that inputs and outputs have them in."""
    return values[:, None, None] if isinstance(layer, nn.Conv2d) else values


def _eps(layer: Layer) -> float:
    assert isinstance(layer, nn.LayerNorm), "other layers have none"
    return layer.eps


def factored(a: Tensor, b: Tensor, core: Tensor | None) -> Tensor:
    """A matrix from its factors. Shapes: as in LoHa."""
    return a @ b if core is None else torch.einsum("abhw,bi,ao->oihw", core, b, a)


def _moved(core: Tensor | None, move: Move) -> Tensor | None:
    return None if core is None else move(core)
