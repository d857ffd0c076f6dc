"""What LoRA files are called inside, and what is said of those that do not fit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from loaded import load
from lora_files import lora_source, random_factors, write_diffusers, write_kohya
from safetensors.torch import load_file, save_file
from small_engine import model_source
from test_engine_full_size import SD, SDXL
from torch import Tensor, nn

from engine_worker.engine.adapters.lora_file import Lora, read_lora
from engine_worker.engine.adapters.lora_names import LayerName, LayerNames
from engine_worker.engine.loading.networks import build_empty
from engine_worker.engine.loading.single_file import single_file_layout
from engine_worker.engine.networks.components import Components
from engine_worker.formats.architecture import Architecture
from engine_worker.formats.checkpoint_layout import Network
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import ModelUnreadable

pytestmark = pytest.mark.torch

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def names(parts: Components) -> LayerNames:
    return LayerNames(parts.networks, parts.unet_shape)


@pytest.fixture
def path(parts: Components, tmp_path: Path) -> Path:
    """A LoRA for the UNet in the form of diffusers."""
    return write_diffusers(tmp_path / "lora.safetensors", random_factors(parts, 1, (Network.UNET,)))


def renamed(path: Path, change: Callable[[str], str]) -> Path:
    """The same file with other keys."""
    save_file({change(key): tensor for key, tensor in load_file(path).items()}, path)
    return path


def is_same(one: Lora, other: Lora) -> bool:
    return one.changes.keys() == other.changes.keys() and all(
        torch.equal(mine, theirs)
        for name in one.changes
        for mine, theirs in zip(one.changes[name].tensors, other.changes[name].tensors, strict=True)
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key.removeprefix("unet."),
        lambda key: key.replace("unet.", "base_model.model.", 1),
        lambda key: key.replace("lora_A", "lora_A.default").replace("lora_B", "lora_B.default"),
        lambda key: key.replace("lora_A", "lora.down").replace("lora_B", "lora.up"),
        lambda key: processor_form(key),
    ],
    ids=["no prefix", "peft", "named adapter", "down and up", "processors"],
)
def test_every_form_of_names_leads_to_the_same_layers(
    parts: Components, names: LayerNames, path: Path, change: Callable[[str], str]
) -> None:
    wanted = read_lora(lora_source(path), names, parts.base)
    found = read_lora(lora_source(renamed(path, change)), names, parts.base)
    assert is_same(found, wanted)
    assert found.warnings == ()


def processor_form(key: str) -> str:
    """As diffusers wrote attention layers before 0.22."""
    words = {".lora_A.weight": "down", ".lora_B.weight": "up"}
    for end, way in words.items():
        for layer in ("to_q", "to_out.0"):
            if key.endswith(f".{layer}{end}"):
                stem = key.removesuffix(f"{layer}{end}")
                return f"{stem}processor.{layer.removesuffix('.0')}_lora.{way}.weight"
    return key


@pytest.mark.parametrize("architecture", [SD, SDXL], ids=["sd", "sdxl"])
def test_no_two_layers_of_the_released_networks_share_a_name(architecture: Architecture) -> None:
    layout = single_file_layout(architecture)
    networks = {
        plan.network: build_empty(plan) for plan in layout.networks if plan.network is not Network.VAE
    }
    names = LayerNames(networks, architecture.unet)
    prefixes = {
        Network.UNET: "lora_unet_",
        Network.TEXT_ENCODER: "lora_te1_",
        Network.PROJECTING_TEXT_ENCODER: "lora_te2_",
    }
    count = 0
    for network, module in networks.items():
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                assert names.find(prefixes[network] + name.replace(".", "_")) == LayerName(network, name)
                count += 1
    assert len(names) == count


def test_names_of_the_released_sdxl_trainers_are_known() -> None:
    layout = single_file_layout(SDXL)
    names = LayerNames({Network.UNET: build_empty(layout.unet)}, SDXL.unet)
    for name, module in {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": (
            "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
        ),
        "lora_unet_middle_block_1_proj_in": "mid_block.attentions.0.proj_in",
        "lora_unet_output_blocks_2_2_conv": "up_blocks.0.upsamplers.0.conv",
        "lora_unet_input_blocks_3_0_op": "down_blocks.0.downsamplers.0.conv",
        "lora_unet_output_blocks_0_0_skip_connection": "up_blocks.0.resnets.0.conv_shortcut",
        "lora_unet_label_emb_0_0": "add_embedding.linear_1",
        "lora_unet_out_2": "conv_out",
    }.items():
        assert names.find(name) == LayerName(Network.UNET, module)


def test_half_precision_and_whole_alphas_load(parts: Components, names: LayerNames, tmp_path: Path) -> None:
    path = write_kohya(tmp_path / "half.safetensors", parts, random_factors(parts, 1), torch.float16)
    tensors = {
        key: tensor.to(torch.int64) if key.endswith(".alpha") else tensor
        for key, tensor in load_file(path).items()
    }
    before = read_lora(lora_source(path), names, parts.base)
    save_file(tensors, path)
    after = read_lora(lora_source(path), names, parts.base)
    assert is_same(before, after)
    assert after.size_bytes == sum(4 * tensor.numel() for tensor in tensors.values() if tensor.ndim)


def test_a_lora_takes_the_precision_of_the_layers_that_it_changes(
    base: ModelBase, checkpoints: Path, path: Path
) -> None:
    half = load(checkpoints / f"{base}.safetensors", torch.bfloat16)
    lora = read_lora(lora_source(path), LayerNames(half.networks, half.unet_shape), base)
    held = [tensor for change in lora.changes.values() for tensor in change.tensors]
    assert {tensor.dtype for tensor in held} == {torch.bfloat16}


def add(path: Path, extra: Tensors) -> Path:
    save_file(load_file(path) | extra, path)
    return path


def test_what_is_not_used_of_a_file_is_said(parts: Components, names: LayerNames, path: Path) -> None:
    extra = {
        "unet.down_blocks.7.conv.lora_A.weight": torch.zeros(1, 1),
        "unet.down_blocks.7.conv.lora_B.weight": torch.zeros(1, 1),
        "unet.conv_norm_out.w_norm": torch.zeros(1),
    }
    lacks, unknown = read_lora(lora_source(add(path, extra)), names, parts.base).warnings
    assert lacks.endswith("changes layers that the checkpoint does not have: unet.down_blocks.7.conv")
    assert unknown.endswith("unknown tensors, which were ignored: unet.conv_norm_out.w_norm")


def test_a_file_of_layers_that_are_not_there_is_refused_with_the_likely_cause(
    parts: Components, names: LayerNames, path: Path
) -> None:
    other = renamed(path, lambda key: key.replace("_blocks.", "_stacks."))
    with pytest.raises(ModelUnreadable, match="made for another base"):
        read_lora(lora_source(other), names, parts.base)


def test_a_file_for_wider_layers_is_refused_with_the_layer(
    parts: Components, names: LayerNames, path: Path
) -> None:
    tensors = load_file(path)
    key = next(key for key in tensors if key.endswith("lora_A.weight"))
    tensors[key] = torch.zeros(tensors[key].shape[0], 2 * tensors[key].shape[1], *tensors[key].shape[2:])
    save_file(tensors, path)
    with pytest.raises(ModelUnreadable, match=r"cannot be used: at .* for another base"):
        read_lora(lora_source(path), names, parts.base)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"unet.conv_in.alpha": torch.zeros(2)}, "its alpha has 2 values"),
        ({"lora_te2_x.lora_down.weight": torch.zeros(1, 1)}, "is for sdxl"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(
    parts: Components, names: LayerNames, path: Path, extra: Tensors, says: str
) -> None:
    with pytest.raises(ModelUnreadable, match=says):
        read_lora(lora_source(add(path, extra)), names, ModelBase.SD)


def test_metadata_that_cannot_be_understood_is_refused(
    parts: Components, names: LayerNames, tmp_path: Path
) -> None:
    factors = random_factors(parts, 1, (Network.UNET,))
    for text in ("[]", '{"unet.lora_alpha": "much"}', "{"):
        path = write_diffusers(tmp_path / "lora.safetensors", factors, {"lora_adapter_metadata": text})
        with pytest.raises(ModelUnreadable, match="cannot be parsed"):
            read_lora(lora_source(path), names, parts.base)


def test_a_checkpoint_is_no_lora(parts: Components, names: LayerNames, checkpoints: Path) -> None:
    source = model_source(checkpoints / "sd.safetensors", ModelType.LORA)
    with pytest.raises(ModelUnreadable, match="is a checkpoint, not a lora"):
        read_lora(source, names, parts.base)
