"""Inspection: what models are found to be, and what is refused in which words."""

import hashlib
from math import prod
from pathlib import Path

import msgspec
import pytest

from engine_worker.formats.safetensors_header import read_header
from kernel.protocol.enums import ModelBase, ModelType, Variant
from tests.unit.worker.inspecting import inspect, look_at, refused, source_of
from tests.unit.worker.model_files import (
    SMALL_SD,
    SMALL_SDXL,
    SMALL_UNET,
    UNET,
    VAE_ALONE,
    Shapes,
    change_json,
    checkpoint,
    controlnet,
    lora,
    without,
    write_diffusers_folder,
    write_json,
    write_safetensors,
)

CROSS_ATTENTION = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
TEXT_PARTS = ("cond_stage_model.", "conditioner.")
CONTROL_MAP = "control_model.input_hint_block."
FIRST_CONVOLUTION = f"{UNET}input_blocks.0.0.weight"


def one_file(
    tmp_path: Path, shapes: Shapes, metadata: dict[str, str] | None = None, dtype: str = "F16"
) -> Path:
    return write_safetensors(tmp_path / "model.safetensors", shapes, dtype, metadata)


def test_a_small_sd_checkpoint_is_found_out(tmp_path: Path) -> None:
    path = one_file(tmp_path, {**SMALL_SD, "model_ema.decay": ()})
    found = look_at(path)
    assert (found.model_type, found.model_base, found.variant) == (
        ModelType.CHECKPOINT,
        ModelBase.SD,
        Variant.FP16,
    )
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.size_bytes == path.stat().st_size
    assert found.parameters == sum(prod(shape) for shape in SMALL_SD.values())
    assert found.memory_bytes == 2 * found.parameters
    assert (found.native_size_px, found.prediction_type) == (None, None)


def test_an_sdxl_checkpoint_is_told_by_its_second_text_encoder(tmp_path: Path) -> None:
    assert look_at(one_file(tmp_path, SMALL_SDXL)).model_base is ModelBase.SDXL


@pytest.mark.parametrize(
    ("base", "width", "size_px"), [(ModelBase.SD, 768, 512), (ModelBase.SDXL, 2048, 1024)]
)
def test_full_widths_tell_the_native_size(tmp_path: Path, base: ModelBase, width: int, size_px: int) -> None:
    assert look_at(one_file(tmp_path, checkpoint(base, 320, width))).native_size_px == size_px


@pytest.mark.parametrize(
    ("metadata", "size_px"),
    [
        ({"spoon.native_size_px": "64"}, 64),
        ({"modelspec.resolution": "768x768"}, 768),
        ({"spoon.native_size_px": "-64"}, None),
        ({"spoon.native_size_px": "100"}, None),
        ({"spoon.native_size_px": "9" * 5000}, None),
    ],
)
def test_the_metadata_tells_the_native_size(
    tmp_path: Path, metadata: dict[str, str], size_px: int | None
) -> None:
    assert look_at(one_file(tmp_path, SMALL_SD, metadata)).native_size_px == size_px


def test_v_prediction_is_told_by_a_mark_or_the_metadata(tmp_path: Path) -> None:
    assert look_at(one_file(tmp_path, {**SMALL_SD, "v_pred": (0,)})).prediction_type == "v_prediction"
    said = {"modelspec.prediction_type": "v"}
    assert look_at(one_file(tmp_path, SMALL_SD, said)).prediction_type == "v_prediction"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('model:\n  params:\n    parameterization: "v"\n', "v_prediction"),
        ("    parameterization: v\n", "v_prediction"),
        ("    parameterization: eps\n", None),
        ("    # parameterization: v is for others\n", None),
    ],
)
def test_v_prediction_is_told_by_the_configuration_beside_the_file(
    tmp_path: Path, text: str, found: str | None
) -> None:
    (tmp_path / "model.yaml").write_text(text)
    assert look_at(one_file(tmp_path, SMALL_SD)).prediction_type == found


def test_a_checkpoint_that_inpaints_is_found_out(tmp_path: Path) -> None:
    inpaints = {**SMALL_SD, FIRST_CONVOLUTION: (8, 9, 3, 3)}
    assert look_at(one_file(tmp_path, inpaints)).model_base is ModelBase.SD
    folder = write_diffusers_folder(
        tmp_path / "folder", kind="StableDiffusionXLInpaintPipeline", is_sdxl=True
    )
    change_json(folder / "unet/config.json", in_channels=9)
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    shapes = {name: entry.shape for name, entry in read_header(weights).tensors.items()}
    write_safetensors(weights, {**shapes, "conv_in.weight": (8, 9, 3, 3)})
    assert look_at(folder).model_base is ModelBase.SDXL


