"""Inspection: what models are found to be, and what is refused in which words."""

import hashlib
from math import inf, nan, prod
from pathlib import Path

import msgspec
import pytest

from engine_worker.formats.model_folder import MAX_JSON_BYTES
from engine_worker.formats.safetensors_header import read_header
from kernel.protocol.enums import ModelBase, ModelType, Variant
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import Fingerprint
from tests.unit.worker.inspecting import inspect
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
    controlnet_plan,
    lora,
    stored_shapes,
    vae_plan,
    without,
    write_diffusers_folder,
    write_json,
    write_safetensors,
)

CROSS_ATTENTION = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
TEXT_PARTS = ("cond_stage_model.", "conditioner.")
CONTROL_MAP = "control_model.input_hint_block."
FIRST_CONVOLUTION = f"{UNET}input_blocks.0.0.weight"


def source_of(path: Path, model_type: ModelType = ModelType.CHECKPOINT) -> ModelSource:
    return ModelSource(model_id=ModelId("m"), name="a model", uri=f"file://{path}", model_type=model_type)


def look_at(path: Path, model_type: ModelType = ModelType.CHECKPOINT) -> Fingerprint:
    return inspect(source_of(path, model_type), [path.parent], lambda done, total: None)


def refused(source: ModelSource, root: Path) -> str:
    with pytest.raises(ModelUnreadable) as caught:
        inspect(source, [root], lambda done, total: None)
    return caught.value.detail


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
        ({"unet.mid_block.x.oft_R.weight": (4, 4), "x": (1,)}, "OFT"),
        ({f"{CONTROL_MAP}0.weight": (8, 3, 3, 3), "lora_controlnet": (0,)}, "control LoRA"),
        ({f"{CONTROL_MAP}0.weight": (8, 3, 3, 3), "x.to_k.down": (4, 4)}, "control LoRA"),
        ({f"{CONTROL_MAP}0.weight": (8, 3, 3, 3), "difference": (0,)}, "difference"),
        ({"controlnet_cond_embedding.conv_in.weight": (8, 3, 3, 3), "task_embedding": (4,)}, "union"),
        (SMALL_UNET, "a UNet alone"),
        ({"a": (1,), "b": (1,)}, "not a supported type of model"),
        ({}, "not a supported type of model"),
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
        (lora("lora_unet_mid_block_attn2_to_k", 768), ModelType.LORA, ModelBase.SD),
        (lora("unet.mid_block.attn2.to_k", 2048), ModelType.LORA, ModelBase.SDXL),
        (lora("lora_te2_text_model_x", 1280), ModelType.LORA, ModelBase.SDXL),
        (lora("lora_unet_mid_block_x", 32), ModelType.LORA, None),
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
        (lora("lora_unet_mid_block_attn2_to_k", 1024), ModelType.LORA),
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


LAYER = "lora_unet_mid_block_x"


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


