"""Which files of a repository are downloaded."""

import pytest

from engine_worker.fetch.sources.hub_files import choose_files
from kernel.protocol.enums import ModelType, Variant
from kernel.protocol.errors import DownloadFailed

FOLDER = (
    "model_index.json",
    "README.md",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "text_encoder/model.fp16.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "safety_checker/model.safetensors",
    "unet/model.onnx",
)
PLAIN = {name for name in FOLDER if name.endswith((".json", ".txt")) and ".index." not in name}


def chosen(names: tuple[str, ...], variant: Variant | None = None, **more: str | None) -> set[str]:
    return set(choose_files(names, ModelType.CHECKPOINT, variant, more.get("file")))


def test_of_a_folder_the_weights_without_a_precision_come_in_shards_with_their_index() -> None:
    unet = {name for name in FOLDER if "model-0000" in name or ".index." in name}
    weights = {"text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors"}
    assert chosen(FOLDER) == PLAIN | unet | weights


def test_of_a_folder_the_wanted_precision_is_taken_where_there_is_one() -> None:
    weights = {
        "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    }
    assert chosen(FOLDER, Variant.FP16) == PLAIN | weights


def test_a_folder_whose_weights_are_pickles_is_refused() -> None:
    names = tuple(name.replace(".safetensors", ".bin") for name in FOLDER)
    with pytest.raises(DownloadFailed, match="no safetensors weights for unet"):
        chosen(names)


def test_a_folder_beyond_all_measure_is_refused() -> None:
    with pytest.raises(DownloadFailed, match="more than 500"):
        chosen((*FOLDER, *(f"tokenizer/{number}.json" for number in range(600))))


@pytest.mark.parametrize(
    "name",
    ["../a.safetensors", "/a.safetensors", "a/../../b.safetensors", ".git/a.safetensors", "a//b.safetensors"],
)
def test_a_name_that_leads_elsewhere_is_no_file_of_the_repository(name: str) -> None:
    with pytest.raises(DownloadFailed, match="no weights"):
        chosen((name,))
    with pytest.raises(DownloadFailed, match="no file"):
        chosen((name,), file=name)


def test_a_vae_or_controlnet_of_diffusers_is_its_one_file() -> None:
    names = ("config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
    assert choose_files(names, ModelType.VAE, None, None) == (names[1],)
    assert choose_files(names, ModelType.VAE, Variant.FP16, None) == (names[2],)
    more = (*names, "control_v11.safetensors")
    assert choose_files(more, ModelType.CONTROLNET, None, None) == (names[1],)


def test_a_background_remover_is_an_onnx_file_in_the_wanted_precision() -> None:
    names = ("model.safetensors", "onnx/model.onnx", "onnx/model_fp16.onnx")
    assert choose_files(names, ModelType.BACKGROUND, None, None) == ("onnx/model.onnx",)
    assert choose_files(names, ModelType.BACKGROUND, Variant.FP16, None) == ("onnx/model_fp16.onnx",)


def test_the_names_of_an_error_are_few() -> None:
    names = tuple(f"{number:03}.safetensors" for number in range(100))
    with pytest.raises(DownloadFailed, match=r"007\.safetensors, \.\.\.$"):
        chosen(names)


def test_what_is_one_model_together_is_downloaded_together() -> None:
    peft = ["README.md", "adapter_model.safetensors", "adapter_config.json"]
    assert choose_files(peft, ModelType.LORA, None, None) == (
        "adapter_model.safetensors",
        "adapter_config.json",
    )
    pair = ["learned_embeds.safetensors", "learned_embeds_2.safetensors", "model.safetensors"]
    assert choose_files(pair, ModelType.EMBEDDING, None, None) == tuple(pair[:2])
