"""What is ready draws: surplus, missing and misshapen tensors, and checkpoints that need something else."""

import json
from pathlib import Path

import pytest

from kernel.protocol.enums import ModelBase, ModelType
from tests.unit.worker.model_files import (
    SMALL_SD,
    SMALL_SDXL,
    UNET,
    VAE_ALONE,
    Shapes,
    change_json,
    controlnet,
    without,
    write_diffusers_folder,
    write_safetensors,
)
from tests.unit.worker.test_inspection import look_at, one_file, refused, source_of

OUTPUT = f"{UNET}output_blocks.0.0.in_layers.2.weight"
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer."


@pytest.mark.parametrize(
    "name",
    [
        "logit_scale",
        "global_step",
        "scaled_fp8",
        "cond_stage_model.logit_scale",
        f"{TEXT}text_projection.weight",
        f"{TEXT}text_model.embeddings.position_ids",
        f"{TEXT}vision_model.encoder.layers.0.mlp.fc1.weight",
        "embedding_manager.string_to_param_dict.*",
        f"{VAE}quantize.embedding.weight",
        f"{VAE}loss.logvar",
        f"{VAE}model_ema.decay",
        "model_ema.diffusion_modelinput_blocks00weight",
        "alphas_cumprod_prev",
        "sqrt_one_minus_alphas_cumprod",
        "posterior_log_variance_clipped",
        "optimizer_states.0.exp_avg",
        "denoiser.sigmas",
        "safety_checker.concept_embeds",
    ],
)
def test_known_leftovers_of_a_checkpoint_are_ignored_silently(tmp_path: Path, name: str) -> None:
    plain = look_at(one_file(tmp_path, SMALL_SD))
    found = look_at(one_file(tmp_path, {**SMALL_SD, name: (4,)}))
    assert found.warnings == ()
    assert (found.parameters, found.memory_bytes) == (plain.parameters, plain.memory_bytes)


@pytest.mark.parametrize("name", ["my.own", f"{TEXT}more.weight", f"{UNET}more.weight", "first.x"])
def test_unknown_tensors_beside_the_networks_are_named_in_a_warning(tmp_path: Path, name: str) -> None:
    (warning,) = look_at(one_file(tmp_path, {**SMALL_SD, name: (4,)})).warnings
    assert f"ignored: the tensor {name}" in warning


def test_a_warning_names_few_of_many_tensors_and_no_codes_of_a_terminal(tmp_path: Path) -> None:
    many = {f"\x1b[31mred{number}": (1,) for number in range(50)}
    (warning,) = look_at(one_file(tmp_path, {**SMALL_SD, **many})).warnings
    assert "and 47 more tensors" in warning
    assert warning.isprintable()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"{UNET}input_blocks.1.0.mystery.weight", "the UNet has layers that are unknown"),
        (f"{UNET}input_blocks.9.0.in_layers.0.weight", "the UNet has layers that are unknown"),
        (f"{UNET}input_blocks.1.2.temporal_transformer.norm.weight", "layers for video"),
        (f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k_ip.weight", "an IP-Adapter"),
        (f"{UNET}position_net.linears.0.weight", "GLIGEN"),
        (f"{UNET}class_embedding.weight", "conditions that jobs do not give"),
        (f"{VAE}decoder.up.0.attn.0.q.weight", "the VAE has layers that are unknown"),
        (f"{TEXT}text_model.encoder.layers.7.mlp.fc1.weight", "the text encoder has layers that are unknown"),
    ],
)
def test_tensors_that_would_change_the_images_are_refused_by_name(
    tmp_path: Path, name: str, words: str
) -> None:
    detail = refused(source_of(one_file(tmp_path, {**SMALL_SD, name: (4,)})), tmp_path)
    assert words in detail
    assert name in detail


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (OUTPUT, "the UNet lacks the tensor"),
        (f"{VAE}decoder.conv_out.bias", "the VAE lacks the tensor"),
        (f"{VAE}encoder.conv_out.weight", "the VAE lacks the tensor"),
        (f"{TEXT}text_model.final_layer_norm.bias", "the text encoder lacks the tensor"),
        (f"{TEXT}text_model.embeddings.position_embedding.weight", "lacks the tensor"),
    ],
)
def test_a_missing_tensor_is_named(tmp_path: Path, name: str, words: str) -> None:
    shapes = {key: shape for key, shape in SMALL_SD.items() if key != name}
    detail = refused(source_of(one_file(tmp_path, shapes)), tmp_path)
    assert words in detail
    assert name in detail


