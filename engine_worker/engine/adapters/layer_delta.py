"""The change that an adapter makes to one layer, computed beside the layer and never merged into its weights.

Sources: LoRA (arXiv:2106.09685), its form for convolutions with and without a core (LoCon), LoHa and LoKr
(LyCORIS, arXiv:2309.14859), DoRA (arXiv:2402.09353).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from engine_worker.engine.networks.batch_invariant_layers import conv1x1, convolve, linear
from engine_worker.engine.networks.packed_layers import plain

Layer = nn.Linear | nn.Conv2d
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
class Decomposed:
    """DoRA: the rows of the changed weight (in some trainers' files its columns) get new magnitudes.

    Shapes: gain (out) or (in), the new magnitude divided by that of the changed weight.
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
        gain = self.gain if isinstance(layer, nn.Linear) else self.gain[:, None, None]
        if not self.is_of_rows:
            own = through(layer, inputs * (gain - 1), plain(layer.weight))
            return own + self.change.scale * self.change.added(layer, inputs * gain, outputs)
        bias = layer.bias
        if bias is not None:
            outputs = outputs - (bias if isinstance(layer, nn.Linear) else bias[:, None, None])
        changed = self.change.scale * self.change.added(layer, inputs, outputs)
        return (gain - 1) * outputs + gain * changed


def through(layer: Layer, inputs: Tensor, weight: Tensor) -> Tensor:
    """The layer's output for this weight, without a bias."""
    if isinstance(layer, nn.Linear):
        return linear(inputs, weight.reshape(-1, layer.in_features))
    shape = weight.shape if weight.ndim == 4 else (len(weight), layer.in_channels, *layer.kernel_size)
    return convolve(layer, inputs, weight.reshape(shape))


def factored(a: Tensor, b: Tensor, core: Tensor | None) -> Tensor:
    """A matrix from its factors. Shapes: as in LoHa."""
    return a @ b if core is None else torch.einsum("abhw,bi,ao->oihw", core, b, a)


def _moved(core: Tensor | None, move: Move) -> Tensor | None:
    return None if core is None else move(core)
