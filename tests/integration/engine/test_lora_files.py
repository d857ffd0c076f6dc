"""What LoRA files are called inside, and what is said of those that do not fit."""

import json
from collections.abc import Callable
from math import prod
from pathlib import Path

import pytest
import torch
from loaded import load
from lora_files import ENCODERS, RANK, lora_source, random_factors, write_diffusers, write_kohya
from msgspec.structs import replace
from safetensors.torch import load_file, save_file
from small_engine import model_source
from torch import Tensor

from engine_worker.engine.adapters.layer_delta import Layer
from engine_worker.engine.adapters.lora_file import Lora, read_lora
from engine_worker.engine.adapters.lora_names import LayerName, LayerNames
from engine_worker.engine.loading.networks import build_empty
from engine_worker.engine.networks.components import Components
from engine_worker.formats.architecture import Architecture
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.ldm_layout import single_file_layout
from engine_worker.formats.lora_keys import locate
from engine_worker.formats.released import SD, SDXL, layers_of
from engine_worker.formats.single_file import describe_file
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


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    "change",
    [
        lambda key: key.removeprefix("unet."),
        lambda key: key.replace("unet.", "base_model.model.", 1),
        lambda key: key.replace("lora_A", "lora_A.default").replace("lora_B", "lora_B.default"),
        lambda key: key.replace("lora_A", "lora_A.default_0").replace("lora_B", "lora_B.default_0"),
        lambda key: key.replace("lora_A", "lora_A.my-style").replace("lora_B", "lora_B.my-style"),
        lambda key: "unet.base_model.model." + key.removeprefix("unet."),
        lambda key: "unet." + key,
        lambda key: (
            "lycoris_" + key.removeprefix("unet.").removesuffix(key[-14:]).replace(".", "_") + key[-14:]
        ),
        lambda key: key.replace("unet.", "model.diffusion_model.", 1),
        lambda key: key.replace("lora_A", "lora.down").replace("lora_B", "lora.up"),
        lambda key: processor_form(key),
    ],
    ids=[
        "no prefix",
        "peft",
        "named adapter",
        "numbered adapter",
        "adapter with a dash",
        "peft in diffusers",
        "twice",
        "LyCORIS",
        "original",
        "down and up",
        "processors",
    ],
)
def test_every_form_of_names_leads_to_the_same_layers(
    parts: Components, names: LayerNames, path: Path, change: Callable[[str], str]
) -> None:
    wanted = read_lora(lora_source(path), names, parts.base)
    found = read_lora(lora_source(renamed(path, change)), names, parts.base)
    assert is_same(found, wanted)
    assert [warning for warning in found.warnings if "adapter_config.json" not in warning] == []


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
    count, known = 0, layers_of(architecture.base)
    for network, module in networks.items():
        for name, layer in module.named_modules():
            if isinstance(layer, Layer):
                assert names.find(network, name.replace(".", "_")) == LayerName(network, name)
                rows, *numbers = layer.weight.shape
                assert (rows, prod(numbers)) in known[network, name.replace(".", "_")]
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
        assert names.find(*locate(name)) == LayerName(Network.UNET, module)


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


