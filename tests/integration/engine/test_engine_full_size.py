"""The real SD 1.5 and SDXL, on paper: built without memory, recognised by the shapes of their tensors."""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import pytest

from engine_worker.engine.loading.networks import build_empty
from engine_worker.formats.architecture import (
    Architecture,
    ControlNetShape,
)
from engine_worker.formats.checkpoint import describe_checkpoint
from engine_worker.formats.checkpoint_layout import CheckpointLayout, Network, NetworkPlan
from engine_worker.formats.diffusers_folder import same_place
from engine_worker.formats.diffusers_shapes import read_controlnet_shape
from engine_worker.formats.ldm_keys import THIRDS, Form
from engine_worker.formats.ldm_layout import single_file_layout
from engine_worker.formats.ldm_shapes import read_architecture
from engine_worker.formats.network_configs import controlnet_config, unet_config
from engine_worker.formats.released import SD, SDXL
from engine_worker.formats.safetensors_header import Entry, Header
from kernel.protocol.enums import ModelBase

pytestmark = pytest.mark.torch

# Parameters of the released networks: UNet, VAE, text encoders.
RELEASED = {
    ModelBase.SD: [859_520_964, 83_653_863, 123_060_480],
    ModelBase.SDXL: [2_567_463_684, 83_653_863, 123_060_480, 694_659_840],
}
RELEASED_CONTROLNETS = {ModelBase.SD: 361_279_120, ModelBase.SDXL: 1_251_014_160}
# Tensors of the released files, without those that training left in them.
RELEASED_TENSORS = {ModelBase.SD: 1_130, ModelBase.SDXL: 2_513}


@pytest.fixture(params=[SD, SDXL], ids=["sd", "sdxl"])
def architecture(request: pytest.FixtureRequest) -> Architecture:
    found: Architecture = request.param
    return found


def entries(layout: CheckpointLayout) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Each tensor of the file, with its shape there."""
    for plan in layout.networks:
        for name, held in build_empty(plan).named_parameters():
            stored, shape = plan.locate(name)[0], tuple(held.shape)
            if stored.form in THIRDS:
                shape = (3 * shape[0], *shape[1:])
            elif stored.form is Form.TRANSPOSED:
                shape = shape[::-1]
            elif stored.form is Form.CONV_1X1 and len(shape) == 2:
                shape = (*shape, 1, 1)
            yield stored.key, shape


def header_of(layout: CheckpointLayout) -> Header:
    tensors = {
        key: Entry(dtype="F16", shape=shape, data_offsets=(0, 2 * prod(shape)))
        for key, shape in entries(layout)
    }
    return Header(Path("released.safetensors"), tensors, {})


def test_the_networks_have_as_many_parameters_as_the_released_ones(architecture: Architecture) -> None:
    networks = [build_empty(plan) for plan in single_file_layout(architecture).networks]
    counted = [sum(held.numel() for held in network.parameters()) for network in networks]
    assert counted == RELEASED[architecture.base]


def test_a_full_size_file_is_recognised_by_its_shapes(architecture: Architecture) -> None:
    header = header_of(single_file_layout(architecture))
    assert len(header.tensors) == RELEASED_TENSORS[architecture.base]
    assert read_architecture(header, describe_checkpoint(header)) == architecture


def test_a_controlnet_of_full_size_has_as_many_parameters_as_the_released_ones_and_is_recognised(
    architecture: Architecture,
) -> None:
    shape = ControlNetShape(half=architecture.unet, map_channels=3, map_widths=(16, 32, 96, 256))
    config = controlnet_config(shape, architecture.base, unet_config(architecture))
    plan = NetworkPlan(Network.CONTROLNET, config, same_place, ())
    shapes = {name: tuple(held.shape) for name, held in build_empty(plan).named_parameters()}
    assert sum(map(prod, shapes.values())) == RELEASED_CONTROLNETS[architecture.base]
    tensors = {
        name: Entry(dtype="F16", shape=shape, data_offsets=(0, 2 * prod(shape)))
        for name, shape in shapes.items()
    }
    assert read_controlnet_shape(Header(Path("released.safetensors"), tensors, {})) == shape
