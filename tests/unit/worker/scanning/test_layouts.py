"""The folders that people have: each model in them is found, once, and has its base."""

import json
from pathlib import Path

import onnx
import pytest

from kernel.protocol.enums import ModelBase, ModelType
from tests.unit.worker.model_files import (
    SMALL_SD,
    SMALL_SDXL,
    VAE_ALONE,
    controlnet,
    lora,
    stored_shapes,
    vae_plan,
    write_diffusers_folder,
    write_json,
    write_safetensors,
)
from tests.unit.worker.scanning.trees import begun, lora_file, scanned, usable, write
from tests.unit.worker.test_onnx_files import remover

CHECKPOINT, LORA, VAE = ModelType.CHECKPOINT, ModelType.LORA, ModelType.VAE
EMBEDDING, CONTROLNET = ModelType.EMBEDDING, ModelType.CONTROLNET
SD, SDXL = ModelBase.SD, ModelBase.SDXL
SD_EMBEDDING = {"emb_params": (2, 768)}


def vae_folder(folder: Path, name: str = "diffusion_pytorch_model.safetensors", **config: object) -> Path:
    plan = vae_plan()
    write_json(folder / "config.json", {**plan.config, "_class_name": "AutoencoderKL", **config})
    write_safetensors(folder / name, stored_shapes([plan]))
    return folder