TEXT_FORMS = {
    "kohya": ("lora_te1_text_model_", "lora_te2_text_model_"),
    "te1": ("te1_text_model_", "te2_text_model_"),
    "OneTrainer": ("clip_l.text_model.", "clip_g.text_model."),
    "ComfyUI": (
        "text_encoders.clip_l.transformer.text_model.",
        "text_encoders.clip_g.transformer.text_model.",
    ),
    "peft": ("text_encoder.base_model.model.text_model.", "text_encoder_2.base_model.model.text_model."),
    "without text_model": ("text_encoder.", "text_encoder_2."),
}


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_every_form_of_names_of_text_encoders_leads_to_the_same_layers(
    form: str, parts: Components, names: LayerNames, tmp_path: Path
) -> None:
    path = write_diffusers(tmp_path / "lora.safetensors", random_factors(parts, 1, ENCODERS))
    wanted = read_lora(lora_source(path), names, parts.base)
    first, second = TEXT_FORMS[form]

    def change(key: str) -> str:
        for before, after in (("text_encoder_2.text_model.", second), ("text_encoder.text_model.", first)):
            if key.startswith(before):
                layer, _, end = key.removeprefix(before).partition(".lora_")
                return after + (layer.replace(".", "_") if after.endswith("_") else layer) + f".lora_{end}"
        raise AssertionError(key)

    found = read_lora(lora_source(renamed(path, change)), names, parts.base)
    assert is_same(found, wanted)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("oft_unet_mid_block_x", Network.UNET),
        ("mid_block.x", Network.UNET),
        ("base_model.model.text_model.x", Network.TEXT_ENCODER),
        ("cond_stage_model.transformer.text_model.x", Network.TEXT_ENCODER),
        ("conditioner.embedders.0.transformer.text_model.x", Network.TEXT_ENCODER),
        ("lora_clip_g_text_model_x", Network.PROJECTING_TEXT_ENCODER),
    ],
)
def test_rarer_prefixes_tell_the_network_too(name: str, network: Network) -> None:
    found, rest = locate(name)
    assert (found, rest.replace(".", "_").removeprefix("text_model_").removeprefix("mid_block_")) == (
        network,
        "x",
    )


def test_what_is_not_used_of_a_file_is_said(parts: Components, names: LayerNames, path: Path) -> None:
    extra = {
        "unet.down_blocks.7.conv.lora_A.weight": torch.zeros(1, 1),
        "unet.down_blocks.7.conv.lora_B.weight": torch.zeros(1, 1),
        "unet.conv_norm_out.w_norm": torch.zeros(1),
        "unet.conv_in.alpha": torch.zeros(()),
        "unet.conv_in.novelty": torch.zeros(1),
    }
    lacks, misfits, unknown = read_lora(lora_source(add(path, extra)), names, parts.base).warnings
    assert lacks.endswith("changes layers that the checkpoint does not have: unet.down_blocks.7.conv")
    assert "has in another shape: unet.conv_norm_out (it is for a layer of shape [1]" in misfits
    assert unknown.endswith("unknown tensors, which are ignored: unet.conv_in.novelty")


def test_a_file_of_layers_that_are_not_there_is_refused_with_the_likely_cause(
    parts: Components, names: LayerNames, path: Path
) -> None:
    absent = path.with_name("absent.safetensors")
    layer = "text_encoder.text_model.encoder.layers.11.mlp.fc1"
    save_file(
        {f"{layer}.lora_A.weight": torch.zeros(4, 8), f"{layer}.lora_B.weight": torch.zeros(8, 4)}, absent
    )
    with pytest.raises(ModelUnreadable, match=r"the checkpoint lacks .* made for another base"):
        read_lora(lora_source(absent), names, parts.base)
    with pytest.raises(ModelUnreadable, match="another model family"):
        read_lora(lora_source(renamed(path, lambda key: f"transformer.x.{key}")), names, parts.base)


