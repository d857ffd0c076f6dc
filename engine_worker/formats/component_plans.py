"""How to build a VAE or a ControlNet from a file of its own: the layouts of diffusers and of the original
releases.

Source of the ControlNet's LDM keys: https://github.com/lllyasviel/ControlNet
"""

from functools import partial
from itertools import count
from typing import Final

from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.architecture import ControlNetShape
from engine_worker.formats.checkpoint_layout import Config, Network, NetworkPlan
from engine_worker.formats.diffusers_folder import autoencoder_places, read_part, same_place
from engine_worker.formats.diffusers_shapes import read_controlnet_shape
from engine_worker.formats.diffusers_shapes import read_vae_shape as read_diffusers_vae_shape
from engine_worker.formats.ldm_keys import VAE_PREFIX, Stored, unet_key, vae_places
from engine_worker.formats.ldm_shapes import read_unet_shape, read_vae_shape, shape_of
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.network_configs import LATENT_SCALE, controlnet_config, lone_vae_config
from engine_worker.formats.safetensors_header import Header, read_header
from kernel.protocol.enums import ModelBase, Variant

_DIFFUSERS_VAE: Final = "decoder.mid_block."
_DIFFUSERS_CONTROLNET: Final = "controlnet_cond_embedding."
_LDM_CONTROLNET: Final = "control_model."


def vae_plan(
    found: ModelFile | ModelFolder, variant: Variant | None, scale: float = LATENT_SCALE[ModelBase.SD]
) -> NetworkPlan:
    """How to build the VAE in this file or folder. A file does not tell the scale of its latents.

    Raises: ModelUnreadable.
    """
    if isinstance(found, ModelFolder):
        return read_part(found, "", Network.VAE, variant)
    return vae_plan_of_file(read_header(found), scale)


def vae_plan_of_file(header: Header, scale: float = LATENT_SCALE[ModelBase.SD]) -> NetworkPlan:
    """How to build the VAE in this file. It does not contain the scaling factor of its latents, but all VAEs
    of a base share it.

    Raises: ModelUnreadable.
    """
    if any(key.startswith(_DIFFUSERS_VAE) for key in header.tensors):
        config = lone_vae_config(read_diffusers_vae_shape(header), scale)
        return NetworkPlan(Network.VAE, config, autoencoder_places, (header,))
    prefix = VAE_PREFIX if any(key.startswith(VAE_PREFIX) for key in header.tensors) else ""
    shape = read_vae_shape(header, prefix)
    places = partial(vae_places, shape=shape, prefix=prefix)
    return NetworkPlan(Network.VAE, lone_vae_config(shape, scale), places, (header,))


def controlnet_plan_of_file(header: Header, base: ModelBase, unet: Config | None = None) -> NetworkPlan:
    """How to build the ControlNet in this file for a UNet with that configuration; None if it does not matter
    yet.

    Raises: ModelUnreadable.
    """
    for_unet = {"addition_time_embed_dim": 1} if unet is None else unet
    if any(key.startswith(_DIFFUSERS_CONTROLNET) for key in header.tensors):
        config = controlnet_config(read_controlnet_shape(header), base, for_unet)
        return NetworkPlan(Network.CONTROLNET, config, same_place, (header,))
    prefix = _LDM_CONTROLNET if any(key.startswith(_LDM_CONTROLNET) for key in header.tensors) else ""
    shape = _ldm_shape(header, prefix)
    places = partial(controlnet_places, shape=shape, prefix=prefix)
    return NetworkPlan(Network.CONTROLNET, controlnet_config(shape, base, for_unet), places, (header,))


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
