"""Loading a checkpoint: from the address of its files to the parts that the sampler works with."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import nn

from engine_worker.engine.blueprint import Blueprint, Network, NetworkPlan
from engine_worker.engine.devices import vae_dtype
from engine_worker.engine.folder import read_folder
from engine_worker.engine.networks import build_empty, fill, size_bytes
from engine_worker.engine.parts import Parts, SdText, SdxlText, Vae
from engine_worker.engine.single_file import is_leftover, read_single_file
from engine_worker.engine.tokenizer import make_tokenizer
from engine_worker.engine.weights import Place, check_surplus, find_places, read_parameters
from engine_worker.fetch.diffusers_folder import describe_folder
from engine_worker.fetch.model_folder import ModelFolder
from engine_worker.fetch.one_file import describe_file
from engine_worker.files import resolve
from engine_worker.header import read_header
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.ingredients import ModelSource
from kernel.protocol.vocabulary import ModelBase, ModelType, Variant

# The worker has confined the address to the allowed folders before it comes here, and inspection the links
# inside a folder when it was registered.
_ANYWHERE = (Path("/"),)


def load_parts(source: ModelSource, device: torch.device, dtype: torch.dtype) -> Parts:
    """Load a checkpoint from local files.

    Raises: ModelUnreadable, if the files are not a whole SD 1.5 or SDXL checkpoint; EngineFailed, if
    something that loading needs is not installed; torch.OutOfMemoryError.
    """
    blueprint = read_blueprint(resolve(source.uri, _ANYWHERE), source.variant)
    if source.model_base is not None and source.model_base is not blueprint.base:
        raise ModelUnreadable(f"{source.name} is {blueprint.base}, not {source.model_base}")
    networks = _build_networks(blueprint, device, dtype)
    return _assemble(blueprint, networks, device, dtype)


def read_blueprint(path: Path, variant: Variant | None = None) -> Blueprint:
    """Read what a checkpoint is made of, from its headers and configurations alone.

    What is good enough to be registered is judged by inspection, here as there.
    Raises: ModelUnreadable.
    """
    if path.is_dir():
        folder = ModelFolder(path, _ANYWHERE)
        finding = describe_folder(folder, variant)
        return read_folder(folder, finding.model_base or ModelBase.SD, variant)
    finding = describe_file(path)
    if finding.model_type is not ModelType.CHECKPOINT:
        raise ModelUnreadable(f"{path.name} is a {finding.model_type}: an engine is made of a checkpoint")
    return read_single_file(read_header(path), finding)


def _build_networks(blueprint: Blueprint, device: torch.device, dtype: torch.dtype) -> list[nn.Module]:
    """All networks, in the order of `blueprint.networks`; wrong files are found before any is read."""
    empty = [build_empty(plan) for plan in blueprint.networks]
    shapes = [{name: held.shape for name, held in module.named_parameters()} for module in empty]
    places = [find_places(wanted, plan) for wanted, plan in zip(shapes, blueprint.networks, strict=True)]
    files = {header.path: header for plan in blueprint.networks for header in plan.files}
    taken: list[Place] = [place for found in places for place in found.values()]
    check_surplus(files.values(), taken, is_leftover)
    return [
        fill(module, read_parameters(found, wanted, device, _dtype_of(plan, device, dtype)), device)
        for module, found, wanted, plan in zip(empty, places, shapes, blueprint.networks, strict=True)
    ]


def _dtype_of(plan: NetworkPlan, device: torch.device, dtype: torch.dtype) -> torch.dtype:
    return vae_dtype(dtype, device) if plan.network is Network.VAE else dtype


def _assemble(
    blueprint: Blueprint, networks: list[nn.Module], device: torch.device, dtype: torch.dtype
) -> Parts:
    unet, autoencoder, *encoders = networks
    return Parts(
        base=blueprint.base,
        device=device,
        dtype=dtype,
        denoiser=unet,
        unet_channels=unet.get_parameter("conv_in.weight").shape[1],
        vae=_vae(autoencoder, vae_dtype(dtype, device)),
        text=_text(blueprint, encoders),
        scheduler_config=blueprint.scheduler_config,
        memory_bytes=sum(size_bytes(network) for network in networks),
    )


def _vae(autoencoder: AutoencoderKL, dtype: torch.dtype) -> Vae:
    config = autoencoder.config
    return Vae(
        encoder=autoencoder,
        decoder=autoencoder,
        dtype=dtype,
        latent_channels=config.latent_channels,
        pixels_per_latent=2 ** (len(config.block_out_channels) - 1),
        scaling_factor=config.scaling_factor,
        latents_mean=None if config.latents_mean is None else tuple(config.latents_mean),
        latents_std=None if config.latents_std is None else tuple(config.latents_std),
    )


def _text(blueprint: Blueprint, encoders: list[nn.Module]) -> SdText | SdxlText:
    tokenizers = [make_tokenizer(plan) for plan in blueprint.tokenizers]
    if blueprint.base is ModelBase.SD:
        return SdText(tokenizers[0], encoders[0])
    return SdxlText(
        tokenizer=tokenizers[0],
        encoder=encoders[0],
        tokenizer_2=tokenizers[1],
        encoder_2=encoders[1],
        zeroes_empty_negative=blueprint.zeroes_empty_negative,
    )
