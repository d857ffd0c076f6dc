"""Registration is loading: whatever a LoRA's file is like, it is refused when it is registered, or it can be
loaded; and what is loaded leaves finite numbers in half precision."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lora_files import lora_source
from safetensors.torch import save_file
from torch import Tensor, nn

from engine_worker.engine.adapters.lora_delta import make_delta
from engine_worker.engine.adapters.lora_file import read_lora
from engine_worker.engine.adapters.lora_names import LayerName, LayerNames
from engine_worker.engine.networks.components import Components
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.lora_keys import Part
from engine_worker.formats.single_file import describe_file
from kernel.protocol.errors import ModelUnreadable

pytestmark = pytest.mark.torch

RANK = 4
LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_"
STEM = f"lora_unet_{LAYER.replace('.', '_')}"
Shapes = Mapping[str, tuple[int, ...]]


def shapes_of(side: int) -> Mapping[str, Shapes]:
    """The tensors of a square layer in each kind of LoRA."""
    return {
        "LoRA": {"lora_down.weight": (RANK, side), "lora_up.weight": (side, RANK), "alpha": ()},
        "peft": {
            "lora_A.one.weight": (RANK, side),
            "lora_B.one.weight": (side, RANK),
            "lora_B.one.bias": (side,),
        },
        "LoHa": {
            "hada_w1_a": (side, RANK),
            "hada_w1_b": (RANK, side),
            "hada_w2_a": (side, RANK),
            "hada_w2_b": (RANK, side),
            "dora_scale": (side, 1),
        },
        "LoKr": {
            "lokr_w1": (2, 2),
            "lokr_w2_a": (side // 2, RANK),
            "lokr_w2_b": (RANK, side // 2),
            "alpha": (),
        },
        "full": {"diff": (side, side), "diff_b": (side,)},
        "GLoRA": {
            "a1.weight": (side, RANK),
            "a2.weight": (RANK, side),
            "b1.weight": (side, RANK),
            "b2.weight": (RANK, side),
        },
        "OFT": {"oft_blocks": (side // 4, 4, 4), "rescale": (side, 1), "alpha": ()},
        "BOFT": {"oft_blocks": (2, side // 4, 4, 4), "alpha": ()},
        "IA3": {"weight": (side,), "on_input": ()},
    }


KINDS = tuple(shapes_of(4))
SHAPES = st.lists(st.sampled_from([0, 1, 2, 4, 96, 192]), max_size=4).map(tuple)
Change = tuple[int, str, tuple[int, ...], str]
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 20),
        st.sampled_from(["lost", "misshapen", "renamed", "whole numbers"]),
        SHAPES,
        st.sampled_from([".x", "_x", ".weight"]),
    ),
    max_size=2,
)


@pytest.fixture(scope="module")
def names(parts: Components) -> LayerNames:
    return LayerNames(parts.networks, parts.unet_shape)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(kinds=["LoHa"] * 3, changes=[(0, "misshapen", (), "")])  # one magnitude for all rows
@given(kinds=st.lists(st.sampled_from(KINDS), min_size=3, max_size=3), changes=CHANGES)
def test_a_file_is_refused_when_it_is_registered_or_it_loads(
    kinds: list[str], changes: list[Change], parts: Components, names: LayerNames
) -> None:
    side = len(names.layer(LayerName(Network.UNET, f"{LAYER}q")).weight)
    tensors = {
        f"{STEM}{way}.{end}": torch.full(shape, 0.25)
        for way, kind in zip("qkv", kinds, strict=True)
        for end, shape in shapes_of(side)[kind].items()
    }
    for number, change, shape, end in changes:
        key = sorted(tensors)[number % len(tensors)]
        held = tensors.pop(key)
        match change:
            case "misshapen":
                tensors[key] = torch.full(shape, 0.25)
            case "renamed":
                tensors[key + end] = held
            case "whole numbers":
                tensors[key] = held.to(torch.int32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lora.safetensors"
        save_file(tensors, path)
        try:
            describe_file(path)
        except ModelUnreadable:
            assert changes, "what trainers write is taken"
            return
        reason = ""
        try:
            lora = read_lora(lora_source(path), names, parts.base)
        except ModelUnreadable as error:
            reason = error.detail
    # Only the checkpoint can tell that most layers are of other shapes.
    assert not reason or "made for another base" in reason
    assert changes or (len(lora.changes), lora.warnings) == (3, ())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "peft"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_kind_in_half_precision_is_what_it_is_in_single(kind: str, dtype: torch.dtype) -> None:
    layer = nn.Linear(32, 32).requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    known = {part.value: part for part in Part} | {"weight": Part.IA3}
    tensors = {
        known[end if end == "weight" else end.removesuffix(".weight")]: torch.randn(
            shape, generator=generator
        )
        / 4
        for end, shape in shapes_of(32)[kind].items()
        if end != "alpha"
    }
    entered = torch.randn(2, 5, 32, generator=generator)

    def added(layer: nn.Linear, entered: Tensor) -> Tensor:
        delta = make_delta(tensors, lambda rank: 0.5, layer)
        return delta.scale * delta.added(layer, entered, layer(entered))

    single = added(layer, entered)
    half = added(layer.to(dtype), entered.to(dtype))
    assert half.dtype is dtype
    torch.testing.assert_close(half.float(), single, rtol=0.05, atol=0.1)
