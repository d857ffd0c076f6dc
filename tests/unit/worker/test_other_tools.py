"""Files as other tools leave them in people's folders: taken, or refused by name with what to do."""

import json
from pathlib import Path

import pytest

from engine_worker.formats.safetensors_header import read_header
from kernel.protocol.enums import ModelBase, ModelType
from tests.unit.worker.inspecting import look_at, refused, source_of
from tests.unit.worker.model_files import (
    SMALL_SD,
    SMALL_UNET,
    Shapes,
    change_json,
    controlnet,
    write_diffusers_folder,
    write_json,
    write_raw,
    write_safetensors,
)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (
            {"1.weight": (64, 4, 3, 3), "3.conv.0.weight": (64, 64, 3, 3)},
            "a tiny autoencoder: use a complete VAE",
        ),
        ({"model.0.weight": (8, 3, 3, 3), "model.1.sub.0.RDB1.conv1.0.weight": (4, 4)}, "an upscaler"),
        ({"conv_first.weight": (8, 3, 3, 3), "body.0.rdb1.conv1.weight": (4, 4)}, "an upscaler"),
        ({"vision_model.x.weight": (8, 8), "logit_scale": ()}, "a CLIP vision model"),
        ({"text_model.x.weight": (8, 8), "logit_scale": ()}, "a text encoder alone: use a checkpoint"),
        (
            {"shared.weight": (8, 8), "encoder.block.0.x.weight": (8, 8)},
            "a text encoder alone: use a checkpoint",
        ),
        ({"down_blocks.0.motion_modules.0.proj_in.weight": (8, 8), "x": (1,)}, "a motion module"),
        (
            {"transformer_blocks.0.attn.to_q.weight": (8, 8), "x": (1,)},
            "a transformer of another model family",
        ),
        ({"ip_adapter.0.to_q_lora.down.weight": (4, 8), "image_proj.x": (1,)}, "an IP-Adapter"),
        ({"input_blocks.0.0.weight": (8, 4, 3, 3), "x": (1,)}, "a UNet alone"),
        ({}, "contains no tensors: fetch it again"),
    ],
)
def test_files_for_other_tools_are_refused_by_name(tmp_path: Path, shapes: Shapes, words: str) -> None:
    path = write_safetensors(tmp_path / "model.safetensors", shapes)
    assert words in refused(source_of(path), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.safetensors", b"", "empty or truncated: wait until it is copied"),
        ("a.safetensors", bytes(1000), "begins with zeros: wait until it is copied"),
        ("a.safetensors", b"<!DOCTYPE html>", "a web page"),
        ("a.safetensors", b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        ("a.safetensors", b"PK\x03\x04" + bytes(99), "a pickle, not a model file: name it .ckpt"),
        ("a.safetensors", b"GGUF" + bytes(99), "a GGUF file"),
        ("a.gguf", b"GGUF" + bytes(99), "a GGUF file, which is quantized: use"),
    ],
)
def test_a_file_of_another_content_is_called_what_it_is(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert words in refused(source_of(tmp_path / name), tmp_path)


def test_a_file_that_is_still_being_copied_says_so(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "model.safetensors", SMALL_SD)
    whole = path.read_bytes()
    for length in (500, len(whole) - 1000):
        path.write_bytes(whole[:length])
        assert "truncated" in refused(source_of(path), tmp_path)
        assert "wait until it is copied" in refused(source_of(path), tmp_path)


@pytest.mark.parametrize("name", ["model.sft", "ünïcode 名前.safetensors", "with space & more#.safetensors"])
def test_names_that_people_give_are_taken(tmp_path: Path, name: str) -> None:
    path = write_safetensors(tmp_path / name, SMALL_SD)
    assert look_at(path).model_base is ModelBase.SD


@pytest.mark.parametrize(
    "said", [{"epoch": 3, "format": "pt"}, {"a": {"b": [1]}}, None, {"ss_tag_frequency": "{"}]
)
def test_odd_metadata_does_no_harm(tmp_path: Path, said: object) -> None:
    entry = {"dtype": "F32", "shape": [1, 768], "data_offsets": [0, 3072]}
    text = json.dumps({"__metadata__": said, "emb_params": entry})
    path = write_raw(tmp_path / "word.safetensors", text.encode() + b"  ", 3072)
    assert look_at(path, ModelType.EMBEDDING).model_base is ModelBase.SD


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "a UNet alone: register the complete checkpoint"),
        ({"_class_name": "AutoencoderTiny"}, "a tiny autoencoder"),
        ({"_class_name": "T2IAdapter"}, "a T2I adapter: use a ControlNet"),
        ({"_class_name": "MotionAdapter"}, "a motion module of AnimateDiff"),
        ({"_class_name": "ControlNetUnionModel"}, "a union ControlNet"),
        ({"architectures": ["CLIPTextModel"]}, "a text encoder alone"),
        ({"_class_name": "AutoencoderKLWan"}, "a folder for 'AutoencoderKLWan'"),
    ],
)
def test_folders_of_other_parts_are_refused_by_name(tmp_path: Path, config: object, words: str) -> None:
    write_json(tmp_path / "part/config.json", config)
    write_safetensors(tmp_path / "part/diffusion_pytorch_model.safetensors", SMALL_UNET)
    assert words in refused(source_of(tmp_path / "part"), tmp_path)


