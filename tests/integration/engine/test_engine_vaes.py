"""VAEs by themselves: every form in which they are published, and what is said of those that do not fit."""

import shutil
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_engine import model_source
from torch import Tensor, nn

from engine_worker.engine.adapters.adapter_manager import AdapterManager, CacheLimits
from engine_worker.engine.adapters.vae_file import load_vae
from engine_worker.engine.loading.networks import build_empty
from engine_worker.engine.networks.components import Components, Vae
from engine_worker.formats.architecture import VaeShape
from engine_worker.formats.checkpoint_layout import Network, NetworkPlan
from engine_worker.formats.network_configs import lone_vae_config
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import JobRejected, ModelUnreadable
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import OWN_VAE

pytestmark = pytest.mark.torch

PREFIX = "first_stage_model."


@pytest.fixture(params=["checkpoint's keys", "keys alone", "folder", "file of a folder"])
def path(request: pytest.FixtureRequest, base: ModelBase, checkpoints: Path, tmp_path: Path) -> Path:
    """The checkpoint's own VAE, in each form."""
    folder = checkpoints / str(base) / "vae"
    if request.param == "folder":
        return folder
    if request.param == "file of a folder":
        return Path(shutil.copy(folder / "diffusion_pytorch_model.safetensors", tmp_path / "vae.safetensors"))
    stored = load_file(checkpoints / f"{base}.safetensors")
    tensors = {key: tensor for key, tensor in stored.items() if key.startswith(PREFIX)}
    if request.param == "keys alone":
        tensors = {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}
    tensors["loss.logvar"] = torch.zeros(1)
    save_file(tensors, tmp_path / "vae.safetensors")
    return tmp_path / "vae.safetensors"


def weights(vae: Vae) -> dict[str, Tensor]:
    assert isinstance(vae.decoder, nn.Module)
    return vae.decoder.state_dict()


def test_every_form_gives_the_checkpoints_own_vae_to_the_bit(parts: Components, path: Path) -> None:
    loaded = load_vae(model_source(path, ModelType.VAE), parts)
    ours, theirs = weights(loaded.vae), weights(parts.vae)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert loaded.vae.scaling_factor == parts.vae.scaling_factor
    assert loaded.memory_bytes == sum(tensor.nbytes for tensor in ours.values())


def test_a_vae_of_another_family_is_refused(base: ModelBase, parts: Components, checkpoints: Path) -> None:
    other = ModelBase.SD if base is ModelBase.SDXL else ModelBase.SDXL
    with pytest.raises(ModelUnreadable, match=f"is for {other}"):
        load_vae(model_source(checkpoints / str(other) / "vae", ModelType.VAE), parts)
    declared = model_source(
        checkpoints / "sd" / "vae" / "diffusion_pytorch_model.safetensors", ModelType.VAE, other
    )
    with pytest.raises(ModelUnreadable, match=f"is for {other}"):
        load_vae(declared, parts)


def test_a_vae_with_latents_of_another_size_is_refused(parts: Components, tmp_path: Path) -> None:
    shape = VaeShape(channels=(16, 32), resnets_per_level=1, latent_channels=4)
    plan = NetworkPlan(Network.VAE, lone_vae_config(shape, 1.0), lambda name: (), ())
    tensors = {name: torch.zeros(held.shape) for name, held in build_empty(plan).named_parameters()}
    save_file(tensors, tmp_path / "vae.safetensors")
    with pytest.raises(ModelUnreadable, match="the VAE has 4 latent channels and 2 levels"):
        load_vae(model_source(tmp_path / "vae.safetensors", ModelType.VAE), parts)


@pytest.mark.parametrize(
    ("gone", "new", "says"),
    [
        ("decoder.conv_out.bias", None, "VAE lacks the tensor"),
        (None, "decoder.conv_out.scale", "layers that are unknown: the tensor"),
    ],
)
def test_a_vae_that_is_not_whole_is_refused(
    parts: Components, checkpoints: Path, tmp_path: Path, gone: str | None, new: str | None, says: str
) -> None:
    tensors = load_file(checkpoints / "sd" / "vae" / "diffusion_pytorch_model.safetensors")
    tensors = {key: tensor for key, tensor in tensors.items() if key != gone}
    if new is not None:
        tensors[new] = torch.zeros(1)
    save_file(tensors, tmp_path / "vae.safetensors")
    with pytest.raises(ModelUnreadable, match=says):
        load_vae(model_source(tmp_path / "vae.safetensors", ModelType.VAE), parts)


def test_a_lora_is_no_vae(parts: Components, tmp_path: Path) -> None:
    parts_of_one = {f"lora_unet_conv_in.lora_{side}.weight": torch.zeros(1, 1) for side in ("down", "up")}
    save_file(parts_of_one, tmp_path / "lora.safetensors")
    with pytest.raises(ModelUnreadable, match="is a lora, not a vae"):
        load_vae(model_source(tmp_path / "lora.safetensors", ModelType.VAE), parts)


def test_a_job_without_a_vae_has_the_checkpoints_and_one_with_is_served_from_the_shelf(
    base: ModelBase, parts: Components, checkpoints: Path
) -> None:
    source = model_source(checkpoints / str(base) / "vae", ModelType.VAE)
    adapters = AdapterManager(parts, CacheLimits(vaes=1))
    assert adapters.vae([], OWN_VAE) is parts.vae
    first = adapters.vae([source], source.model_id)
    assert adapters.vae([source], source.model_id) is first
    anew = msgspec.structs.replace(source, sha256="0" * 64)
    assert adapters.vae([anew], source.model_id) is not first
    with pytest.raises(JobRejected, match="is missing from the order"):
        adapters.vae([source], ModelId("another"))
    wrong = msgspec.structs.replace(source, model_type=ModelType.LORA)
    with pytest.raises(JobRejected, match="is a lora, but the job uses it as a vae"):
        adapters.vae([wrong], source.model_id)
