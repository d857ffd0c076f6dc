"""Loads a ControlNet from any of its published file layouts: diffusers, and the original (LDM) one."""

from dataclasses import dataclass

from engine_worker.engine.loading.build_networks import build_networks
from engine_worker.engine.loading.networks import size_bytes
from engine_worker.engine.networks.components import Components, ControlNet
from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.architecture import UNetShape
from engine_worker.formats.checkpoint_layout import Network, NetworkPlan
from engine_worker.formats.component_plans import controlnet_plan_of_file
from engine_worker.formats.diffusers_folder import read_part
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.network_options import read_unet_options
from engine_worker.formats.resolve_model import resolve_model
from engine_worker.formats.safetensors_header import read_header
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import ModelSource


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
    plan = _plan(found, source, parts)
    _check_fit(source.name, read_unet_options(plan.config, Network.CONTROLNET), parts)
    (network,) = build_networks([plan], parts.device, parts.dtype)
    return LoadedControlNet(network, size_bytes(network))


def _plan(found: ModelFile | ModelFolder, source: ModelSource, parts: Components) -> NetworkPlan:
    if isinstance(found, ModelFolder):
        return read_part(found, "", Network.CONTROLNET, source.variant)
    return controlnet_plan_of_file(read_header(found), parts.base, parts.unet_config)


def _check_fit(name: str, half: UNetShape, parts: Components) -> None:
    """A ControlNet's residuals are added to those of the UNet's blocks, so both must have the same blocks and
    widths."""
    unet = parts.unet_shape
    for what, theirs, ours in (
        ("channels per level", half.channels, unet.channels),
        ("layers per level", half.resnets_per_level, unet.resnets_per_level),
        ("text embedding width", half.cross_attention_width, unet.cross_attention_width),
        ("size embedding width", half.added_width or 0, unet.added_width or 0),
        ("latent channels", half.in_channels, parts.vae.latent_channels),
    ):
        if theirs != ours and not (what == "text embedding width" and not theirs):
            raise ModelUnreadable(
                f"{name} was made for another base: {what} {theirs}, but the UNet has {ours}"
            )