def test_folders_that_are_no_checkpoint_say_what_to_register(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "only/model.safetensors", SMALL_SD)
    assert "register the file in it, model.safetensors" in refused(source_of(tmp_path / "only"), tmp_path)
    folder = write_diffusers_folder(tmp_path / "folder", kind="StableDiffusionControlNetPipeline")
    assert "register the folder controlnet in it" in refused(source_of(folder), tmp_path)


def test_variants_may_be_mixed_and_parts_null(tmp_path: Path) -> None:
    folder = write_diffusers_folder(tmp_path / "folder", infix=".fp16")
    (folder / "text_encoder/model.fp16.safetensors").rename(folder / "text_encoder/model.safetensors")
    change_json(folder / "model_index.json", safety_checker=None, feature_extractor=[None, None])
    assert look_at(folder).warnings == ()


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_a_controlnet_that_reads_no_color_images_is_refused(tmp_path: Path, channels: int) -> None:
    shapes = {**controlnet(), "controlnet_cond_embedding.conv_in.weight": (8, channels, 3, 3)}
    path = write_safetensors(tmp_path / "net.safetensors", shapes)
    words = f"conditioning_channels is {channels}"
    assert words in refused(source_of(path, ModelType.CONTROLNET), tmp_path)


@pytest.mark.parametrize(
    "index", ["safetensors.index.fp16.json", "fp16.safetensors.index.json", "safetensors.fp16.index.json"]
)
def test_shards_of_a_variant_are_found_by_every_name_of_their_index(tmp_path: Path, index: str) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    whole = folder / "unet/diffusion_pytorch_model.safetensors"
    shapes = {name: entry.shape for name, entry in read_header(whole).tensors.items()}
    whole.unlink()
    names, where = sorted(shapes), {}
    for number, mine in enumerate((names[:50], names[50:]), 1):
        shard = f"diffusion_pytorch_model.fp16-0000{number}-of-00002.safetensors"
        write_safetensors(folder / "unet" / shard, {name: shapes[name] for name in mine})
        where.update(dict.fromkeys(mine, shard))
    write_json(folder / f"unet/diffusion_pytorch_model.{index}", {"metadata": {}, "weight_map": where})
    assert look_at(folder).warnings == ()


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin"])
def test_pickled_weights_of_a_folder_are_called_so(tmp_path: Path, name: str) -> None:
    folder = write_diffusers_folder(tmp_path / "folder")
    (folder / "unet/diffusion_pytorch_model.safetensors").rename(folder / "unet" / name)
    assert "the weights of unet are pickles" in refused(source_of(folder), tmp_path)
