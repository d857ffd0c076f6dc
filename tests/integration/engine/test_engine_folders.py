"""Diffusers folders: the forms in which they are published, and what is said of broken ones."""

import shutil
from pathlib import Path

import diffusers
import msgspec
import pytest
import torch
from loaded import CPU, load, networks
from safetensors.torch import load_file, save_file
from small_engine import source_of

from engine_worker.engine.loading.load_checkpoint import load_components
from engine_worker.formats.diffusers_folder import describe_folder, read_folder
from engine_worker.formats.diffusers_index import read_index
from engine_worker.formats.model_folder import ModelFolder
from kernel.protocol.enums import Variant
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.schedulers import KINDS

pytestmark = pytest.mark.torch


def broken_folder(checkpoints: Path, place: Path) -> Path:
    return Path(shutil.copytree(checkpoints / "sd", place / "sd"))


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("model_index.json", "lacks the file model_index.json"),
        ("unet/config.json", "lacks the file unet/config.json"),
        ("unet/diffusion_pytorch_model.safetensors", "lacks the file unet/diffusion_pytorch_model"),
        ("scheduler/scheduler_config.json", "lacks the file scheduler/scheduler_config.json"),
        ("tokenizer/tokenizer.json", "no CLIP tokenizer"),
    ],
)
def test_a_folder_with_something_missing_is_refused_in_words(
    gone: str, says: str, checkpoints: Path, tmp_path: Path
) -> None:
    folder = broken_folder(checkpoints, tmp_path)
    (folder / gone).unlink()
    with pytest.raises(ModelUnreadable, match=says):
        load(folder)


@pytest.fixture(scope="module")
def saved_folder(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose scheduler each test replaces."""
    return broken_folder(checkpoints, tmp_path_factory.mktemp("saved"))


@pytest.mark.sampled(5)
@pytest.mark.parametrize("class_name", sorted({kind.class_name for kind in KINDS.values()}))
def test_a_folder_saved_with_any_scheduler_is_described_and_read(class_name: str, saved_folder: Path) -> None:
    scheduler = getattr(diffusers, class_name)()
    scheduler.save_pretrained(saved_folder / "scheduler")
    index = saved_folder / "model_index.json"
    entries = msgspec.json.decode(index.read_bytes(), type=dict[str, object])
    index.write_bytes(msgspec.json.encode({**entries, "scheduler": ["diffusers", class_name]}))
    folder = ModelFolder(saved_folder, [saved_folder])
    assert describe_folder(folder, None).prediction_type == "epsilon"
    config = read_folder(folder, read_index(folder), None).scheduler_config
    assert config["_class_name"] == class_name
    options = {name: value for name, value in scheduler.config.items() if not name.startswith("_")}
    assert {name: value for name, value in options.items() if value is not None}.items() <= config.items()


def test_a_folder_of_pickles_is_refused_with_the_way_out(checkpoints: Path, tmp_path: Path) -> None:
    folder = broken_folder(checkpoints, tmp_path)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelUnreadable, match="use safetensors"):
        load(folder)


def test_a_folder_for_another_pipeline_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    folder = broken_folder(checkpoints, tmp_path)
    (folder / "model_index.json").write_bytes(msgspec.json.encode({"_class_name": "FluxPipeline"}))
    with pytest.raises(ModelUnreadable, match="FluxPipeline"):
        load(folder)


def test_the_variant_of_the_weights_that_was_asked_for_is_taken(checkpoints: Path, tmp_path: Path) -> None:
    folder = broken_folder(checkpoints, tmp_path)
    plain = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = {name: torch.zeros_like(tensor) for name, tensor in load_file(plain).items()}
    save_file(tensors, plain.with_suffix(".fp16.safetensors"))
    source = msgspec.structs.replace(source_of(folder), variant=Variant.FP16)
    unet = networks(load_components(source, CPU, torch.float32))[0]
    assert not any(parameter.any() for parameter in unet.parameters())


def test_sharded_weights_and_the_old_names_of_the_vaes_attention_load(
    checkpoints: Path, tmp_path: Path
) -> None:
    folder = broken_folder(checkpoints, tmp_path)
    rename_vae_attention(folder / "vae" / "diffusion_pytorch_model.safetensors")
    shard(folder / "unet" / "diffusion_pytorch_model.safetensors")
    whole, sharded = load(checkpoints / "sd"), load(folder)
    for one, other in zip(networks(whole), networks(sharded), strict=True):
        assert all(map(torch.equal, one.parameters(), other.parameters()))


def test_shards_of_a_variant_load(checkpoints: Path, tmp_path: Path) -> None:
    folder = broken_folder(checkpoints, tmp_path)
    shard(folder / "unet" / "diffusion_pytorch_model.safetensors", ".fp16")
    source = msgspec.structs.replace(source_of(folder), variant=Variant.FP16)
    for one, other in zip(
        networks(load(checkpoints / "sd")), networks(load_components(source, CPU, torch.float32)), strict=True
    ):
        assert all(map(torch.equal, one.parameters(), other.parameters()))


def test_a_folder_whose_unet_is_built_in_another_way_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    folder = broken_folder(checkpoints, tmp_path)
    path = folder / "unet" / "config.json"
    config = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**config, "layers_per_block": [2, 1, 2, 2]}))
    with pytest.raises(ModelUnreadable, match="layers_per_block differs"):
        load(folder)


def rename_vae_attention(path: Path) -> None:
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(path)
    for name in [name for name in tensors if ".attentions.0." in name]:
        for word, old in former.items():
            if f".{word}." in name:
                tensors[name.replace(word, old)] = tensors.pop(name)
    save_file(tensors, path)


def shard(path: Path, infix: str = "") -> None:
    tensors = load_file(path)
    names = sorted(tensors)
    path.unlink()
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"part-{number}.safetensors"
        save_file({name: tensors[name] for name in part}, path.with_name(file))
        weight_map |= dict.fromkeys(part, file)
    index = path.with_name(f"diffusion_pytorch_model.safetensors.index{infix}.json")
    index.write_bytes(msgspec.json.encode({"weight_map": weight_map}))
