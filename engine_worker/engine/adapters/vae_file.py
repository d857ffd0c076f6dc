"""Loads a separate VAE, for jobs that do not use that of their checkpoint."""

from dataclasses import dataclass

from engine_worker.engine.loading.build_networks import build_networks
from engine_worker.engine.loading.networks import size_bytes
from engine_worker.engine.networks.components import Components, Vae
from engine_worker.engine.networks.offload import offload_under
from engine_worker.engine.networks.vae import make_vae
from engine_worker.engine.runtime.devices import vae_dtype
from engine_worker.formats.component_plans import vae_plan
from engine_worker.formats.resolve_model import resolve_model
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import ModelSource


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
    found = resolve_model(source, ModelType.VAE, parts.base, parts.roots)
    plan = vae_plan(found, source.variant, parts.vae.scaling_factor)
    offloaded = offload_under(parts.plan)
    (network,) = build_networks([plan], parts.device, parts.dtype, offloaded)
    vae = make_vae(network, vae_dtype(parts.dtype, parts.device), parts.device, parts.plan)
    ours, theirs = _latents(parts.vae), _latents(vae)
    if ours != theirs:
        raise ModelUnreadable(f"{source.name} has latents with {theirs}, but the checkpoint has {ours}")
    return LoadedVae(vae, size_bytes(network))


def _latents(vae: Vae) -> str:
    return f"{vae.latent_channels} channels and {vae.pixels_per_latent} x {vae.pixels_per_latent} pixels each"
