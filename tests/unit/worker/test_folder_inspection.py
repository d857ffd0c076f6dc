"""Inspection of folders: what they are found to be, what of them counts, and what is refused."""

import hashlib
from math import inf, nan
from pathlib import Path

import msgspec
import pytest

from engine_worker.formats.model_folder import MAX_JSON_BYTES
from engine_worker.formats.safetensors_header import read_header
from kernel.protocol.enums import ModelBase, ModelType, Variant
from tests.unit.worker.inspecting import inspect, look_at, refused, source_of
from tests.unit.worker.model_files import (
    VAE_ALONE,
    change_json,
    controlnet_plan,
    stored_shapes,
    vae_plan,
    write_diffusers_folder,
    write_json,
    write_safetensors,
)


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
        ({"_class_name": "AutoencoderTiny"}, "a tiny autoencoder"),
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