@pytest.mark.parametrize(("dtype", "variant"), [("F32", Variant.FP32), ("BF16", Variant.BF16), ("F64", None)])
def test_the_variant_is_the_precision_of_most_weights(
    tmp_path: Path, dtype: str, variant: Variant | None
) -> None:
    assert look_at(one_file(tmp_path, SMALL_SD, dtype=dtype)).variant is variant


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({**SMALL_SD, CROSS_ATTENTION: (8, 1024)}, "Stable Diffusion 2"),
        ({**SMALL_SD, "cond_stage_model.model.ln_final.weight": (4,)}, "Stable Diffusion 2"),
        (
            {**SMALL_SD, FIRST_CONVOLUTION: (8, 8, 3, 3)},
            "InstructPix2Pix checkpoint (its UNet has 8",
        ),
        ({**SMALL_SD, "edm_vpred.sigma_max": ()}, "CosXL"),
        ({**SMALL_SD, f"{CROSS_ATTENTION[:-7]}.scale_weight": ()}, "quantized"),
        ({**SMALL_SD, FIRST_CONVOLUTION: (8,)}, "first convolution"),
        ({**SMALL_SD, f"{UNET}joint_blocks.0.weight": (4,)}, "Stable Diffusion 3"),
        ({**SMALL_SD, f"{UNET}double_blocks.0.weight": (4,)}, "Flux"),
        ({FIRST_CONVOLUTION: (8, 4, 3, 3)}, "a UNet alone, without text encoders"),
        (without(SMALL_SD, *TEXT_PARTS), "a UNet and a VAE, without text encoders"),
        ({**SMALL_SD, FIRST_CONVOLUTION: (8, 7, 3, 3)}, "an upscaler"),
        ({**SMALL_SD, f"{UNET}transformer_blocks.0.attn.weight": (4,)}, "a transformer"),
        ({"double_blocks.0.weight": (4,), "x": (1,)}, "Flux"),
        ({"image_proj.proj.weight": (4, 4), "x": (1,)}, "IP-Adapter"),
        ({"adapter.body.0.weight": (4, 4), "x": (1,)}, "T2I adapter"),
        ({"lllite_unet_x.down.0.weight": (4, 4), "x": (1,)}, "ControlNet-LLLite"),
        ({"decoder.layers.0.weight": (4, 4), "x": (1,)}, "tiny autoencoder"),
        ({"unet.mid_block.resnets.0.conv1.oft_R.weight": (4, 4), "x": (1,)}, "OFT"),
        ({f"{CONTROL_MAP}0.weight": (8, 3, 3, 3), "lora_controlnet": (0,)}, "control LoRA"),
        ({f"{CONTROL_MAP}0.weight": (8, 3, 3, 3), "x.to_k.down": (4, 4)}, "control LoRA"),
        ({f"{CONTROL_MAP}0.weight": (8, 3, 3, 3), "difference": (0,)}, "difference"),
        ({"controlnet_cond_embedding.conv_in.weight": (8, 3, 3, 3), "task_embedding": (4,)}, "union"),
        (SMALL_UNET, "a UNet alone"),
        ({"a": (1,), "b": (1,)}, "not a supported type of model"),
    ],
)
def test_what_is_no_checkpoint_of_ours_is_refused_in_clear_words(
    tmp_path: Path, shapes: Shapes, words: str
) -> None:
    assert words in refused(source_of(one_file(tmp_path, shapes)), tmp_path)


def test_an_sdxl_refiner_is_refused(tmp_path: Path) -> None:
    shapes = {name: shape for name, shape in SMALL_SD.items() if not name.startswith("cond_stage_model.")}
    shapes["conditioner.embedders.0.model.token_embedding.weight"] = (10, 64)
    assert "refiner" in refused(source_of(one_file(tmp_path, shapes)), tmp_path)


@pytest.mark.parametrize(
    ("shapes", "model_type", "base"),
    [
        (
            lora("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 768),
            ModelType.LORA,
            ModelBase.SD,
        ),
        (
            lora("unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k", 2048),
            ModelType.LORA,
            ModelBase.SDXL,
        ),
        (lora("lora_te2_text_model_final_layer_norm", 1280), ModelType.LORA, ModelBase.SDXL),
        (lora("lora_unet_mid_block_resnets_0_conv1", 32), ModelType.LORA, None),
        ({"emb_params": (2, 768)}, ModelType.EMBEDDING, ModelBase.SD),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, ModelType.EMBEDDING, ModelBase.SDXL),
        ({"<cat>": (32,)}, ModelType.EMBEDDING, None),
        (VAE_ALONE, ModelType.VAE, None),
        ({f"first_stage_model.{name}": shape for name, shape in VAE_ALONE.items()}, ModelType.VAE, None),
        (controlnet(width=768), ModelType.CONTROLNET, ModelBase.SD),
        (controlnet(is_diffusers=False, base=ModelBase.SDXL), ModelType.CONTROLNET, ModelBase.SDXL),
    ],
)
def test_what_is_laid_over_a_checkpoint_is_found_out(
    tmp_path: Path, shapes: Shapes, model_type: ModelType, base: ModelBase | None
) -> None:
    found = look_at(one_file(tmp_path, shapes), model_type)
    assert (found.model_type, found.model_base) == (model_type, base)


