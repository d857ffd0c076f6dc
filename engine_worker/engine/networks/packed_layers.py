"""Linear and convolution layers whose weights are packed for oneDNN.

In float32 torch multiplies with MKL, and passes the weights of convolutions to oneDNN in the order of the
file. oneDNN then reorders them in every call, 59 MB for 1280 x 1280 x 3 x 3. For images of few latents this
takes most of a step. Here each weight is reordered once, while the network is read, and pixels are channels
last, so that nothing else is reordered either. A packed weight has the same numbers and the same size.

These kernels round each row independently of its neighbors and of the number of threads. They round
differently from the stock ones, and weights that fit into a cache gain nothing, so only large networks are
packed. See adr/0035.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from engine_worker.formats.checkpoint_layout import Network

Pack = Callable[[Tensor], Tensor]
"""Converts a weight on the CPU to the layout that the layer's kernel reads."""

LARGE_PARAMETERS: Final = 100_000_000
"""The UNets of SD 1.5 and SDXL have 860 and 2,567 million parameters, their ControlNets 361 and 1,251
million."""
_PACKED_NETWORKS: Final = frozenset({Network.UNET, Network.CONTROLNET})
_OPERATORS: Final = (
    "_linear_pointwise",
    "_convolution_pointwise",
    "_reorder_linear_weight",
    "_reorder_convolution_weight",
)
_NO_ACTIVATION: Final[tuple[str, list[float], str]] = ("none", [], "")
"""An activation that oneDNN could fuse: its name, its scalars, its algorithm."""


def packed(
    empty: nn.Module, network: Network, device: torch.device, dtype: torch.dtype
) -> Mapping[str, Pack]:
    """Replace a network's layers by packed ones, if it is large and runs on the CPU in float32.

    Returns: the function that packs each of their weights, by parameter name.
    """
    return packed_layers(empty) if _is_wanted(empty, network, device, dtype) else {}


def packed_layers(module: nn.Module) -> dict[str, Pack]:
    """Replace all layers that can be packed. Returns: the functions that pack their weights, by parameter
    name."""
    found: dict[str, Pack] = {}
    for name, layer in module.named_modules():
        if type(layer) is nn.Linear:
            layer.__class__ = PackedLinear
            found[f"{name}.weight"] = _pack_matrix
        elif type(layer) is nn.Conv2d and _is_of_one_pixel(layer):
            layer.__class__ = PackedPixelConv
            layer.weight = _parameter(layer.weight.flatten(1))
            found[f"{name}.weight"] = _pack_matrix
        elif type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros":
            layer.__class__ = PackedConv
            found[f"{name}.weight"] = partial(_pack_kernels, layer)
    return found


def has_kernels(operators: object) -> bool:
    """True if torch was built with oneDNN and with all operators that packed layers need."""
    return torch._C._has_mkldnn and all(hasattr(operators, name) for name in _OPERATORS)


def plain(weight: Tensor) -> Tensor:
    """A layer's weight in the ordinary layout: itself, or a copy of a packed one."""
    return weight.to_dense() if weight.is_mkldnn else weight


class PackedLinear(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return _multiply(inputs, self.weight, self.bias)


class PackedPixelConv(nn.Conv2d):
    """A 1x1 convolution: a linear layer per pixel. Its weight is packed as (out, in)."""

    def forward(self, inputs: Tensor) -> Tensor:
        pixels = inputs.permute(0, 2, 3, 1)
        return _multiply(pixels, self.weight, self.bias).permute(0, 3, 1, 2)


class PackedConv(nn.Conv2d):
    def forward(self, inputs: Tensor) -> Tensor:
        convolved: Tensor = torch.ops.mkldnn._convolution_pointwise(
            inputs.contiguous(memory_format=torch.channels_last),
            self.weight,
            self.bias,
            self.padding,
            self.stride,
            self.dilation,
            self.groups,
            *_NO_ACTIVATION,
        )
        return convolved


def _multiply(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    multiplied: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, *_NO_ACTIVATION)
    return multiplied


def _is_wanted(module: nn.Module, network: Network, device: torch.device, dtype: torch.dtype) -> bool:
    return (
        network in _PACKED_NETWORKS
        and device.type == "cpu"
        and dtype is torch.float32
        and has_kernels(torch.ops.mkldnn)
        and sum(parameter.numel() for parameter in module.parameters()) >= LARGE_PARAMETERS
    )


def _is_of_one_pixel(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size == (1, 1)
        and layer.stride == (1, 1)
        and layer.padding == (0, 0)
        and layer.groups == 1
    )


def _pack_matrix(weight: Tensor) -> Tensor:
    """Shapes: (out, in), or (out, in, 1, 1) for a 1x1 convolution; the result (out, in)."""
    reordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.flatten(1), None)
    return reordered


def _pack_kernels(layer: nn.Conv2d, weight: Tensor) -> Tensor:
    """Shapes: (out, in, height, width), the result too."""
    reordered: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
        weight, list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups
    )
    return reordered


def _parameter(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight, requires_grad=False)