def test_a_layer_of_another_shape_is_left_out_and_most_of_them_are_refused(
    parts: Components, names: LayerNames, path: Path
) -> None:
    plain = read_lora(lora_source(path), names, parts.base)
    tensors = load_file(path)
    downs = [key for key in tensors if key.endswith("lora_A.weight")]

    def widen(keys: list[str]) -> Path:
        for key in keys:
            tensors[key] = torch.zeros(
                tensors[key].shape[0], 2 * tensors[key].shape[1], *tensors[key].shape[2:]
            )
        save_file(tensors, path)
        return path

    lora = read_lora(lora_source(widen(downs[:1])), names, parts.base)
    assert len(lora.changes) == len(plain.changes) - 1
    (warning,) = lora.warnings
    assert downs[0].removesuffix(".lora_A.weight") in warning
    with pytest.raises(ModelUnreadable, match=r"has other shapes than .* for another base"):
        read_lora(lora_source(widen(downs[1:])), names, parts.base)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"unet.conv_in.oft_blocks": torch.zeros(2, 2)}, "the parts of unet.conv_in do not match"),
        ({"unet.conv_in.lora_A.weight": torch.zeros(1, 36)}, "unet.conv_in lacks the part lora_up"),
        ({"unet.conv_in.diff": torch.full((32, 4, 3, 3), torch.nan)}, "infinite or not numbers"),
        ({"unet.conv_in.diff": torch.zeros(32, 4, 3, 3, dtype=torch.int8)}, "quantized"),
        ({"unet.conv_in.hra_u": torch.zeros(1)}, "type HRA"),
        ({"unet.conv_in.diff": torch.zeros(1, 1), "lora_unet_conv_in.diff": torch.zeros(1, 1)}, "twice"),
        (
            {
                "lora_te2_text_model_x.lora_down.weight": torch.zeros(1, 1),
                "lora_te2_text_model_x.lora_up.weight": torch.zeros(1, 1),
            },
            "is for sdxl",
        ),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(
    parts: Components, names: LayerNames, path: Path, extra: Tensors, says: str
) -> None:
    with pytest.raises(ModelUnreadable, match=says):
        read_lora(lora_source(add(path, extra)), names, ModelBase.SD)


ALPHAS: dict[str, tuple[dict[str, str], dict[str, object] | None, float]] = {
    "nowhere": ({}, None, 1.0),
    "diffusers": ({"lora_adapter_metadata": '{"unet.lora_alpha": 2.0, "unet.r": 4}'}, None, 0.5),
    "diffusers, of another network": (
        {"lora_adapter_metadata": '{"text_encoder.lora_alpha": 2.0}'},
        None,
        1.0,
    ),
    "kohya": ({"ss_network_alpha": "2.0", "ss_network_dim": "4"}, None, 0.5),
    "kohya, none": ({"ss_network_alpha": "None"}, None, 1.0),
    "peft": ({}, {"peft_type": "LORA", "r": 4, "lora_alpha": 2}, 0.5),
    "peft, rank-stabilized": ({}, {"r": 4, "lora_alpha": 2, "use_rslora": True}, 1.0),
    "peft, by a pattern": ({}, {"r": 4, "lora_alpha": 1, "alpha_pattern": {"attn1.to_q": 2, "x": 9}}, 0.5),
    "peft, by a wildcard": ({}, {"lora_alpha": 1, "alpha_pattern": {r"^mid_block\..*to_q$": 2}}, 0.5),
}


@pytest.mark.parametrize("said", ALPHAS)
def test_alpha_is_found_wherever_trainers_put_it(
    said: str, parts: Components, names: LayerNames, tmp_path: Path
) -> None:
    metadata, config, scale = ALPHAS[said]
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    width = names.layer(LayerName(Network.UNET, name)).weight.shape[0]
    path = tmp_path / "adapter_model.safetensors"
    prefix = "unet." if config is None else "base_model.model."
    factors = {
        f"{prefix}{name}.lora_A.weight": torch.ones(4, width),
        f"{prefix}{name}.lora_B.weight": torch.ones(width, 4),
    }
    save_file(factors, path, metadata=metadata)
    if config is not None:
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    for place in [path] if config is None else [path, tmp_path]:
        (change,) = read_lora(lora_source(place), names, parts.base).changes.values()
        assert change.scale == scale


def test_kohya_s_alpha_of_convolutions_is_another_one(
    parts: Components, names: LayerNames, tmp_path: Path
) -> None:
    said = {"ss_network_alpha": "2", "ss_network_args": '{"conv_dim": "4", "conv_alpha": "1"}'}
    path = write_diffusers(tmp_path / "l.safetensors", random_factors(parts, 1, (Network.UNET,)), said)
    lora = read_lora(lora_source(path), names, parts.base)
    for name, change in lora.changes.items():
        is_3x3 = names.layer(name).weight.shape[2:] == (3, 3)
        assert change.scale == (0.25 if is_3x3 else 0.5)


