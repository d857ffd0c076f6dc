"""Pictures that share a call do not change each other's last bits."""

from collections.abc import Callable, Sequence

import pytest
import torch
from bits import assert_same
from small_engine import order, spec
from torch import Tensor, nn
from torch.nn import functional

from bench.ours import prepare_now
from engine_worker.engine.networks.batch_invariant_layers import (
    ImageRows,
    batch_composition,
    conv1x1,
    convolve,
    linear,
    make_batch_invariant,
)
from engine_worker.engine.networks.components import Components
from engine_worker.engine.pipeline.resources import bare_resources
from engine_worker.engine.sampling.sampler import predict
from engine_worker.formats.checkpoint_layout import Network
from kernel.protocol.enums import PromptTechnique

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("threads")]

CPU = torch.device("cpu")
CROWDS = [(2, 2), (1, 1, 1), (2, 1, 2), (2,) * 9, (1,) * 17]


def of(rows: Sequence[int], tokens: int = 77) -> list[ImageRows]:
    """Pictures with so many rows each."""
    return [ImageRows(each, tokens) for each in rows]


def in_company(rows: Sequence[int], entered: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
    with batch_composition(of(rows)):
        return layer(entered)


def one_by_one(rows: Sequence[int], entered: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([layer(one) for one in torch.split(entered, list(rows))])


@pytest.mark.sampled(40)
@pytest.mark.parametrize("rows", CROWDS)
@pytest.mark.parametrize("shape", [(128,), (1, 128), (2, 128), (3, 128), (4, 128), (77, 128)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_matrix_multiplies_each_picture_as_alone(
    rows: tuple[int, ...], shape: tuple[int, ...], has_bias: bool
) -> None:
    entered, weight, bias = torch.randn(sum(rows), *shape), torch.randn(96, 128), torch.randn(96)

    def plain(one: Tensor) -> Tensor:
        return functional.linear(one, weight, bias if has_bias else None)

    made = in_company(rows, entered, lambda many: linear(many, weight, bias if has_bias else None))
    assert_same(made, one_by_one(rows, entered, plain))


@pytest.mark.sampled(30)
@pytest.mark.parametrize("rows", CROWDS)
@pytest.mark.parametrize("pixels", [(1, 1), (1, 2), (2, 2), (8, 8), (9, 7)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_convolution_of_one_pixel_is_made_as_alone(
    rows: tuple[int, ...], pixels: tuple[int, int], has_bias: bool
) -> None:
    entered, layer = torch.randn(sum(rows), 64, *pixels), nn.Conv2d(64, 96, 1, bias=has_bias)
    with torch.inference_mode():
        wanted = one_by_one(rows, entered, layer)
        assert_same(
            in_company(rows, entered, lambda many: convolve(layer, many, layer.weight, layer.bias)), wanted
        )
        assert_same(in_company(rows, entered, lambda many: conv1x1(many, layer.weight, layer.bias)), wanted)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 4, 3, padding=1),
        nn.Conv2d(8, 4, 3, stride=2, padding=1),
        nn.Conv2d(8, 4, 1, stride=2),
        nn.Conv2d(8, 4, 1, padding=1),
        nn.Conv2d(8, 4, 1, groups=2),
        nn.Conv2d(8, 4, 3, padding=2, dilation=2, groups=2),
    ],
)
def test_every_other_convolution_is_torchs_own(layer: nn.Conv2d) -> None:
    entered = torch.randn(18, 8, 9, 9)
    with torch.inference_mode(), batch_composition(of((2,) * 9)):
        assert torch.equal(convolve(layer, entered, layer.weight, layer.bias), layer(entered))


def test_nothing_is_kept_apart_outside_a_shared_call() -> None:
    entered, weight = torch.randn(8, 128), torch.randn(96, 128)
    plain = functional.linear(entered, weight)
    assert torch.equal(linear(entered, weight), plain)
    with pytest.raises(RuntimeError), batch_composition(of((2, 2, 2, 2))):
        raise RuntimeError
    assert torch.equal(linear(entered, weight), plain)


def test_only_what_several_pictures_call_is_kept_apart_and_only_where_bits_can_be_kept() -> None:
    def kinds(network: Network, device: torch.device, dtype: torch.dtype) -> set[type[nn.Module]]:
        module = nn.Sequential(nn.Linear(1, 1), nn.Conv2d(1, 1, 1))
        return {type(layer) for layer in make_batch_invariant(module, network, device, dtype)}

    plain = {nn.Linear, nn.Conv2d}
    for network in (Network.UNET, Network.CONTROLNET):
        assert not kinds(network, CPU, torch.float32) & plain
        assert kinds(network, CPU, torch.float16) == plain
        assert kinds(network, torch.device("cuda"), torch.float32) == plain
    assert kinds(Network.VAE, CPU, torch.float32) == plain
    assert kinds(Network.TEXT_ENCODER, CPU, torch.float32) == plain


@pytest.mark.sampled(4)
@pytest.mark.parametrize("width_px", [64, 72])
@pytest.mark.parametrize("count", [2, 9])
def test_a_guided_picture_is_predicted_as_alone_whatever_prompts_are_beside_it(
    parts: Components, width_px: int, count: int
) -> None:
    work = bare_resources(parts)
    jobs = [
        spec(
            prompt="a red ball " * (1 + 40 * (number % 3 == 1)),
            technique=PromptTechnique.SD_EMBED,
            guidance_scale=1.0 if number == 4 else 3.0,
            seed=number,
            width_px=width_px,
        )
        for number in range(count)
    ]
    with torch.inference_mode():
        begun = [prepare_now(work, order(str(n), job)).start(parts, 0) for n, job in enumerate(jobs)]
        together = predict(parts.denoiser, begun, parts.dtype)
        for one, made in zip(begun, together, strict=True):
            (alone,) = predict(parts.denoiser, [one], parts.dtype)
            if one.conditioning.rows == 2:
                assert_same(made, alone)
            torch.testing.assert_close(made, alone, rtol=0, atol=1e-4)