@pytest.mark.parametrize(
    ("shapes", "model_type"),
    [
        (lora("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 1024), ModelType.LORA),
        (lora("lora_unet_double_blocks_0", 32), ModelType.LORA),
        ({"emb_params": (2, 1024)}, ModelType.EMBEDDING),
        ({"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, 16, 3, 3)}, ModelType.VAE),
        ({"emb_params": (0, 768)}, ModelType.EMBEDDING),
    ],
)
def test_what_was_made_for_another_family_is_refused(
    tmp_path: Path, shapes: Shapes, model_type: ModelType
) -> None:
    assert refused(source_of(one_file(tmp_path, shapes), model_type), tmp_path)


LAYER = "lora_unet_mid_block_resnets_0_conv1"


@pytest.mark.parametrize(
    "ends",
    [
        {".lora_A.default_0.weight": (4, 8), ".lora_B.default_0.weight": (8, 4)},
        {
            ".lora_down.weight": (4, 8, 1, 1),
            ".lora_up.weight": (8, 4, 1, 1),
            ".lora_mid.weight": (4, 4, 3, 3),
        },
        {".hada_w1_a": (8, 4), ".hada_w1_b": (4, 8), ".hada_w2_a": (8, 4), ".hada_w2_b": (4, 8)},
        {".lokr_w1": (2, 2), ".lokr_w2": (4, 4), ".alpha": ()},
        {".lokr_w1": (2, 2), ".lokr_w2_a": (4, 1), ".lokr_w2_b": (1, 4), ".dora_scale": (1, 8)},
        {".diff": (8, 8), ".diff_b": (8,)},
        {".w_norm": (8,), ".b_norm": (8,)},
        {".a1.weight": (8, 4), ".a2.weight": (4, 8), ".b1.weight": (8, 4), ".b2.weight": (4, 8)},
        {".oft_blocks": (2, 4, 4), ".rescale": (8, 1), ".alpha": ()},
        {".oft_blocks": (2, 2, 4, 4)},
        {".weight": (8,), ".on_input": ()},
    ],
    ids=lambda ends: next(iter(ends)),
)
def test_every_kind_of_lora_that_is_drawn_is_registered(
    tmp_path: Path, ends: dict[str, tuple[int, ...]]
) -> None:
    path = one_file(tmp_path, {f"{LAYER}{end}": shape for end, shape in ends.items()})
    assert look_at(path, ModelType.LORA).model_type is ModelType.LORA


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ({".oft_R.weight": (4, 4)}, "OFT in the form of peft"),
        ({".boft_R": (4, 4)}, "BOFT in the form of peft"),
        ({".ia3_l": (8, 1)}, "IA3 in the form of peft"),
        ({".hra_u": (8, 1)}, "type HRA"),
        ({".vera_lambda_b": (8,)}, "type VeRA"),
        ({".lora_E": (8,)}, "type AdaLoRA"),
        ({".lambda_layer": (8,)}, "type T-LoRA"),
        ({".set_weight": (8, 8)}, "replaced weights"),
        ({".lora_down.weight": (4, 8)}, "lacks the part lora_up"),
        ({".lora_down.weight": (4, 8), ".lora_up.weight": (8, 3)}, "do not match each other"),
        ({".lora_down.weight": (0, 8), ".lora_up.weight": (8, 0)}, "is empty"),
        ({".lora_A.one.weight": (4, 8), ".lora_A.two.weight": (4, 8)}, "several adapters (one, two)"),
        ({".hada_w1_a": (8, 4)}, "lacks the part hada_w1_b"),
        ({".oft_blocks": (2, 4, 3)}, "do not match each other"),
        ({".diff": (8, 8), ".oft_blocks": (2, 4, 4)}, "OFT and diff at once"),
        ({".alpha": (), ".lora_mid.weight": (4, 4, 3, 3)}, "has only"),
    ],
)
def test_a_lora_that_could_not_be_drawn_is_refused_with_the_reason(
    tmp_path: Path, ends: dict[str, tuple[int, ...]], words: str
) -> None:
    path = one_file(tmp_path, {f"{LAYER}{end}": shape for end, shape in ends.items()})
    assert words in refused(source_of(path, ModelType.LORA), tmp_path)


def test_quantized_loras_and_those_of_other_families_are_refused(tmp_path: Path) -> None:
    path = one_file(tmp_path, lora(LAYER, 8), dtype="I8")
    assert "quantized" in refused(source_of(path, ModelType.LORA), tmp_path)
    for layer in ("transformer.single_blocks.0.x", "diffusion_model.blocks.0.x", "lora_unet_double_blocks_0"):
        path = one_file(tmp_path, lora(layer, 8))
        assert "another model family" in refused(source_of(path, ModelType.LORA), tmp_path)


ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_"


def of_layer(name: str, rows: int, numbers: int) -> Shapes:
    """A LoRA of one layer of a released checkpoint."""
    return {f"{name}.lora_A.weight": (4, numbers), f"{name}.lora_B.weight": (rows, 4)}


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({}, None),
        ({"unet.mystery": (1,)}, "it has unknown tensors, which are ignored: unet.mystery"),
        ({"unet.conv_in.alpha": ()}, None),
        (
            of_layer("base_model.model.conv_out", 4, 2880),
            "it was saved by peft, whose adapter_config.json",
        ),
        (
            of_layer("unet.down_blocks.7.conv", 8, 8),
            "not in SD 1.5 and will be left out: unet.down_",
        ),
        (of_layer("unet.conv_out", 4, 2880), None),
        (
            of_layer("unet.conv_out", 4, 288),
            "than in SD 1.5, which will be left out: unet.conv_out",
        ),
        (of_layer("unet.conv_in", 320, 81), None),
        (of_layer("text_encoder.text_model.encoder.layers.11.mlp.fc2", 768, 3072), None),
        (of_layer("text_encoder.text_model.encoder.layers.12.mlp.fc2", 768, 3072), "not in SD 1.5"),
    ],
)
def test_the_warnings_of_a_lora_are_on_the_model(tmp_path: Path, extra: Shapes, words: str | None) -> None:
    known = {**of_layer(f"unet.{ATTENTION}k", 640, 768), **of_layer(f"unet.{ATTENTION}q", 640, 640)}
    warnings = look_at(one_file(tmp_path, {**known, **extra}), ModelType.LORA).warnings
    assert [words for warning in warnings if words and words in warning] == ([words] if words else [])
    assert len(warnings) == (words is not None)


