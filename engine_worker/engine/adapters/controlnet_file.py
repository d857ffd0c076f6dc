"""Loads a ControlNet from any of its published file layouts: diffusers, and the original (LDM) one.

Source of the LDM keys: https://github.com/lllyasviel/ControlNet
"""

from dataclasses import dataclass
from functools import partial
from itertools import count

from engine_worker.engine.adapters.diffusers_shapes import read_controlnet_shape
from engine_worker.engine.adapters.resolve_model import resolve_model
from engine_worker.engine.loading.build_networks import build_networks
from engine_worker.engine.loading.configs import controlnet_config
from engine_worker.engine.loading.diffusers_folder import read_part, same_place
from engine_worker.engine.loading.networks import size_bytes
from engine_worker.engine.networks.components import Components, ControlNet
from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.architecture import ControlNetShape, UNetShape
from engine_worker.formats.checkpoint_layout import Config, Network, NetworkPlan
from engine_worker.formats.ldm_keys import Stored, unet_key
from engine_worker.formats.ldm_shapes import read_unet_shape, shape_of
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.safetensors_header import Header, read_header
from engine_worker.formats.unet_config import read_unet_config
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import ModelSource

_LDM_PREFIX = "control_model."
_DIFFUSERS_MARK = "controlnet_cond_embedding."


@dataclass(frozen=True, slots=True)
class LoadedControlNet:
    """A ControlNet on its device, in the precision of the UNet."""

    network: ControlNet
    memory_bytes: int


def load_controlnet(source: ModelSource, parts: Components) -> LoadedControlNet:
    """Load a ControlNet for the UNet of this checkpoint.

    Raises: ModelUnreadable, if the files are not a ControlNet, or one for another kind of UNet.
    """
    found = resolve_model(source, ModelType.CONTROLNET, parts.base, parts.roots)
    plan, prefix = _plan(found, source, parts)
    _check_fit(source.name, read_unet_config(plan.config), parts)

    def is_leftover(key: str) -> bool:
        """Some files contain the checkpoint that the ControlNet was trained on."""
        return not key.startswith(prefix)

    (network,) = build_networks([plan], parts.device, parts.dtype, is_leftover)
    return LoadedControlNet(network, size_bytes(network))


def _plan(found: ModelFile | ModelFolder, source: ModelSource, parts: Components) -> tuple[NetworkPlan, str]:
    """The plan, and the prefix of all tensors that it must account for."""
    if isinstance(found, ModelFolder):
        return read_part(found, "", Network.CONTROLNET, source.variant), ""
    header = read_header(found)
    if any(key.startswith(_DIFFUSERS_MARK) for key in header.tensors):
        config = _config(read_controlnet_shape(header), parts)
        return NetworkPlan(Network.CONTROLNET, config, same_place, (header,)), ""
    prefix = _LDM_PREFIX if any(key.startswith(_LDM_PREFIX) for key in header.tensors) else ""
    shape = _ldm_shape(header, prefix)
    places = partial(controlnet_places, shape=shape, prefix=prefix)
    return NetworkPlan(Network.CONTROLNET, _config(shape, parts), places, (header,)), prefix


def _config(shape: ControlNetShape, parts: Components) -> Config:
    return controlnet_config(shape, parts.base, parts.unet_config)


def _ldm_shape(header: Header, prefix: str) -> ControlNetShape:
    def layer(number: int) -> str:
        return f"{prefix}input_hint_block.{number}.weight"

    first = shape_of(header, layer(0), 4)
    last = next(number for number in count(0, 2) if layer(number) not in header.tensors) - 2
    return ControlNetShape(
        half=read_unet_shape(header, prefix),
        map_channels=first[1],
        # Layers have even numbers; after the first, the second of each pair downscales the map.
        map_widths=(first[0], *(shape_of(header, layer(number), 4)[0] for number in range(4, last, 4))),
    )


def _check_fit(name: str, half: UNetShape, parts: Components) -> None:
    """A ControlNet's residuals are added to those of the UNet's blocks, so both must have the same blocks and
    widths."""
    unet = parts.unet_shape
    for what, theirs, ours in (
        ("channels per level", half.channels, unet.channels),
        ("layers per level", half.resnets_per_level, unet.resnets_per_level),
        ("text embedding width", half.cross_attention_width, unet.cross_attention_width),
        ("size embedding width", half.added_width, unet.added_width),
        ("latent channels", half.in_channels, parts.vae.latent_channels),
    ):
        if theirs != ours:
            raise ModelUnreadable(
                f"{name} was made for another base: {what} {theirs}, but the UNet has {ours}"
            )


def controlnet_places(name: str, shape: ControlNetShape, prefix: str) -> tuple[Stored, ...]:
    """The keys of a ControlNet's parameter in the file; `prefix` is that of all its keys."""
    return (Stored(prefix + _key(name, shape)),)


def _key(name: str, shape: ControlNetShape) -> str:
    # Layers that read the map have even numbers, because activations are between them.
    match name.split("."):
        case ["controlnet_cond_embedding", "conv_in", kind]:
            return f"input_hint_block.0.{kind}"
        case ["controlnet_cond_embedding", "blocks", number, kind]:
            return f"input_hint_block.{2 * int(number) + 2}.{kind}"
        case ["controlnet_cond_embedding", "conv_out", kind]:
            blocks = 2 * (len(shape.map_widths) - 1)
            return f"input_hint_block.{2 * blocks + 2}.{kind}"
        case ["controlnet_down_blocks", number, kind]:
            return f"zero_convs.{number}.0.{kind}"
        case ["controlnet_mid_block", kind]:
            return f"middle_block_out.0.{kind}"
        case _:
            return unet_key(name, shape.half)
