"""Loading a checkpoint: from the address of its files to the parts that the sampler works with."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import torch
from diffusers import AutoencoderKL
from torch import nn

from engine_worker.engine.blueprint import Blueprint, Network, NetworkPlan
from engine_worker.engine.devices import vae_dtype
from engine_worker.engine.folder import INDEX_FILE, read_folder
from engine_worker.engine.header import read_header
from engine_worker.engine.networks import build_empty, fill, size_bytes
from engine_worker.engine.parts import Parts, SdText, SdxlText, Vae
from engine_worker.engine.single_file import is_leftover, read_single_file
from engine_worker.engine.tokenizer import make_tokenizer
from engine_worker.engine.weights import Place, check_surplus, find_places, read_parameters
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.specs import ModelSource
from kernel.protocol.vocabulary import ModelBase, Variant


def load_parts(source: ModelSource, device: torch.device, dtype: torch.dtype) -> Parts:
    """Load a checkpoint from local files.

    Raises: ModelUnreadable, if the files are not a whole SD 1.5 or SDXL checkpoint; EngineFailed, if
    something that loading needs is not installed; torch.OutOfMemoryError.
    """
    blueprint = read_blueprint(path_of(source.uri), source.variant)
    if source.model_base is not None and source.model_base is not blueprint.base:
        raise ModelUnreadable(f"{source.name} is {blueprint.base}, not {source.model_base}")
    _check_is_text_to_image(blueprint)
    networks = _build_networks(blueprint, device, dtype)
    return _assemble(blueprint, networks, device, dtype)


def read_blueprint(path: Path, variant: Variant | None = None) -> Blueprint:
    """Read what a checkpoint is made of, from its headers and configurations alone.

    Raises: ModelUnreadable.
    """
    if path.is_dir():
        if not (path / INDEX_FILE).is_file():
            raise ModelUnreadable(f"{path.name} is no diffusers folder: it holds no {INDEX_FILE}")
        return read_folder(path, variant)
    if path.suffix != ".safetensors":
        raise ModelUnreadable(f"{path.name} is neither a .safetensors file nor a diffusers folder")
    return read_single_file(read_header(path))


def path_of(uri: str) -> Path:
    """The local path of a `file://` address.

    Raises: ModelUnreadable, if the address is another machine's or of another kind.
    """
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ModelUnreadable(f"An engine loads local files (file:///...) only, not {uri}")
    return Path(unquote(parts.path))


def _check_is_text_to_image(blueprint: Blueprint) -> None:
    channels = blueprint.unet.config.get("in_channels", 4)
    latent_channels = blueprint.vae.config.get("latent_channels", 4)
    if channels != latent_channels:
        raise ModelUnreadable(
            f"The UNet takes {channels} channels and the VAE has {latent_channels}: "
            "inpainting and editing checkpoints do not work"
        )


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
        vae=_vae(autoencoder, vae_dtype(dtype, device)),
        text=_text(blueprint, encoders),
        scheduler_config=blueprint.scheduler_config,
        memory_bytes=sum(size_bytes(network) for network in networks),
    )


def _vae(autoencoder: AutoencoderKL, dtype: torch.dtype) -> Vae:
    config = autoencoder.config
    return Vae(
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