def test_the_folder_of_a_lora_of_peft_is_one_model(tmp_path: Path) -> None:
    folder = tmp_path / "style"
    write_safetensors(
        folder / "adapter_model.safetensors", lora("base_model.model.mid_block.attn2.to_k", 768)
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


def test_the_metadata_of_a_lora_tells_its_family(tmp_path: Path) -> None:
    shapes = lora("lora_unet_mid_block_x", 32)
    path = one_file(tmp_path, shapes, {"ss_base_model_version": "sdxl_base_v1-0"})
    assert look_at(path, ModelType.LORA).model_base is ModelBase.SDXL
    path = one_file(tmp_path, shapes, {"modelspec.architecture": "stable-diffusion-v1/lora"})
    assert look_at(path, ModelType.LORA).model_base is ModelBase.SD


def test_a_declared_family_fills_what_the_file_does_not_tell(tmp_path: Path) -> None:
    path = one_file(tmp_path, lora("lora_unet_mid_block_x", 32))
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
    assert "neither a .safetensors file nor a diffusers folder" in refused(source_of(path), tmp_path)


def test_the_progress_ends_with_all_bytes(tmp_path: Path) -> None:
    path = one_file(tmp_path, {**SMALL_SD, "cond_stage_model.big": (3 << 20,)})
    moves: list[tuple[int, int]] = []
    inspect(source_of(path), [tmp_path], lambda done, total: moves.append((done, total)))
    size = path.stat().st_size
    assert [done for done, _ in moves] == sorted({done for done, _ in moves})
    assert len(moves) == 2
    assert moves[-1] == (size, size)


@pytest.mark.parametrize(
    ("config", "model_type", "base"),
    [
        ({"_class_name": "AutoencoderKL", "scaling_factor": 0.13025}, ModelType.VAE, ModelBase.SDXL),
        ({"_class_name": "AutoencoderKL", "scaling_factor": 0.5}, ModelType.VAE, None),
        ({"_class_name": "ControlNetModel"}, ModelType.CONTROLNET, ModelBase.SD),
    ],
)
def test_a_folder_of_one_part_is_found_out(
    tmp_path: Path, config: dict[str, object], model_type: ModelType, base: ModelBase | None
) -> None:
    plan = vae_plan() if model_type is ModelType.VAE else controlnet_plan(width=768)
    write_json(tmp_path / "part/config.json", {**plan.config, **config})
    write_safetensors(tmp_path / "part/diffusion_pytorch_model.fp16.safetensors", stored_shapes([plan]))
    found = look_at(tmp_path / "part", model_type)
    assert (found.model_type, found.model_base, found.variant) == (model_type, base, Variant.FP16)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_class_name": "AutoencoderTiny"}, "AutoencoderTiny"),
        ({}, "folder for None"),
        ({"_class_name": "AutoencoderKL", "auto_map": {"x": "y"}}, "asks for custom code"),
        ({"_class_name": "ControlNetModel", "global_pool_conditions": True}, "shuffle"),
    ],
)
def test_a_folder_of_one_part_that_is_not_known_is_refused(
    tmp_path: Path, config: dict[str, object], words: str
) -> None:
    write_json(tmp_path / "part/config.json", config)
    write_safetensors(tmp_path / "part/diffusion_pytorch_model.safetensors", VAE_ALONE)
    assert words in refused(source_of(tmp_path / "part", ModelType.VAE), tmp_path)


@pytest.mark.parametrize(("is_sdxl", "base"), [(False, ModelBase.SD), (True, ModelBase.SDXL)])
def test_a_diffusers_folder_is_found_out(tmp_path: Path, is_sdxl: bool, base: ModelBase) -> None:
    folder = write_diffusers_folder(tmp_path / "folder", is_sdxl=is_sdxl)
    found = look_at(folder)
    assert (found.model_base, found.variant, found.native_size_px) == (base, Variant.FP16, 64)
    assert found.prediction_type == "v_prediction"
    assert found.memory_bytes == 2 * found.parameters
    assert found.size_bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_sha256_of_a_folder_is_that_of_its_list_of_files(tmp_path: Path) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    before = look_at(folder).sha256
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    assert before == hashlib.sha256("".join(lines).encode()).hexdigest()
    (folder / "README.md").touch()
    (folder / ".cache").mkdir()
    (folder / ".cache/x.json").touch()
    assert look_at(folder).sha256 == before
    config = folder / "vae/config.json"
    config.write_text(f"{config.read_text()} ")
    assert look_at(folder).sha256 != before


def test_the_sha256_of_a_folder_covers_what_links_to_folders_lead_to(tmp_path: Path) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    (folder / "unet").rename(tmp_path / "elsewhere")
    (folder / "unet").symlink_to(tmp_path / "elsewhere")
    weights = tmp_path / "elsewhere/diffusion_pytorch_model.safetensors"
    before = inspect(source_of(folder), [tmp_path], lambda done, total: None)
    assert before.size_bytes > weights.stat().st_size
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"1")
    assert inspect(source_of(folder), [tmp_path], lambda done, total: None).sha256 != before.sha256


@pytest.mark.parametrize("shard", ["shard-1.safetensors", ".hidden.safetensors"])
def test_the_sha256_of_a_folder_covers_every_shard(tmp_path: Path, shard: str) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    (folder / "unet/diffusion_pytorch_model.safetensors").rename(folder / "unet" / shard)
    write_json(folder / "unet/diffusion_pytorch_model.safetensors.index.json", {"weight_map": {"a": shard}})
    before = look_at(folder).sha256
    with (folder / "unet" / shard).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"1")
    assert look_at(folder).sha256 != before


def test_the_weights_of_a_variant_are_found(tmp_path: Path) -> None:
    assert look_at(write_diffusers_folder(tmp_path / "folder", infix=".fp16")).memory_bytes