@pytest.mark.parametrize("name", [OUTPUT, f"{VAE}decoder.conv_in.weight", f"{UNET}out.0.bias"])
@pytest.mark.parametrize("change", [lambda shape: (*shape, 1), lambda shape: (3, *shape[1:])])
def test_a_misshapen_tensor_is_named(tmp_path: Path, name: str, change: object) -> None:
    assert callable(change)
    wrong = change(SMALL_SD[name])
    detail = refused(source_of(one_file(tmp_path, {**SMALL_SD, name: wrong})), tmp_path)
    assert f"{name} has the shape {list(wrong)}" in detail


@pytest.mark.parametrize("dtype", ["F8_E8M0", "F4", "F6_E2M3", "I8", "U8", "I32"])
def test_numbers_that_are_no_floats_are_called_quantized(tmp_path: Path, dtype: str) -> None:
    path = one_file(tmp_path, SMALL_SD)
    change_dtype(path, OUTPUT, dtype)
    assert "quantized" in refused(source_of(path), tmp_path)


def change_dtype(path: Path, name: str, dtype: str) -> None:
    """Store one tensor as another type; those behind it move."""
    bits = {"F4": 4, "F6_E2M3": 6, "I32": 32}.get(dtype, 8)
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header[name]["dtype"] = dtype
    begin, end = header[name]["data_offsets"]
    moved = (end - begin) // 2 * bits // 8 - (end - begin)
    for entry in header.values():
        first, last = entry["data_offsets"]
        entry["data_offsets"] = [first + moved * (first >= end), last + moved * (last >= end)]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(len(raw) - 8 - length + moved))


def test_a_checkpoint_without_a_vae_is_taken_with_a_warning(tmp_path: Path) -> None:
    for base, shapes in ((ModelBase.SD, SMALL_SD), (ModelBase.SDXL, SMALL_SDXL)):
        found = look_at(one_file(tmp_path, without(shapes, VAE)))
        assert found.model_base is base
        assert found.memory is not None
        assert found.memory.lacks_vae
        assert "no VAE of its own" in found.warnings[0]
    whole = look_at(one_file(tmp_path, SMALL_SD)).memory
    assert whole is not None
    assert not whole.lacks_vae


def test_a_folder_without_a_vae_is_taken_with_a_warning(tmp_path: Path) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    change_json(folder / "model_index.json", vae=[None, None])
    found = look_at(folder)
    assert "no VAE of its own" in found.warnings[0]
    assert found.memory is not None
    assert found.memory.lacks_vae


def test_bytes_behind_the_last_tensor_are_a_warning_on_the_model(tmp_path: Path) -> None:
    path = one_file(tmp_path, SMALL_SD)
    with path.open("ab") as file:
        file.write(b"\0" * 5)
    (warning,) = look_at(path).warnings
    assert "5 bytes behind its last tensor" in warning


def test_networks_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    text = {name: shape for name, shape in SMALL_SD.items() if name.startswith(TEXT)}
    wider = {name: tuple(16 if side == 8 else side for side in shape) for name, shape in text.items()}
    wide = {**SMALL_SD, **wider}
    assert "they belong to different models" in refused(source_of(one_file(tmp_path, wide)), tmp_path)
    few = {**SMALL_SD, f"{TEXT}text_model.embeddings.token_embedding.weight": (100, 8)}
    assert "must know the 49408 of CLIP" in refused(source_of(one_file(tmp_path, few)), tmp_path)
    short = {**SMALL_SD, f"{TEXT}text_model.embeddings.position_embedding.weight": (50, 8)}
    assert "takes 50 tokens" in refused(source_of(one_file(tmp_path, short)), tmp_path)
    added = {**SMALL_SDXL, f"{UNET}label_emb.0.0.weight": (32, 41)}
    assert "no sdxl checkpoint" in refused(source_of(one_file(tmp_path, added)), tmp_path)