def test_the_folders_of_a1111_and_forge(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_safetensors(models / "Stable-diffusion/dreams.safetensors", SMALL_SD)
    write_safetensors(models / "Stable-diffusion/xl/big.safetensors", SMALL_SDXL)
    lora_file(models / "Lora/Illustrious/style.safetensors")
    write_safetensors(
        models / "Lora/sure.safetensors",
        lora("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 768),
    )
    write_safetensors(models / "VAE/vae-ft-mse-840000-ema-pruned.safetensors", VAE_ALONE)
    write_safetensors(models / "VAE/sdxl_vae.safetensors", VAE_ALONE)
    write_safetensors(models / "ControlNet/control_v11p_sd15_canny.safetensors", controlnet(width=768))
    write_safetensors(tmp_path / "embeddings/word.safetensors", SD_EMBEDDING)
    write(models / "ESRGAN/4x.pth", b"PK\x03\x04")
    write(models / "Stable-diffusion/dreams.yaml", b"model:\n")
    assert usable(tmp_path) == {
        "embeddings/word.safetensors": (EMBEDDING, SD),
        "models/ControlNet/control_v11p_sd15_canny.safetensors": (CONTROLNET, SD),
        "models/Lora/Illustrious/style.safetensors": (LORA, SDXL),
        "models/Lora/sure.safetensors": (LORA, SD),
        "models/Stable-diffusion/dreams.safetensors": (CHECKPOINT, SD),
        "models/Stable-diffusion/xl/big.safetensors": (CHECKPOINT, SDXL),
        "models/VAE/sdxl_vae.safetensors": (VAE, SDXL),
        "models/VAE/vae-ft-mse-840000-ema-pruned.safetensors": (VAE, SD),
    }
    assert begun(tmp_path).files == 9


def test_the_folders_of_comfyui(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "checkpoints/SD1.5/dreams.safetensors", SMALL_SD)
    lora_file(tmp_path / "loras/SD 1.5/style.safetensors")
    lora_file(tmp_path / "loras/SDXL 1.0/style.sft")
    vae_folder(tmp_path / "vae/own", scaling_factor=0.13025)
    write(tmp_path / "rembg/cutter.onnx", remover().SerializeToString())
    write_safetensors(tmp_path / "clip_vision/h.safetensors", {"vision_model.a": (1,), "b": (1,)})
    write(tmp_path / "loras/put_loras_here", b"")
    assert usable(tmp_path) == {
        "checkpoints/SD1.5/dreams.safetensors": (CHECKPOINT, SD),
        "loras/SD 1.5/style.safetensors": (LORA, SD),
        "loras/SDXL 1.0/style.sft": (LORA, SDXL),
        "rembg/cutter.onnx": (ModelType.BACKGROUND, None),
        "vae/own": (VAE, SDXL),
    }
    assert "a CLIP vision model" in scanned(tmp_path)["clip_vision/h.safetensors"].text


def test_the_folders_of_invokeai(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path / "sd-1/main/dreams")
    write_diffusers_folder(tmp_path / "sdxl/main/big", is_sdxl=True)
    lora_file(tmp_path / "sd-1/lora/style.safetensors")
    lora_file(tmp_path / "sdxl/lora/folder/pytorch_lora_weights.safetensors")
    vae_folder(tmp_path / "sdxl/vae/fixed", scaling_factor=0.5)
    write_safetensors(tmp_path / "0b5a/word.safetensors", SD_EMBEDDING)
    lora_file(tmp_path / ".download_cache/unfinished.safetensors")
    assert usable(tmp_path) == {
        "0b5a/word.safetensors": (EMBEDDING, SD),
        "sd-1/lora/style.safetensors": (LORA, SD),
        "sd-1/main/dreams": (CHECKPOINT, SD),
        "sdxl/lora/folder": (LORA, SDXL),
        "sdxl/main/big": (CHECKPOINT, SDXL),
        "sdxl/vae/fixed": (VAE, SDXL),
    }


def test_a_flat_folder_and_one_that_is_a_model_itself(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "sdxl/dreams.safetensors", SMALL_SD)
    lora_file(tmp_path / "sdxl/style.safetensors")
    vae_folder(tmp_path / "other")
    assert usable(tmp_path / "sdxl") == {
        "dreams.safetensors": (CHECKPOINT, SD),
        "style.safetensors": (LORA, SDXL),
    }
    assert usable(tmp_path / "other") == {str(tmp_path / "other"): (VAE, SD)}


def test_a_download_cache_has_the_main_revision_of_each_repository(tmp_path: Path) -> None:
    repository = tmp_path / "models--owner--dreams"
    old = write_diffusers_folder(repository / "snapshots/aaa")
    new = write_diffusers_folder(repository / "snapshots/bbb")
    blob = repository / "blobs/0123"
    blob.parent.mkdir()
    weights = new / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(blob)
    weights.symlink_to("../../../blobs/0123")
    assert usable(tmp_path).keys() == {str(path.relative_to(tmp_path)) for path in (old, new)}
    write(repository / "refs/main", b"bbb\n")
    assert usable(tmp_path).keys() == {"models--owner--dreams/snapshots/bbb"}


def test_a_repository_of_single_files_is_looked_into(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "models--o--n/snapshots/c/dreams.safetensors", SMALL_SD)
    assert usable(tmp_path) == {"models--o--n/snapshots/c/dreams.safetensors": (CHECKPOINT, SD)}


def test_a_folder_that_is_one_model_hides_what_is_in_it(tmp_path: Path) -> None:
    folder = write_diffusers_folder(tmp_path / "dreams")
    write_safetensors(folder / "dreams.safetensors", SMALL_SD)
    assert scanned(tmp_path).keys() == {"dreams"}


@pytest.mark.parametrize("other", ["style.safetensors", "more/style.safetensors"])
def test_a_stray_configuration_does_not_make_one_model_of_a_folder_of_many(
    tmp_path: Path, other: str
) -> None:
    folder = vae_folder(tmp_path / "VAE")
    lora_file(folder / other)
    assert usable(tmp_path).keys() == {"VAE/diffusion_pytorch_model.safetensors", f"VAE/{other}"}


def test_a_lora_folder_is_one_model_unless_other_models_lie_beside_it(tmp_path: Path) -> None:
    name = "pytorch_lora_weights.safetensors"
    lora_file(tmp_path / "lcm" / name)
    lora_file(tmp_path / "Lora" / name)
    lora_file(tmp_path / "Lora/style.safetensors")
    assert usable(tmp_path).keys() == {"lcm", f"Lora/{name}", "Lora/style.safetensors"}
    assert usable(tmp_path / "lcm").keys() == {name}, "a folder of the configuration is none by its one file"


def test_a_pair_of_embedding_files_is_one_model(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "word/learned_embeds.safetensors", {"<fox>": (2, 768)})
    write_safetensors(tmp_path / "word/learned_embeds_2.safetensors", {"<fox>": (2, 1280)})
    assert usable(tmp_path) == {"word": (EMBEDDING, SDXL)}


def test_a_controlnet_folder_is_one_model(tmp_path: Path) -> None:
    write_json(tmp_path / "cn/config.json", {"_class_name": "ControlNetModel"})
    write(tmp_path / "cn/diffusion_pytorch_model.bin", b"PK\x03\x04")
    (found,) = scanned(tmp_path).values()
    assert "pickles" in found.text


def test_content_is_believed_before_folders(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "Lora/SD 1.5/dreams.safetensors", SMALL_SDXL)
    assert usable(tmp_path) == {"Lora/SD 1.5/dreams.safetensors": (CHECKPOINT, SDXL)}


@pytest.mark.parametrize(
    ("folder", "base"),
    [
        ("sd15", SD),
        ("sd1", SD),
        ("sd_1.5", SD),
        ("SD 1.4", SD),
        ("stable-diffusion-v1-5", SD),
        ("XL", SDXL),
        ("SDXL 1.0", SDXL),
        ("sdxl-loras", SDXL),
        ("Pony", SDXL),
        ("NoobAI", SDXL),
        ("pony-v7", None),
        ("sd-2", None),
        ("sd 1.5 and sdxl", None),
        ("Stable-diffusion", None),
        ("ponytail", None),
        ("axle", None),
        ("sd10k", None),
    ],
)
def test_the_base_is_a_word_in_the_name_of_a_folder(
    tmp_path: Path, folder: str, base: ModelBase | None
) -> None:
    lora_file(tmp_path / folder / "deeper/style.safetensors")
    assert usable(tmp_path) == {f"{folder}/deeper/style.safetensors": (LORA, base)}


def test_the_nearest_folder_decides_and_none_above_the_configured_one(tmp_path: Path) -> None:
    lora_file(tmp_path / "sdxl/models/sd15/a.safetensors")
    lora_file(tmp_path / "sdxl/models/b.safetensors")
    assert usable(tmp_path / "sdxl/models") == {
        "b.safetensors": (LORA, None),
        "sd15/a.safetensors": (LORA, SD),
    }


def test_an_onnx_file_that_is_no_remover_is_listed_with_its_reason(tmp_path: Path) -> None:
    face = remover((1, 3, 112, 112), returned=(1, 512))
    write(tmp_path / "insightface/face.onnx", onnx.ModelProto.SerializeToString(face))
    assert "not a background remover" in scanned(tmp_path)["insightface/face.onnx"].text


def test_the_order_of_reports_is_that_of_names(tmp_path: Path) -> None:
    for name in ("b/z", "a", "c", "B"):
        lora_file(tmp_path / f"{name}.safetensors")
    found = json.dumps(list(scanned(tmp_path)))
    assert found == json.dumps(["B.safetensors", "a.safetensors", "b/z.safetensors", "c.safetensors"])