def test_peft_s_scale_holds_for_two_whole_matrices_and_lycoris_has_none(
    parts: Components, names: LayerNames, tmp_path: Path
) -> None:
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    width = names.layer(LayerName(Network.UNET, name)).weight.shape[0]
    whole = {"lokr_w1": torch.ones(2, 2), "lokr_w2": torch.ones(width // 2, width // 2)}
    path = tmp_path / "adapter_model.safetensors"
    save_file({f"base_model.model.{name}.{part}": held for part, held in whole.items()}, path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LOKR", "r": 8, "alpha": 4}')
    (of_peft,) = read_lora(lora_source(path), names, parts.base).changes.values()
    alpha = {"alpha": torch.tensor(4.0)}
    save_file(
        {f"lora_unet_{name.replace('.', '_')}.{part}": held for part, held in (whole | alpha).items()}, path
    )
    (of_lycoris,) = read_lora(lora_source(path), names, parts.base).changes.values()
    assert (of_peft.scale, of_lycoris.scale) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"peft_type": "OFT"}, "peft's type 'OFT'"),
        ({"init_lora_weights": "pissa_niter_16"}, "pissa"),
        ({"use_qalora": True}, "use_qalora"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"alpha_pattern": {"(a+)+b": 1}}, "the pattern"),
        ({"lora_alpha": "much"}, "adapter_config.json is invalid"),
    ],
)
def test_a_configuration_that_asks_for_more_is_refused_by_name(
    config: dict[str, object], says: str, parts: Components, names: LayerNames, path: Path
) -> None:
    path.with_name("adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnreadable, match=says):
        read_lora(lora_source(path), names, parts.base)


def test_whole_changes_and_those_of_norms_and_biases_are_what_merging_makes(
    parts: Components, names: LayerNames, tmp_path: Path
) -> None:
    changed = {"conv_norm_out": ("w_norm", "b_norm"), "conv_out": ("diff", "diff_b"), "conv_in": ("diff_b",)}
    tensors = {}
    for name, ends in changed.items():
        layer = names.layer(LayerName(Network.UNET, name))
        for end in ends:
            shape = layer.bias.shape if end in ("b_norm", "diff_b") else layer.weight.shape
            tensors[f"lora_unet_{name}.{end}"] = torch.randn(shape)
    path = tmp_path / "full.safetensors"
    save_file(tensors, path)
    lora = read_lora(lora_source(path), names, parts.base)
    assert lora.warnings == ()
    for name, ends in changed.items():
        layer = names.layer(LayerName(Network.UNET, name))
        entered = torch.randn(2, layer.weight.shape[1] if layer.weight.ndim > 1 else len(layer.weight), 4, 4)
        added = {end: tensors[f"lora_unet_{name}.{end}"] for end in ends}
        weight = layer.weight + added.get("diff", added.get("w_norm", 0))
        bias = layer.bias + added.get("diff_b", added.get("b_norm", 0))
        wanted = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (entered,))
        plain, change = layer(entered), lora.changes[LayerName(Network.UNET, name)]
        torch.testing.assert_close(plain + change.added(layer, entered, plain), wanted, rtol=1e-4, atol=1e-4)


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


def test_a_configuration_that_has_changed_since_the_registration_is_noticed(
    parts: Components, names: LayerNames, path: Path
) -> None:
    path = renamed(path, lambda key: key.replace("unet.", "base_model.model.", 1))
    beside = path.with_name("adapter_config.json")
    beside.write_text(json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "task_type": None}))
    source = replace(lora_source(path), beside=describe_file(path).beside)
    assert read_lora(source, names, parts.base).changes
    beside.write_text(json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "inference_mode": True}))
    assert read_lora(source, names, parts.base).changes, "nothing that counts has changed"
    for change in (lambda: beside.write_text(json.dumps({"r": RANK, "lora_alpha": 9})), beside.unlink):
        change()
        with pytest.raises(ModelUnreadable, match=r"adapter_config\.json beside lora, .* retry the model"):
            read_lora(source, names, parts.base)
    assert read_lora(lora_source(path), names, parts.base).changes
