"""What each kind of adapter adds to a layer, against peft's layers and against the formula."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from engine_worker.engine.adapters.layer_delta import Layer
from engine_worker.engine.adapters.lora_delta import make_delta
from engine_worker.formats.lora_keys import Part
from kernel.protocol.errors import ModelUnreadable

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

RANK = 4
ALPHA = 2.0
OUT, IN = 12, 8
LAYERS: dict[str, Callable[[], Layer]] = {
    "linear": lambda: nn.Linear(IN, OUT),
    "linear without bias": lambda: nn.Linear(IN, OUT, bias=False),
    "square": lambda: nn.Linear(IN, IN),
    "convolution": lambda: nn.Conv2d(IN, OUT, 3, stride=2, padding=1),
    "convolution of a pixel": lambda: nn.Conv2d(IN, OUT, 1),
}
PARTS = {part.value: part for part in Part}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> Layer:
    torch.manual_seed(3)
    return LAYERS[request.param]().requires_grad_(False)


def entering(layer: Layer) -> Tensor:
    return torch.randn(2, 5, IN) if isinstance(layer, nn.Linear) else torch.randn(2, IN, 6, 6)


def scale_of(rank: int | None) -> float:
    return 1.0 if rank is None else ALPHA / rank


def came_out(layer: Layer, tensors: dict[Part, Tensor], entered: Tensor) -> Tensor:
    change = make_delta(tensors, scale_of, layer)
    plain = layer(entered)
    added: Tensor = plain + change.scale * change.added(layer, entered, plain)
    return added


def with_peft(layer: Layer, config: object) -> tuple[nn.Module, dict[Part, Tensor]]:
    """The layer inside peft, with factors that are not zero, and these by the names that files give them."""
    from peft import get_peft_model

    whole = get_peft_model(nn.Sequential(layer), config)
    found = {}
    for name, parameter in whole.named_parameters():
        words = [word for word in name.split(".") if word in PARTS or word in ("lora_A", "lora_B")]
        if words:
            nn.init.normal_(parameter, std=0.5)
            part = {"lora_A": Part.DOWN, "lora_B": Part.UP}.get(words[0]) or PARTS[words[0]]
            found[part] = parameter.detach()
    return whole, found


@pytest.mark.parametrize("kind", ["LoRA", "DoRA", "LoHa", "LoHa with cores", "LoKr", "LoKr with a core"])
def test_every_kind_adds_what_peft_adds(kind: str, layer: Layer) -> None:
    from peft import LoHaConfig, LoKrConfig, LoraConfig

    shared = {"r": RANK, "target_modules": ["0"]}
    # At a higher rank the small layers' matrices would be stored whole.
    narrow = {**shared, "r": 1}
    configs = {
        "LoRA": lambda: LoraConfig(lora_alpha=ALPHA, **shared),
        "DoRA": lambda: LoraConfig(lora_alpha=ALPHA, use_dora=True, **shared),
        "LoHa": lambda: LoHaConfig(alpha=ALPHA, **shared),
        "LoHa with cores": lambda: LoHaConfig(alpha=ALPHA, use_effective_conv2d=True, **shared),
        "LoKr": lambda: LoKrConfig(alpha=ALPHA, **narrow),
        "LoKr with a core": lambda: LoKrConfig(
            alpha=ALPHA, decompose_both=True, use_effective_conv2d=True, **narrow
        ),
    }
    entered = entering(layer)
    plain = layer(entered)
    peft, tensors = with_peft(layer, configs[kind]())
    with torch.no_grad():
        theirs = peft(entered)
    base = peft.base_model.model[0].base_layer
    assert (theirs - plain).abs().max() > 0.01
    assert torch.allclose(came_out(base, tensors, entered), theirs, atol=1e-5)


def merged(layer: Layer, weight: Tensor, entered: Tensor) -> Tensor:
    """What comes out if the layer has another weight."""
    out: Tensor = torch.func.functional_call(layer, {"weight": weight}, (entered,))
    return out


def test_a_convolution_with_a_core_adds_the_product_of_its_three_tensors() -> None:
    layer = LAYERS["convolution"]().requires_grad_(False)
    down, up = torch.randn(RANK, IN, 1, 1), torch.randn(OUT, RANK, 1, 1)
    core = torch.randn(RANK, RANK, 3, 3)
    product = torch.zeros_like(layer.weight)
    for y in range(3):
        for x in range(3):
            product[:, :, y, x] = up[:, :, 0, 0] @ core[:, :, y, x] @ down[:, :, 0, 0]
    entered = entering(layer)
    wanted = merged(layer, layer.weight + ALPHA / RANK * product, entered)
    tensors = {Part.DOWN: down, Part.UP: up, Part.CORE: core}
    assert torch.allclose(came_out(layer, tensors, entered), wanted, atol=1e-5)


@pytest.mark.parametrize("is_of_rows", [True, False])
def test_lengths_of_rows_and_of_columns_are_told_by_their_shape(layer: Layer, is_of_rows: bool) -> None:
    down = torch.randn(RANK, *layer.weight.shape[1:])
    up = torch.randn(len(layer.weight), RANK)
    changed = layer.weight + ALPHA / RANK * (up @ down.flatten(1)).reshape(layer.weight.shape)
    axes = [axis for axis in range(changed.ndim) if axis != (0 if is_of_rows else 1)]
    present = torch.linalg.vector_norm(changed, dim=axes, keepdim=True)
    lengths = torch.rand_like(present) + 0.5
    wanted = changed / present * lengths
    entered = entering(layer)
    tensors = {Part.DOWN: down, Part.UP: up, Part.DORA_SCALE: lengths}
    assert torch.allclose(came_out(layer, tensors, entered), merged(layer, wanted, entered), atol=1e-5)


def test_two_whole_matrices_have_no_rank_and_are_not_scaled() -> None:
    layer = LAYERS["linear"]().requires_grad_(False)
    small, large = torch.randn(3, 2), torch.randn(OUT // 3, IN // 2)
    entered = entering(layer)
    wanted = merged(layer, layer.weight + torch.kron(small, large), entered)
    tensors = {Part.LOKR_1: small, Part.LOKR_2: large}
    assert torch.allclose(came_out(layer, tensors, entered), wanted, atol=1e-5)


def test_a_linear_layer_that_the_file_holds_as_a_convolution_of_one_pixel_fits() -> None:
    layer = LAYERS["linear"]().requires_grad_(False)
    down, up = torch.randn(RANK, IN), torch.randn(OUT, RANK)
    entered = entering(layer)
    flat = came_out(layer, {Part.DOWN: down, Part.UP: up}, entered)
    as_convolution = {Part.DOWN: down[:, :, None, None], Part.UP: up[:, :, None, None]}
    assert torch.equal(came_out(layer, as_convolution, entered), flat)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({Part.DOWN: torch.zeros(RANK, IN)}, "lacks the part lora_up"),
        ({Part.HADA_A1: torch.zeros(OUT, RANK)}, "lacks the part hada"),
        ({Part.ALPHA: torch.zeros(())}, "lacks the part lokr|alpha"),
        ({Part.DOWN: torch.zeros(RANK, IN), Part.UP: torch.zeros(OUT, RANK + 1)}, "do not match"),
        ({Part.DOWN: torch.zeros(RANK, IN + 1), Part.UP: torch.zeros(OUT, RANK)}, "for a layer of"),
        ({Part.DOWN: torch.zeros(RANK, OUT), Part.UP: torch.zeros(IN, RANK)}, "for a layer of"),
    ],
)
def test_tensors_that_are_no_change_of_the_layer_are_refused_in_words(
    tensors: dict[Part, Tensor], says: str
) -> None:
    with pytest.raises(ModelUnreadable, match=says):
        make_delta(tensors, scale_of, LAYERS["linear"]())


def test_lengths_of_another_number_are_refused() -> None:
    tensors = {
        Part.DOWN: torch.zeros(RANK, IN),
        Part.UP: torch.zeros(OUT, RANK),
        Part.MAGNITUDES: torch.zeros(3),
    }
    with pytest.raises(ModelUnreadable, match="3 magnitudes for 12"):
        make_delta(tensors, scale_of, LAYERS["linear"]())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("is_of_rows", [True, False], ids=["rows", "columns"])
def test_dora_stays_finite_on_rows_of_zeros_and_on_rows_that_are_cancelled(
    dtype: torch.dtype, is_of_rows: bool
) -> None:
    layer = LAYERS["linear"]().requires_grad_(False)
    degenerate = [slice(0, 1), slice(1, 2), slice(2, 3)]
    if not is_of_rows:
        degenerate = [(slice(None), one) for one in degenerate]
    layer.weight[degenerate[0]] = 0.0
    layer.weight[degenerate[1]] = 1e-7
    layer.to(dtype)
    change = torch.zeros(OUT, IN)
    change[degenerate[2]] = -layer.weight[degenerate[2]].float()
    # A whole change as one of full rank: its factors are the change and the identity.
    lengths = torch.full((OUT, 1) if is_of_rows else (1, IN), 3.0)
    tensors = {Part.DOWN: torch.eye(IN), Part.UP: change * IN / ALPHA, Part.DORA_SCALE: lengths}
    entered = entering(layer).to(dtype) * 20
    plain = layer(entered)
    delta = make_delta(tensors, scale_of, layer)
    out = plain + delta.scale * delta.added(layer, entered, plain)
    assert out.dtype is dtype
    assert torch.isfinite(out).all()
    if is_of_rows:
        rest = out[..., :3:2] - layer.bias[:3:2]
        assert rest.abs().max() < 0.2
