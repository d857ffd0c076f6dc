"""Batch-invariant layers: each image of a shared call gets the same bits as it gets alone.

On a CPU in float32 the number of rows selects the kernel of a multiplication, and kernels round differently:
MKL has a special one for fewer than four rows, and ATen sends 1x1 convolutions to another library from 16
rows on. Both are therefore computed as for one image, in one batched call. Attention is computed separately
for prompts of different lengths, and for images of fewer than four pixels when several threads share the
work, because those are rounded per thread. All other layers round a row independently of its neighbors. See
docs/adr/0034.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby
from typing import Final, NamedTuple

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

from engine_worker.formats.checkpoint_layout import Network

FEW_ROWS: Final = 4
"""A matrix with at least this many rows rounds each row as in a matrix of any size."""
MANY_ROWS: Final = 16
"""oneDNN convolves this many rows; ATen itself convolves fewer, row by row, if the process has one thread.

Source: `ConvParams::use_mkldnn`, aten/src/ATen/native/Convolution.cpp.
"""

FEW_NUMBERS: Final = 20_480
"""ATen convolves a single row of at most this many numbers itself; oneDNN convolves it among others. Same
source."""


class ImageRows(NamedTuple):
    """The rows of one image in a shared call."""

    rows: int
    tokens: int
    """The length of its prompt, the same for all its rows."""


ALONE: Final[tuple[ImageRows, ...]] = ()
_sharing: ContextVar[tuple[ImageRows, ...]] = ContextVar("sharing", default=ALONE)


@contextmanager
def batch_composition(images: Sequence[ImageRows]) -> Iterator[None]:
    """A context that tells the layers which images share their calls, in the order of the rows."""
    token = _sharing.set(tuple(images) if len(images) > 1 else ALONE)
    try:
        yield
    finally:
        _sharing.reset(token)


def make_batch_invariant(
    module: nn.Module, network: Network, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """Replace the layers of a network by ones in which images that share a call do not change each other's
    bits.

    Only UNets and ControlNets in float32 on a CPU: in half precision and on a GPU the number of rows selects
    the kernel everywhere.
    """
    is_shared = network in (Network.UNET, Network.CONTROLNET)
    if is_shared and device.type == "cpu" and dtype is torch.float32:
        for layer in module.modules():
            if type(layer) is nn.Linear:
                layer.__class__ = _Linear
            elif type(layer) is nn.Conv2d:
                layer.__class__ = _Conv2d
            elif isinstance(layer, Attention):
                layer.set_processor(_Attention(layer.processor))
    return module


class _Linear(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight, self.bias)


class _Conv2d(nn.Conv2d):
    def forward(self, inputs: Tensor) -> Tensor:
        return convolve(self, inputs, self.weight, self.bias)


class _Attention:
    """Attention that never pads a prompt to the length of another one in the call, and that computes images
    of a few pixels separately, because the number of threads decides how those are rounded."""

    def __init__(self, attend: Callable[..., Tensor]) -> None:
        self._attend = attend

    def __call__(
        self,
        layer: Attention,
        inputs: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **given: object,
    ) -> Tensor:
        """Shapes: inputs (rows, pixels, channels), the prompts (rows, tokens, width)."""
        prompts, images = encoder_hidden_states, _sharing.get()
        if not images:
            return self._attend(layer, inputs, prompts, attention_mask, **given)
        runs = _runs(images, pixels=inputs.shape[1], has_prompts=prompts is not None)
        if len(runs) < 2:
            return self._attend(layer, inputs, prompts, attention_mask, **given)
        outputs: list[Tensor] = []
        begin = 0
        for run in runs:
            end = begin + sum(one.rows for one in run)
            words = None if prompts is None else prompts[begin:end, : run[0].tokens]
            with batch_composition(run):
                outputs.append(self._attend(layer, inputs[begin:end], words, None, **given))
            begin = end
        return torch.cat(outputs)


def _runs(images: Sequence[ImageRows], *, pixels: int, has_prompts: bool) -> list[tuple[ImageRows, ...]]:
    """The images for which attention is computed together, in order."""
    if pixels < FEW_ROWS and torch.get_num_threads() > 1:
        return [(one,) for one in images]
    if not has_prompts:
        return [tuple(images)]
    return [tuple(run) for _, run in groupby(images, lambda one: one.tokens)]


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `torch.nn.functional.linear`. Shapes: inputs (rows, ..., in), result (rows, ..., out)."""
    images = _sharing.get()
    if not images or not inputs.is_cpu:
        return functional.linear(inputs, weight, bias)
    each, threads = inputs.shape[1:-1].numel(), torch.get_num_threads()
    # Threads divide a matrix by its rows.
    few_rows = FEW_ROWS * threads
    rows = [one.rows for one in images]
    if min(rows) * each >= few_rows:
        return functional.linear(inputs, weight, bias)
    if threads > 1 or len(set(rows)) > 1:
        return torch.cat([functional.linear(one, weight, bias) for one in torch.split(inputs, rows)])
    batch = inputs.reshape(len(rows), rows[0] * each, -1)
    made = _multiplied(bias, batch, weight.t().expand(len(rows), -1, -1))
    return made.view(*inputs.shape[:-1], len(weight))


def convolve(layer: nn.Conv2d, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The layer's output for other weights than its own.

    Shapes: inputs (rows, in, height, width), weight (out, in, height, width).
    """
    is_1x1 = weight.shape[2:] == (1, 1) and layer.stride == (1, 1) and layer.padding == (0, 0)
    if is_1x1 and layer.groups == 1:
        return conv1x1(inputs, weight, bias)
    return _convolved(
        inputs,
        lambda one: functional.conv2d(
            one, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups
        ),
    )


def conv1x1(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `torch.nn.functional.conv2d` with a 1x1 kernel.

    Shapes: inputs (rows, in, height, width), weight (out, in, 1, 1).
    """
    rows, _, height, width = inputs.shape
    if not _sharing.get() or rows < MANY_ROWS or not inputs.is_cpu or torch.get_num_threads() > 1:
        return _convolved(inputs, lambda one: functional.conv2d(one, weight, bias))
    if height * width == 1:
        return torch.cat([functional.conv2d(few, weight, bias) for few in torch.split(inputs, MANY_ROWS - 1)])
    column = None if bias is None else bias[:, None]
    made = _multiplied(column, weight.flatten(1).expand(rows, -1, -1), inputs.flatten(2))
    return made.view(rows, -1, height, width)


def _convolved(inputs: Tensor, convolution: Callable[[Tensor], Tensor]) -> Tensor:
    """All images at once, or one by one if a single row would take another code path."""
    rows = [one.rows for one in _sharing.get()]
    if 1 in rows and inputs[0].numel() <= FEW_NUMBERS and inputs.is_cpu:
        return torch.cat([convolution(one) for one in torch.split(inputs, rows)])
    return convolution(inputs)


def _multiplied(added: Tensor | None, batch: Tensor, matrices: Tensor) -> Tensor:
    return torch.bmm(batch, matrices) if added is None else torch.baddbmm(added, batch, matrices)
