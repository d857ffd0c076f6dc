"""Loads a separate VAE, for jobs that do not use that of their checkpoint."""

from dataclasses import dataclass
from functools import partial

from engine_worker.engine.adapters.diffusers_shapes import read_vae_shape as read_diffusers_shape
from engine_worker.engine.adapters.resolve_model import resolve_model
from engine_worker.engine.loading.build_networks import build_networks
from engine_worker.engine.loading.configs import lone_vae_config
from engine_worker.engine.loading.diffusers_folder import autoencoder_places, read_part
from engine_worker.engine.loading.networks import size_bytes
from engine_worker.engine.networks.components import Components, Vae
from engine_worker.engine.networks.offload import offload_under
from engine_worker.engine.networks.vae import make_vae
from engine_worker.engine.runtime.devices import vae_dtype
from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.checkpoint_layout import Network, NetworkPlan
from engine_worker.formats.ldm_keys import VAE_PREFIX, vae_places
from engine_worker.formats.ldm_shapes import read_vae_shape
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.safetensors_header import Header, read_header
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import ModelSource

# Tensors of training, beside the encoder and decoder; with or without the checkpoint's prefix.
_LEFTOVER = ("loss.", "model_ema.")
_DIFFUSERS_MARK = "decoder.mid_block."


@dataclass(frozen=True, slots=True)
class LoadedVae:
    """A VAE on its device, or in host memory if it is offloaded."""

    vae: Vae
    memory_bytes: int
    """Of the device, or of the host."""


def load_vae(source: ModelSource, parts: Components) -> LoadedVae:
    """Load a VAE that works with the latents of this checkpoint.

    Raises: ModelUnreadable, if the files are not a VAE, or one for other latents.
    """
    plan = _plan(resolve_model(source, ModelType.VAE, parts.base, parts.roots), source, parts)
    offloaded = offload_under(parts.plan)
    (network,) = build_networks([plan], parts.device, parts.dtype, _is_leftover, offloaded)
    vae = make_vae(network, vae_dtype(parts.dtype, parts.device), parts.device, parts.plan)
    ours, theirs = _latents(parts.vae), _latents(vae)
    if ours != theirs:
        raise ModelUnreadable(f"{source.name} has latents with {theirs}, but the checkpoint has {ours}")
    return LoadedVae(vae, size_bytes(network))


def _plan(found: ModelFile | ModelFolder, source: ModelSource, parts: Components) -> NetworkPlan:
    if isinstance(found, ModelFolder):
        return read_part(found, "", Network.VAE, source.variant)
    header = read_header(found)
    # A file does not contain the scaling factor, but all VAEs of a base share it.
    scale = parts.vae.scaling_factor
    if any(key.startswith(_DIFFUSERS_MARK) for key in header.tensors):
        config = lone_vae_config(read_diffusers_shape(header), scale)
        return NetworkPlan(Network.VAE, config, autoencoder_places, (header,))
    return _ldm_plan(header, scale)


def _ldm_plan(header: Header, scale: float) -> NetworkPlan:
    prefix = VAE_PREFIX if any(key.startswith(VAE_PREFIX) for key in header.tensors) else ""
    shape = read_vae_shape(header, prefix)
    places = partial(vae_places, shape=shape, prefix=prefix)
    return NetworkPlan(Network.VAE, lone_vae_config(shape, scale), places, (header,))


def _is_leftover(key: str) -> bool:
    return key.removeprefix(VAE_PREFIX).startswith(_LEFTOVER)


def _latents(vae: Vae) -> str:
    return f"{vae.latent_channels} channels and {vae.pixels_per_latent} x {vae.pixels_per_latent} pixels each"
