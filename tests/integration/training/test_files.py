"""What training writes is what the stock loaders of diffusers read, offline: checkpoints, LoRAs, words."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine_worker.engine.loading.load_checkpoint import read_layout
from engine_worker.engine.loading.saving import save_folder, save_single_file
from engine_worker.formats.ldm_layout import single_file_layout
from training.evaluate import PIPELINES
from training.export import METADATA
from training.families import FAMILIES, Family, new_modules
from training.lora import save_diffusers, save_kohya, with_adapter
from training.networks import architecture, build_vae

pytestmark = pytest.mark.torch


@pytest.fixture(params=FAMILIES, ids=lambda family: str(family.base.value))
def family(request: pytest.FixtureRequest) -> Family:
    torch.manual_seed(0)
    chosen: Family = request.param
    return chosen


def _networks(family: Family) -> list[nn.Module]:
    modules = new_modules(family)
    networks = [modules["unet"], build_vae(family.base), *(modules[name] for name in family.encoders)]
    return [network.half().requires_grad_(False) for network in networks]


def _same(first: nn.Module, second: nn.Module) -> bool:
    others = dict(second.named_parameters())
    return all(torch.equal(weight.float(), others[name].float()) for name, weight in first.named_parameters())


@pytest.mark.sampled(1)
def test_a_checkpoint_is_read_by_the_stock_loaders(family: Family, tmp_path: Path) -> None:
    networks, layout = _networks(family), single_file_layout(architecture(family.base))
    file, folder = tmp_path / "scenes.safetensors", tmp_path / "scenes"
    save_single_file(file, layout, networks, METADATA)
    save_folder(folder, layout, networks)
    kind = PIPELINES[family.base]
    single = kind.from_single_file(str(file), config=str(folder), local_files_only=True)
    several = kind.from_pretrained(str(folder), local_files_only=True)
    for pipeline in (single, several):
        loaded = [
            pipeline.unet,
            pipeline.vae,
            pipeline.text_encoder,
            pipeline.components.get("text_encoder_2"),
        ]
        assert all(_same(ours, theirs) for ours, theirs in zip(networks, loaded, strict=False))


def test_the_server_builds_of_the_files_what_was_trained(family: Family, tmp_path: Path) -> None:
    networks, layout = _networks(family), single_file_layout(architecture(family.base))
    file = tmp_path / "scenes.safetensors"
    save_single_file(file, layout, networks, METADATA)
    read = read_layout(file)
    assert read.base is family.base
    assert [plan.config for plan in read.networks] == [plan.config for plan in layout.networks]
    assert read.scheduler_config == layout.scheduler_config


@pytest.mark.sampled(1)
def test_both_formats_of_a_lora_load_into_the_same_weights(family: Family, tmp_path: Path) -> None:
    lora = _random_lora(family)
    save_kohya(tmp_path / "kohya.safetensors", family, lora)
    save_diffusers(tmp_path / "diffusers.safetensors", lora)
    layout = single_file_layout(architecture(family.base))
    save_folder(tmp_path / "scenes", layout, _networks(family))
    for name in ("kohya", "diffusers"):
        pipeline = PIPELINES[family.base].from_pretrained(str(tmp_path / "scenes"), local_files_only=True)
        pipeline.load_lora_weights(str(tmp_path / f"{name}.safetensors"), adapter_name="look")
        loaded = _adapter(pipeline.unet)
        assert loaded.keys() == lora.keys()
        assert all(torch.equal(loaded[key], weight.half().float()) for key, weight in lora.items())


def _random_lora(family: Family) -> dict[str, Tensor]:
    return {
        name: torch.randn_like(weight)
        for name, weight in _adapter(with_adapter(new_modules(family))["unet"]).items()
    }


def _adapter(unet: nn.Module) -> dict[str, Tensor]:
    from peft import get_peft_model_state_dict

    name = next(iter(unet.peft_config))
    return {
        key: weight.detach().float()
        for key, weight in get_peft_model_state_dict(unet, adapter_name=name).items()
    }
