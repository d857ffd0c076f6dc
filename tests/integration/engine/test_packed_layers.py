"""Packed layers compute what ordinary ones do, and each image's rows alike whatever lies beside them."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from engine_worker.engine.adapters.lora_delta import make_delta
from engine_worker.engine.loading.networks import size_bytes
from engine_worker.engine.networks.batch_invariant_layers import make_batch_invariant
from engine_worker.engine.networks.packed_layers import (
    LARGE_PARAMETERS,
    PackedConv,
    PackedLinear,
    has_kernels,
    packed,
    packed_layers,
    plain,
)
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.lora_keys import Part

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("threads")]

CPU = torch.device("cpu")
ROUNDING = 2e-5
"""Of sums of up to 2,880 products, one added after the other in float32, that end between -5 and 5."""
LAYERS: dict[str, Callable[[], nn.Linear | nn.Conv2d]] = {
    "linear": lambda: nn.Linear(320, 640),
    "linear without bias": lambda: nn.Linear(768, 320, bias=False),
    "convolution": lambda: nn.Conv2d(320, 320, 3, padding=1),
    "first convolution": lambda: nn.Conv2d(9, 320, 3, padding=1),
    "last convolution": lambda: nn.Conv2d(320, 4, 3, padding=1),
    "halving convolution": lambda: nn.Conv2d(320, 320, 3, stride=2, padding=1),
    "convolution of a pixel": lambda: nn.Conv2d(320, 640, 1),
    "convolution of a pixel without bias": lambda: nn.Conv2d(320, 640, 1, bias=False),
}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> nn.Linear | nn.Conv2d:
    torch.manual_seed(3)
    return LAYERS[request.param]().requires_grad_(False)


def pack(module: nn.Module) -> nn.Module:
    """The module with the weights that it has, packed."""
    weights = {name: parameter.clone() for name, parameter in module.named_parameters()}
    order = packed_layers(module)
    ready = {name: order[name](weight) if name in order else weight for name, weight in weights.items()}
    module.load_state_dict(ready, assign=True)
    return module.requires_grad_(False)


def entering(layer: nn.Linear | nn.Conv2d, rows: int, side: int) -> Tensor:
    if isinstance(layer, nn.Linear):
        return torch.randn(rows, side * side, layer.in_features)
    return torch.randn(rows, layer.in_channels, side, side)


@pytest.mark.parametrize("side", [1, 2, 4, 9, 16])
def test_a_packed_layer_computes_what_an_ordinary_one_does(layer: nn.Linear | nn.Conv2d, side: int) -> None:
    entered = entering(layer, 2, side)
    weight, exact = layer.weight.clone(), layer.double()(entered.double())
    module = pack(nn.Sequential(layer.float()))
    torch.testing.assert_close(module(entered).double(), exact, rtol=0, atol=ROUNDING)
    assert torch.equal(plain(layer.weight).reshape(weight.shape), weight)


@pytest.mark.sampled(40)
@pytest.mark.parametrize("side", [1, 2, 4, 9])
@pytest.mark.parametrize("images", [2, 3, 9])
def test_images_that_share_a_call_of_a_packed_layer_get_what_they_get_alone(
    layer: nn.Linear | nn.Conv2d, side: int, images: int
) -> None:
    module = pack(nn.Sequential(layer))
    entered = entering(layer, 2 * images, side)
    alone = torch.cat([module(one) for one in torch.split(entered, 2)])
    assert torch.equal(module(entered), alone)


def test_packing_takes_no_more_memory() -> None:
    module = nn.Sequential(*(make() for make in LAYERS.values())).requires_grad_(False)
    before = size_bytes(module)
    assert size_bytes(pack(module)) == before


def test_only_large_networks_that_images_share_are_packed_and_only_where_kernels_are() -> None:
    class Large(nn.Linear):
        """Its parameter has no memory, and so many numbers."""

        def __init__(self) -> None:
            super().__init__(1, 1)
            self.weight = nn.Parameter(torch.empty(LARGE_PARAMETERS, device="meta"))

    def is_packed(module: nn.Module, network: Network, device: torch.device, dtype: torch.dtype) -> bool:
        packed(module, network, device, dtype)
        return any(isinstance(one, PackedLinear) for one in module.modules())

    def large() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), Large()).requires_grad_(False)

    assert is_packed(large(), Network.UNET, CPU, torch.float32)
    assert is_packed(large(), Network.CONTROLNET, CPU, torch.float32)
    assert not is_packed(large(), Network.VAE, CPU, torch.float32)
    assert not is_packed(large(), Network.TEXT_ENCODER, CPU, torch.float32)
    assert not is_packed(large(), Network.UNET, torch.device("cuda"), torch.float32)
    assert not is_packed(large(), Network.UNET, CPU, torch.float16)
    assert not is_packed(nn.Sequential(nn.Linear(4, 4)), Network.UNET, CPU, torch.float32)


def test_a_torch_that_lacks_one_of_the_kernels_packs_nothing() -> None:
    names = (
        "_linear_pointwise",
        "_convolution_pointwise",
        "_reorder_linear_weight",
        "_reorder_convolution_weight",
    )
    assert has_kernels(SimpleNamespace(**dict.fromkeys(names)))
    for lacking in names:
        assert not has_kernels(SimpleNamespace(**dict.fromkeys(set(names) - {lacking})))


def test_what_has_no_packed_kernel_stays_as_it_is() -> None:
    module = nn.Sequential(
        nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular")
    )
    assert {type(one) for one in pack(module)} == {nn.Conv2d}


def test_a_packed_layer_is_not_replaced_by_one_that_keeps_images_apart() -> None:
    module = make_batch_invariant(
        pack(nn.Sequential(nn.Linear(8, 8), nn.Conv2d(8, 8, 3))), Network.UNET, CPU, torch.float32
    )
    assert [type(one) for one in module] == [PackedLinear, PackedConv]


@pytest.mark.parametrize("is_of_rows", [True, False])
def test_an_adapter_that_reads_the_weight_reads_the_packed_one(
    layer: nn.Linear | nn.Conv2d, is_of_rows: bool
) -> None:
    """DoRA gives the changed weight's rows, or its columns, other lengths."""
    out, entering_channels = layer.weight.shape[:2]
    kernel = layer.kernel_size if isinstance(layer, nn.Conv2d) else ()
    tensors = {
        Part.DOWN: torch.randn(4, entering_channels, *kernel) / 50,
        Part.UP: torch.randn(out, 4, *(1 for _ in kernel)),
        Part.DORA_SCALE: torch.rand(out, 1) + 0.5 if is_of_rows else torch.rand(1, entering_channels) + 0.5,
    }
    entered = entering(layer, 2, 4)

    def with_adapter() -> Tensor:
        change, came_out = make_delta(tensors, lambda rank: 1 / rank, layer), layer(entered)
        added: Tensor = change.added(layer, entered, came_out)
        return added

    ordinary = with_adapter()
    pack(nn.Sequential(layer))
    assert (with_adapter() - ordinary).abs().max() < 1e-4
