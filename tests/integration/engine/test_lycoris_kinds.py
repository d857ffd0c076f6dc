"""What each kind of LyCORIS' adapters adds to a layer, against LyCORIS' own modules and their files."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine_worker.engine.adapters.layer_delta import Layer
from engine_worker.engine.adapters.lora_delta import make_delta
from engine_worker.formats.lora_keys import Part, parts_by_layer
from engine_worker.formats.safetensors_header import Entry, Header

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
modules = pytest.importorskip("lycoris.modules", reason="LyCORIS is not installed")

RANK, ALPHA = 4, 2.0
OUT, IN = 16, 8
LAYERS: dict[str, Callable[[], Layer]] = {
    "linear": lambda: nn.Linear(IN, OUT),
    "linear without bias": lambda: nn.Linear(IN, OUT, bias=False),
    "convolution": lambda: nn.Conv2d(IN, OUT, 3, stride=2, padding=1),
    "convolution of a pixel": lambda: nn.Conv2d(IN, OUT, 1),
}
NAME = "lora_unet_mid_block_x"
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "LoCon": ("locon.LoConModule", {}),
    "LoCon with a core": ("locon.LoConModule", {"use_tucker": True}),
    "LoCon, rank-stabilized": ("locon.LoConModule", {"rs_lora": True}),
    "DoRA of rows": ("locon.LoConModule", {"weight_decompose": True, "wd_on_out": True}),
    "DoRA of columns": ("locon.LoConModule", {"weight_decompose": True, "wd_on_out": False}),
    "LoHa": ("loha.LohaModule", {}),
    "LoHa with cores": ("loha.LohaModule", {"use_tucker": True}),
    "LoHa as DoRA": ("loha.LohaModule", {"weight_decompose": True, "wd_on_out": True}),
    "LoKr": ("lokr.LokrModule", {"lora_dim": 1}),
    "LoKr in four factors": ("lokr.LokrModule", {"lora_dim": 1, "decompose_both": True}),
    "LoKr with a core": ("lokr.LokrModule", {"lora_dim": 1, "use_tucker": True}),
    "LoKr of whole matrices": ("lokr.LokrModule", {"full_matrix": True}),
    "GLoRA": ("glora.GLoRAModule", {}),
    "full": ("full.FullModule", {}),
    "OFT": ("diag_oft.DiagOFTModule", {}),
    "OFT with a limit": ("diag_oft.DiagOFTModule", {"constraint": 0.01}),
    "OFT with magnitudes": ("diag_oft.DiagOFTModule", {"rescaled": True}),
    "BOFT": ("boft.ButterflyOFTModule", {}),
    "BOFT with magnitudes and a limit": ("boft.ButterflyOFTModule", {"rescaled": True, "constraint": 0.01}),
    "IA3 of outputs": ("ia3.IA3Module", {}),
    "IA3 of inputs": ("ia3.IA3Module", {"train_on_input": True}),
}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> Layer:
    torch.manual_seed(3)
    return LAYERS[request.param]().requires_grad_(False)


def entering(layer: Layer) -> Tensor:
    return torch.randn(2, 5, IN) if isinstance(layer, nn.Linear) else torch.randn(2, IN, 6, 6)


def split(tensors: Mapping[str, Tensor]) -> dict[Part, Tensor]:
    """The parts of one layer, as they are found in a file with these tensors."""
    entries = {
        f"{NAME}.{key}": Entry(dtype="F32", shape=tuple(held.shape), data_offsets=(0, 0))
        for key, held in tensors.items()
    }
    (found,) = parts_by_layer(Header(None, entries, {})).layers.values()  # type: ignore[arg-type]
    return {part: tensors[key.removeprefix(f"{NAME}.")].float() for part, key in found.items()}


def came_out(layer: Layer, tensors: Mapping[str, Tensor], entered: Tensor) -> Tensor:
    parts = split(tensors)
    alpha = float(parts.pop(Part.ALPHA)) if Part.OFT_BLOCKS not in parts and Part.ALPHA in parts else 0.0
    change = make_delta(parts, lambda rank: alpha / rank if rank else 1.0, layer)
    plain: Tensor = layer(entered)
    return plain + change.scale * change.added(layer, entered, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_adds_what_lycoris_adds(kind: str, layer: Layer) -> None:
    path, options = KINDS[kind]
    file, name = path.split(".")
    make = getattr(importlib.import_module(f"lycoris.modules.{file}"), name)
    entered = entering(layer)
    plain = layer(entered)
    module = make(NAME, layer, **{"lora_dim": RANK, "alpha": ALPHA, **options}).eval()
    module.apply_to()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
        # Its forward pass is what is trained; merging scales LoHa and LoKr twice (LyCORIS 4.1).
        theirs = module(entered)
    module.restore()
    own = {key: held for key, held in module.state_dict().items() if not key.startswith("org_")}
    tensors = module.custom_state_dict() or own
    ours = came_out(layer, {key: held.detach().clone() for key, held in tensors.items()}, entered)
    assert (theirs - plain).abs().max() > 0.01
    assert torch.allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("norm", [nn.LayerNorm(IN), nn.GroupNorm(2, IN)], ids=["LayerNorm", "GroupNorm"])
def test_norms_add_what_lycoris_adds(norm: Layer) -> None:
    norm.requires_grad_(False)
    module = modules.NormModule(NAME, norm)
    nn.init.normal_(module.w_norm)
    nn.init.normal_(module.b_norm)
    tensors = {"w_norm": module.w_norm.detach(), "b_norm": module.b_norm.detach()}
    entered = torch.randn(2, 5, IN) if isinstance(norm, nn.LayerNorm) else torch.randn(2, IN, 6, 6)
    weight, bias = module.get_merged_weight()
    theirs = torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (entered,))
    assert torch.allclose(came_out(norm, tensors, entered), theirs, atol=1e-5)
