"""ControlNets: every form in which they are published, and what is said of those that do not fit."""

from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file
from small_engine import model_source
from torch import Tensor, nn

from engine_worker.engine.adapters.adapter_manager import AdapterManager
from engine_worker.engine.adapters.controlnet_file import load_controlnet
from engine_worker.engine.networks.components import Components
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.component_plans import controlnet_places
from engine_worker.formats.diffusers_shapes import read_controlnet_shape
from engine_worker.formats.safetensors_header import read_header
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import ModelUnreadable

pytestmark = pytest.mark.torch

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def original(parts: Components) -> ControlNetModel:
    """One that was made of the checkpoint's UNet, with random weights where a fresh one has zeros."""
    torch.manual_seed(5)
    network = ControlNetModel.from_unet(
        parts.networks[Network.UNET], conditioning_embedding_out_channels=(8, 16, 24, 32)
    )
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def folder(original: ControlNetModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("controlnet")
    original.save_pretrained(place)
    return place


def ldm_tensors(folder: Path, prefix: str) -> dict[str, Tensor]:
    shape = read_controlnet_shape(read_header(folder / WEIGHTS))
    return {
        controlnet_places(name, shape, prefix)[0].key: tensor
        for name, tensor in load_file(folder / WEIGHTS).items()
    }


@pytest.fixture(params=["folder", "file of a folder", "control_model.", ""])
def path(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Path:
    """Each form; the last two are the original release's, with and without prefix."""
    if request.param == "folder":
        return folder
    if request.param == "file of a folder":
        return folder / WEIGHTS
    tensors = ldm_tensors(folder, request.param)
    if request.param:
        tensors["model.diffusion_model.out.2.weight"] = torch.zeros(1)
    save_file(tensors, tmp_path / "controlnet.safetensors")
    return tmp_path / "controlnet.safetensors"


def test_every_form_gives_the_same_network_to_the_bit(
    parts: Components, original: ControlNetModel, path: Path
) -> None:
    loaded = load_controlnet(model_source(path, ModelType.CONTROLNET), parts)
    assert isinstance(loaded.network, nn.Module)
    ours, theirs = loaded.network.state_dict(), original.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert loaded.memory_bytes == sum(tensor.nbytes for tensor in ours.values())


@torch.inference_mode()
def test_what_a_network_from_shapes_says_is_what_the_original_says(
    base: ModelBase, parts: Components, original: ControlNetModel, folder: Path
) -> None:
    loaded = load_controlnet(model_source(folder / WEIGHTS, ModelType.CONTROLNET), parts)
    torch.manual_seed(1)
    sample, timestep, control = torch.randn(2, 4, 8, 8), torch.tensor([5, 900]), torch.rand(2, 3, 64, 64)
    words = torch.randn(2, 77, parts.unet_shape.cross_attention_width)
    added = None
    if base is ModelBase.SDXL:
        added = {"text_embeds": torch.randn(2, 128), "time_ids": torch.rand(2, 6)}
    said = [
        network(
            sample,
            timestep,
            encoder_hidden_states=words,
            controlnet_cond=control,
            added_cond_kwargs=added,
            return_dict=False,
        )
        for network in (loaded.network, original)
    ]
    (ours, our_middle), (theirs, their_middle) = said
    assert all(map(torch.equal, (*ours, our_middle), (*theirs, their_middle)))
    assert our_middle.any()


def test_the_original_form_has_the_keys_that_diffusers_own_converter_expects(
    parts: Components, original: ControlNetModel, folder: Path
) -> None:
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    converted = convert_controlnet_checkpoint(ldm_tensors(folder, "control_model."), original.config)
    theirs = original.state_dict()
    # Theirs passes over what SDXL's have in addition; the names of that are the UNet's.
    assert {name.split(".")[0] for name in theirs.keys() - converted.keys()} <= {"add_embedding"}
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in converted.items())


def test_a_controlnet_for_another_base_is_refused(base: ModelBase, checkpoints: Path, folder: Path) -> None:
    from loaded import load

    other = ModelBase.SD if base is ModelBase.SDXL else ModelBase.SDXL
    with pytest.raises(ModelUnreadable, match=r"made for another base|is for"):
        load_controlnet(
            model_source(folder, ModelType.CONTROLNET), load(checkpoints / f"{other}.safetensors")
        )


def test_a_controlnet_that_is_not_whole_is_refused(parts: Components, folder: Path, tmp_path: Path) -> None:
    tensors = ldm_tensors(folder, "control_model.")
    del tensors["control_model.zero_convs.1.0.bias"]
    save_file(tensors, tmp_path / "controlnet.safetensors")
    source = model_source(tmp_path / "controlnet.safetensors", ModelType.CONTROLNET)
    with pytest.raises(
        ModelUnreadable, match=r"ControlNet lacks the tensor control_model\.zero_convs\.1\.0\.bias"
    ):
        load_controlnet(source, parts)


def test_a_surplus_tensor_of_the_controlnets_own_is_refused(
    parts: Components, folder: Path, tmp_path: Path
) -> None:
    tensors = ldm_tensors(folder, "control_model.")
    tensors["control_model.input_blocks.9.9.weight"] = torch.zeros(1)
    save_file(tensors, tmp_path / "controlnet.safetensors")
    source = model_source(tmp_path / "controlnet.safetensors", ModelType.CONTROLNET)
    with pytest.raises(
        ModelUnreadable,
        match=r"are unknown: the tensor control_model\.input_blocks\.9\.9\.weight",
    ):
        load_controlnet(source, parts)


def test_a_controlnet_comes_from_the_shelf_the_second_time(parts: Components, folder: Path) -> None:
    source = model_source(folder, ModelType.CONTROLNET)
    adapters = AdapterManager(parts)
    first = adapters.controlnet([source], source.model_id)
    assert adapters.controlnet([source], source.model_id) is first
    assert adapters.memory_bytes > 0
    adapters.clear()
    assert adapters.memory_bytes == 0