def test_of_two_variants_the_declared_one_counts(tmp_path: Path) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    for weights in list(folder.rglob("*.safetensors")):
        shapes = {name: entry.shape for name, entry in read_header(weights).tensors.items()}
        write_safetensors(weights.with_suffix(".bf16.safetensors"), shapes, "BF16")
    declared = msgspec.structs.replace(source_of(folder), variant=Variant.BF16)
    assert inspect(declared, [tmp_path], lambda done, total: None).variant is Variant.BF16
    assert look_at(folder).variant is Variant.FP16


def test_shards_beside_their_index_are_read(tmp_path: Path) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    whole = folder / "unet/diffusion_pytorch_model.safetensors"
    before = look_at(folder).memory_bytes
    whole.rename(folder / "unet/shard-1.safetensors")
    index = folder / "unet/diffusion_pytorch_model.safetensors.index.json"
    write_json(index, {"weight_map": {"a": "shard-1.safetensors"}})
    assert look_at(folder).memory_bytes == before
    write_json(index, {"weight_map": {"a": "shard-2.safetensors"}})
    assert "shards of unet are missing" in refused(source_of(folder), tmp_path)


@pytest.mark.parametrize(
    "name", ["../vae/diffusion_pytorch_model.safetensors", "/etc/passwd", "x.bin", "\0.safetensors"]
)
def test_an_index_that_points_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    index = folder / "unet/diffusion_pytorch_model.safetensors.index.json"
    write_json(index, {"weight_map": {"a": name}})
    assert "must list only" in refused(source_of(folder), tmp_path)


def test_a_link_out_of_the_roots_is_refused(tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    folder = write_diffusers_folder(tmp_path / "roots/folder")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(tmp_path / "outside.safetensors")
    weights.symlink_to(tmp_path / "outside.safetensors")
    assert "not a file in one of the allowed folders" in refused(source_of(folder), tmp_path / "roots")


def test_links_within_the_roots_are_followed(tmp_path: Path) -> None:
    folder = write_diffusers_folder(tmp_path / "snapshots/folder")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(tmp_path / "blob")
    weights.symlink_to(tmp_path / "blob")
    assert inspect(source_of(folder), [tmp_path], lambda done, total: None).parameters


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_class_name": "FluxPipeline"}, "FluxPipeline"),
        ({"_class_name": 5}, "folder for 5"),
        ({"unet": ["my_code", "MyUNet"]}, "which is not supported"),
        ({"unet": ["diffusers", "FluxTransformer2DModel"]}, "which is not supported"),
        ({"scheduler": ["diffusers", "os.system"]}, "which is not supported"),
        ({"controlnet": ["diffusers", "ControlNetModel"]}, "which is not supported"),
        ({"unet": [None, None]}, "lacks unet"),
        ({"_class_name": "StableDiffusionInstructPix2PixPipeline"}, "InstructPix2Pix"),
        ({"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}, "flow matching"),
        ({"scheduler": ["diffusers", "EDMEulerScheduler"]}, "EDM noise"),
        ({"scheduler": ["diffusers", "VQDiffusionScheduler"]}, "another kind of noise"),
    ],
)
def test_an_index_with_anything_unknown_is_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    index = msgspec.json.decode((folder / "model_index.json").read_bytes(), type=dict[str, object])
    write_json(folder / "model_index.json", {**index, **change})
    assert words in refused(source_of(folder), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("unet/config.json", {"cross_attention_dim": 1024}, "Stable Diffusion 2"),
        ("unet/config.json", {"in_channels": 5}, "has 5 input channels"),
        ("unet/config.json", {"in_channels": 6}, "has 6 input channels"),
        ("unet/config.json", {"class_embed_type": "projection"}, "class_embed_type is 'projection'"),
        ("unet/config.json", {"addition_embed_type": "text"}, "addition_embed_type is 'text'"),
        ("unet/config.json", {"encoder_hid_dim": 8}, "encoder_hid_dim is 8"),
        ("unet/config.json", {"mid_block_type": None}, "SSD-1B"),
        ("unet/config.json", {"transformer_layers_per_block": [1, [2, 2]]}, "SSD-1B"),
        ("unet/config.json", {"attention_head_dim": 3}, "attention_head_dim does not divide"),
        ("unet/config.json", {"norm_num_groups": 3}, "norm_num_groups does not divide"),
        ("unet/config.json", {"layers_per_block": 10**9}, "layers_per_block"),
        ("unet/config.json", {"layers_per_block": 2}, "the UNet lacks"),
        ("unet/config.json", {"block_out_channels": [16, 16]}, "does not fit [16, 4, 3, 3]"),
        ("vae/config.json", {"latent_channels": 16}, "has the shape"),
        ("vae/config.json", {"down_block_types": ["X"]}, "down_block_types is ('X',)"),
        ("text_encoder/config.json", {"hidden_size": 16}, "has the shape"),
        ("text_encoder/config.json", {"hidden_act": "os.system"}, "hidden_act is 'os.system'"),
        ("tokenizer/vocab.json", {"b": 49408}, "makes tokens up to 49408, but its text encoder knows"),
        ("tokenizer/tokenizer_config.json", {"pad_token": "!"}, "tokenizer lacks !"),
        ("tokenizer/vocab.json", [], "vocab.json is invalid"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "sigmoid"}, "is invalid"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow_prediction"}, "another kind of noise"),
        ("scheduler/scheduler_config.json", {"use_flow_sigmas": True}, "another kind of noise"),
        ("scheduler/scheduler_config.json", {"timestep_type": "continuous"}, "another kind of noise"),
        ("scheduler/scheduler_config.json", {"trained_betas": [0.1]}, "trained_betas has 1 numbers"),
        ("unet/config.json", [], "is invalid"),
        ("text_encoder/config.json", {"auto_map": {"AutoModel": "x.Y"}}, "asks for custom code"),
        ("scheduler/scheduler_config.json", {"prediction_type": 5}, "is invalid"),
    ],
)
def test_configs_with_anything_unknown_are_refused(
    tmp_path: Path, name: str, content: object, words: str
) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    if isinstance(content, dict):
        change_json(folder / name, **content)
    else:
        write_json(folder / name, content)
    assert words in refused(source_of(folder), tmp_path)


