"""The layout of a single-file checkpoint (LDM), for reading and for writing one."""

from dataclasses import replace
from functools import partial

from engine_worker.formats.architecture import Architecture
from engine_worker.formats.checkpoint_layout import CheckpointLayout, Network, NetworkPlan, TokenizerPlan
from engine_worker.formats.inspection_result import InspectionResult
from engine_worker.formats.ldm_keys import text_places, unet_places, vae_places
from engine_worker.formats.ldm_shapes import read_architecture
from engine_worker.formats.metadata import is_for_few_steps
from engine_worker.formats.network_configs import (
    scheduler_config,
    text_encoder_config,
    unet_config,
    vae_config,
)
from engine_worker.formats.safetensors_header import Header
from kernel.protocol.enums import ModelBase


def read_single_file(header: Header, inspected: InspectionResult, name: str = "") -> CheckpointLayout:
    """How to build the networks of a single-file checkpoint, which inspection has recognized.

    `name` is that of the model.

    Raises: ModelUnreadable, if tensors that define its architecture are missing or have wrong shapes.
    """
    is_for_few = is_for_few_steps(header.metadata, name, header.path.name)
    architecture = replace(read_architecture(header, inspected), is_for_few_steps=is_for_few)
    return single_file_layout(architecture, (header,))


def single_file_layout(architecture: Architecture, files: tuple[Header, ...] = ()) -> CheckpointLayout:
    """The layout of that architecture in a single file (LDM); without files it serves for writing one."""
    base = architecture.base
    unet_locate = partial(unet_places, shape=architecture.unet)
    vae = architecture.vae
    # The second encoder of SDXL was trained on prompts padded with "!", token 0.
    tokenizers = (TokenizerPlan(), TokenizerPlan(pad_token="!"))
    return CheckpointLayout(
        base=base,
        unet=NetworkPlan(Network.UNET, unet_config(architecture), unet_locate, files),
        vae=None
        if vae is None
        else NetworkPlan(Network.VAE, vae_config(architecture, vae), partial(vae_places, shape=vae), files),
        text_encoders=tuple(
            NetworkPlan(
                Network.TEXT_ENCODER if number == 0 else Network.PROJECTING_TEXT_ENCODER,
                text_encoder_config(shape),
                partial(text_places, base=base, number=number),
                files,
            )
            for number, shape in enumerate(architecture.text_encoders)
        ),
        tokenizers=tokenizers[: len(architecture.text_encoders)],
        scheduler_config=scheduler_config(architecture),
        zeroes_empty_negative=base is ModelBase.SDXL,
    )