def test_a_unet_without_attention_in_its_middle_block_is_refused_by_name(tmp_path: Path) -> None:
    distilled = without(SMALL_SDXL, f"{UNET}middle_block.1.", f"{UNET}middle_block.2.")
    assert "SSD-1B" in refused(source_of(one_file(tmp_path, distilled)), tmp_path)


def test_a_unet_with_guidance_distilled_into_it_is_taken(tmp_path: Path) -> None:
    distilled = {**SMALL_SD, f"{UNET}time_embedding.cond_proj.weight": (8, 256)}
    (warning,) = look_at(one_file(tmp_path, distilled)).warnings
    assert "use the scheduler lcm" in warning


@pytest.mark.parametrize("is_diffusers", [True, False])
@pytest.mark.parametrize("base", list(ModelBase))
def test_a_controlnet_is_taken_whole_or_refused(
    tmp_path: Path, base: ModelBase, *, is_diffusers: bool
) -> None:
    shapes = controlnet(is_diffusers=is_diffusers, base=base)
    assert look_at(one_file(tmp_path, shapes), ModelType.CONTROLNET).warnings == ()
    for name in shapes:
        if (name.endswith("bias") and "zero" in name) or "controlnet_down" in name:
            rest = {key: shape for key, shape in shapes.items() if key != name}
            source = source_of(one_file(tmp_path, rest), ModelType.CONTROLNET)
            assert "the ControlNet lacks the tensor" in refused(source, tmp_path)


def test_a_controlnet_may_come_with_its_checkpoint(tmp_path: Path) -> None:
    shapes: Shapes = {**controlnet(is_diffusers=False), **SMALL_SD, "betas": (1000,)}
    assert look_at(one_file(tmp_path, shapes), ModelType.CONTROLNET).warnings == ()


@pytest.mark.parametrize("is_diffusers", [True, False])
def test_a_controlnet_without_attention_in_its_down_blocks_is_taken(
    tmp_path: Path, *, is_diffusers: bool
) -> None:
    shapes = {
        name: shape
        for name, shape in controlnet(is_diffusers=is_diffusers, base=ModelBase.SDXL).items()
        if ".attentions." not in name and ".1.transformer_blocks" not in name and not _is_attention(name)
    }
    assert look_at(one_file(tmp_path, shapes), ModelType.CONTROLNET).warnings == ()


def _is_attention(name: str) -> bool:
    """True for what a network without any attention lacks, in either layout."""
    return ".1.proj" in name or ".1.norm" in name or ".resnets.1." in name or "middle_block.2." in name


@pytest.mark.parametrize("name", ["decoder.conv_out.weight", "encoder.norm_out.bias", "quant_conv.bias"])
def test_a_vae_is_taken_whole_or_refused(tmp_path: Path, name: str) -> None:
    rest = {key: shape for key, shape in VAE_ALONE.items() if key != name}
    assert f"the VAE lacks the tensor {name}" in refused(
        source_of(one_file(tmp_path, rest), ModelType.VAE), tmp_path
    )
    ignored = {**VAE_ALONE, "loss.logvar": (), "model_ema.decay": ()}
    assert look_at(one_file(tmp_path, ignored), ModelType.VAE).warnings == ()


def test_a_damaged_shard_index_leaves_no_checkpoint(tmp_path: Path) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    write_safetensors(folder / "unet/diffusion_pytorch_model.safetensors", {"conv_in.weight": (8, 4, 3, 3)})
    assert "the UNet lacks" in refused(source_of(folder), tmp_path)