def test_infinities_that_diffusers_writes_into_a_configuration_are_read(tmp_path: Path) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    config = {"prediction_type": "v_prediction", "lambda_min_clipped": -inf, "more": [inf, nan]}
    assert "-Infinity" in write_json(folder / "scheduler/scheduler_config.json", config).read_text()
    assert look_at(folder).prediction_type == "v_prediction"


@pytest.mark.parametrize(
    "text",
    [
        b'{"prediction_type": Infinity}',
        b'{"lambda_min_clipped": -Infinity, "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b"{" + b'"a": {' * 200_000 + b"NaN" + b"}" * 200_001,
        b'{"a": NaN, "b": ' + b"1" * 10_000 + b"}",
        b'{"a": NaN} and more',
        '{"a": NaN}'.encode("utf-16"),
        b'{"a": NaN, "b": "\xff"}',
        b'{"a": NaN, "b": "' + b"x" * MAX_JSON_BYTES + b'"}',
    ],
    ids=["type", "lists", "objects", "number", "tail", "utf-16", "not utf-8", "length"],
)
def test_infinities_open_no_door_for_what_else_is_wrong(tmp_path: Path, text: bytes) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    (folder / "scheduler/scheduler_config.json").write_bytes(text)
    assert "scheduler/scheduler_config.json" in refused(source_of(folder), tmp_path)


def test_a_folder_with_code_is_refused(tmp_path: Path) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    (folder / "unet/my_unet.py").touch()
    assert "contains code" in refused(source_of(folder), tmp_path)


def test_a_folder_of_pickles_is_refused(tmp_path: Path) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    (folder / "unet/diffusion_pytorch_model.safetensors").rename(folder / "unet/diffusion_pytorch_model.bin")
    assert "pickles" in refused(source_of(folder), tmp_path)


@pytest.mark.parametrize(
    "name", ["model_index.json", "unet/config.json", "vae/diffusion_pytorch_model.safetensors"]
)
def test_an_incomplete_folder_is_refused_with_what_is_missing(tmp_path: Path, name: str) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    (folder / name).unlink()
    assert f"lacks the file {name}" in refused(source_of(folder), tmp_path)


@pytest.mark.parametrize("latents", [2**60, 3, -8, 0])
def test_a_native_size_that_no_picture_has_is_not_believed(tmp_path: Path, latents: int) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    change_json(folder / "unet/config.json", sample_size=latents)
    assert look_at(folder).native_size_px is None