def test_a_lora_whose_layers_are_of_no_released_network_is_refused(tmp_path: Path) -> None:
    cases = {
        "unet.down_blocks.0.11.attention.to_q": "another model family",
        "down_blocks.0.motion_modules.0.temporal_transformer.proj_in": "AnimateDiff",
    }
    for layer, words in cases.items():
        path = one_file(tmp_path, of_layer(layer, 8, 8))
        assert words in refused(source_of(path, ModelType.LORA), tmp_path)
    text = of_layer("lora_te1_text_model_encoder_layers_0_mlp_fc1", 3072, 768)
    path = one_file(tmp_path, {**of_layer("lora_unet_double_blocks_0_img_attn_proj", 8, 8), **text})
    assert "another model family" in refused(source_of(path, ModelType.LORA), tmp_path)
    path = one_file(tmp_path, of_layer("lora_te_text_model_encoder_layers_0_mlp_fc1", 4096, 1024))
    assert "a Stable Diffusion 2 model" in refused(source_of(path, ModelType.LORA), tmp_path)
    sdxl = of_layer("unet.down_blocks.2.attentions.0.transformer_blocks.9.attn1.to_q", 1280, 1280)
    path = one_file(tmp_path, sdxl, {"ss_base_model_version": "sd_v1"})
    assert "for SD 1.5, but most of its layers are not" in refused(source_of(path, ModelType.LORA), tmp_path)


def test_the_folder_of_a_lora_of_peft_is_one_model(tmp_path: Path) -> None:
    folder = tmp_path / "style"
    write_safetensors(
        folder / "adapter_model.safetensors",
        lora("base_model.model.mid_block.attentions.0.transformer_blocks.0.attn2.to_k", 768),
    )
    write_json(folder / "adapter_config.json", {"peft_type": "LORA", "r": 4, "lora_alpha": 8})
    found = look_at(folder, ModelType.LORA)
    assert (found.model_type, found.model_base) == (ModelType.LORA, ModelBase.SD)
    write_json(folder / "adapter_config.json", {"peft_type": "VERA"})
    assert "peft's type 'VERA'" in refused(source_of(folder, ModelType.LORA), tmp_path)


def test_the_words_of_embeddings_are_found(tmp_path: Path) -> None:
    path = one_file(tmp_path, {"<cat>": (1, 768), "<dog>": (2, 768)})
    assert look_at(path, ModelType.EMBEDDING).trigger_words == ("<cat>", "<dog>")
    path = one_file(tmp_path, {"bundle_emb.cat.clip_l": (1, 768), **lora(LAYER, 8)}, {"ssmd_keywords": "fur"})
    found = look_at(path, ModelType.LORA)
    assert (found.trigger_words, found.model_base) == (("cat", "fur"), ModelBase.SD)
    path = one_file(tmp_path, {"\x1b[31mred": (1, 768)})
    assert look_at(path, ModelType.EMBEDDING).trigger_words == ()


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"emb_params": (1, 1280)}, "lacks the vectors for the first text encoder of SDXL"),
        ({"emb_params": (1, 2048)}, "have 2048 values: those of SD 1.5 have 768"),
        ({"emb_params": (1, 4096)}, "have 4096 values"),
        ({"emb_params": (1, 1024)}, "a Stable Diffusion 2 model"),
        ({"clip_l": (1, 1280), "clip_g": (1, 768)}, "have 1280 and 768 values"),
        ({"clip_l": (1, 768), "clip_g": (1, 768)}, "have 768 and 768 values"),
        ({"clip_l": (1, 768), "clip_l_out": (1, 700)}, "its output differ in width"),
        ({f"word{number}": (999, 768) for number in range(30)}, "bytes of vectors: the limit is"),
    ],
)
def test_an_embedding_of_another_width_is_refused(tmp_path: Path, shapes: Shapes, words: str) -> None:
    path = one_file(tmp_path, shapes, dtype="F32")
    assert words in refused(source_of(path, ModelType.EMBEDDING), tmp_path)


def test_the_metadata_of_a_lora_tells_its_family(tmp_path: Path) -> None:
    shapes = lora("lora_unet_mid_block_resnets_0_conv1", 32)
    path = one_file(tmp_path, shapes, {"ss_base_model_version": "sdxl_base_v1-0"})
    assert look_at(path, ModelType.LORA).model_base is ModelBase.SDXL
    path = one_file(tmp_path, shapes, {"modelspec.architecture": "stable-diffusion-v1/lora"})
    assert look_at(path, ModelType.LORA).model_base is ModelBase.SD


def test_a_declared_family_fills_what_the_file_does_not_tell(tmp_path: Path) -> None:
    path = one_file(tmp_path, lora("lora_unet_mid_block_resnets_0_conv1", 32))
    declared = msgspec.structs.replace(source_of(path, ModelType.LORA), model_base=ModelBase.SDXL)
    assert inspect(declared, [tmp_path], lambda done, total: None).model_base is ModelBase.SDXL


def test_what_was_declared_is_checked(tmp_path: Path) -> None:
    path = one_file(tmp_path, SMALL_SD)
    assert "type checkpoint, not lora" in refused(source_of(path, ModelType.LORA), tmp_path)
    declared = msgspec.structs.replace(source_of(path), model_base=ModelBase.SDXL)
    assert "for sd, not sdxl" in refused(declared, tmp_path)
    declared = msgspec.structs.replace(source_of(path), sha256="0" * 64)
    assert "was declared" in refused(declared, tmp_path)


def test_a_declared_sha256_may_be_upper_case(tmp_path: Path) -> None:
    path = one_file(tmp_path, SMALL_SD)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    declared = msgspec.structs.replace(source_of(path), sha256=sha256.upper())
    assert inspect(declared, [tmp_path], lambda done, total: None).sha256 == sha256


@pytest.mark.parametrize("ending", ["ckpt", "pt", "pth", "bin", "PKL"])
def test_pickles_are_refused_unread(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"model.{ending}"
    path.touch()
    assert "pickle" in refused(source_of(path), tmp_path)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.touch()
    assert "a GGUF file" in refused(source_of(path), tmp_path)


def test_the_progress_ends_with_all_bytes(tmp_path: Path) -> None:
    path = one_file(tmp_path, {**SMALL_SD, "cond_stage_model.big": (3 << 20,)})
    moves: list[tuple[int, int]] = []
    inspect(source_of(path), [tmp_path], lambda done, total: moves.append((done, total)))
    size = path.stat().st_size
    assert [done for done, _ in moves] == sorted({done for done, _ in moves})
    assert len(moves) == 2
    assert moves[-1] == (size, size)
