"""Loading a checkpoint: from the address of its files to the parts that the sampler works with."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from engine_worker.engine.autoencoder import make_vae
from engine_worker.engine.blueprint import Blueprint
from engine_worker.engine.building import build_networks
from engine_worker.engine.devices import vae_dtype
from engine_worker.engine.folder import read_folder
from engine_worker.engine.networks import size_bytes
from engine_worker.engine.parts import Parts, SdText, SdxlText
from engine_worker.engine.resting import Bring, bring_under, resting_under
from engine_worker.engine.single_file import is_leftover, read_single_file
from engine_worker.engine.tokenizer import Tokenizer, make_tokenizer
from engine_worker.engine.unet_config import read_unet_config
from engine_worker.fetch.diffusers_folder import describe_folder
from engine_worker.fetch.model_folder import ModelFolder
from engine_worker.fetch.one_file import describe_file
from engine_worker.files import ANYWHERE, open_file, resolve
from engine_worker.header import read_header
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.ingredients import ModelSource
from kernel.protocol.vocabulary import MemoryPlan, ModelBase, ModelType, Variant


def load_parts(
    source: ModelSource,
    device: torch.device,
    dtype: torch.dtype,
    plan: MemoryPlan = MemoryPlan.FAST,
    roots: Sequence[Path] = ANYWHERE,
) -> Parts:
    """Load a checkpoint from local files within the roots, to be used under a plan. What rests under it is
    not on the device.

    Raises: ModelUnreadable, if the files are not a whole SD 1.5 or SDXL checkpoint; NotInstalled, if
    something that loading needs is not installed; torch.OutOfMemoryError.
    """
    blueprint = read_blueprint(resolve(source.uri, roots), source.variant, roots)
    if source.model_base is not None and source.model_base is not blueprint.base:
        raise ModelUnreadable(f"{source.name} is {blueprint.base}, not {source.model_base}")
    # Read here for its errors: nothing is loaded for a UNet that is of no use.
    read_unet_config(blueprint.unet.config)
    # A third of a second each, which passes while the disk is waited for.
    with ThreadPoolExecutor(1) as aside:
        tokenizers = aside.submit(lambda: [make_tokenizer(one) for one in blueprint.tokenizers])
        networks = build_networks(blueprint.networks, device, dtype, is_leftover, resting_under(plan))
        parts = _assemble(blueprint, networks, tokenizers.result(), device, dtype, plan)
        return replace(parts, roots=roots)


def read_blueprint(path: Path, variant: Variant | None = None, roots: Sequence[Path] = ANYWHERE) -> Blueprint:
    """Read what a checkpoint is made of, from its headers and configurations alone.

    What is good enough to be registered is judged by inspection, here as there.
    Raises: ModelUnreadable.
    """
    if path.is_dir():
        folder = ModelFolder(path, roots)
        finding = describe_folder(folder, variant)
        return read_folder(folder, finding.model_base or ModelBase.SD, variant)
    held = open_file(path, roots)
    finding = describe_file(held)
    if finding.model_type is not ModelType.CHECKPOINT:
        raise ModelUnreadable(f"{path.name} is a {finding.model_type}: an engine requires a checkpoint")
    return read_single_file(read_header(held), finding)


def _assemble(
    blueprint: Blueprint,
    networks: list[nn.Module],
    tokenizers: list[Tokenizer],
    device: torch.device,
    dtype: torch.dtype,
    plan: MemoryPlan,
) -> Parts:
    unet, autoencoder, *encoders = networks
    held = {plan.network: network for plan, network in zip(blueprint.networks, networks, strict=True)}
    resting = resting_under(plan)
    return Parts(
        base=blueprint.base,
        device=device,
        dtype=dtype,
        denoiser=unet,
        unet_config=blueprint.unet.config,
        unet_shape=read_unet_config(blueprint.unet.config),
        networks=held,
        vae=make_vae(autoencoder, vae_dtype(dtype, device), device, plan),
        text=_text(blueprint, tokenizers, encoders, bring_under(plan, encoders, device)),
        scheduler_config=blueprint.scheduler_config,
        memory_bytes=sum(size_bytes(network) for kind, network in held.items() if kind not in resting),
        plan=plan,
    )


def _text(
    blueprint: Blueprint, tokenizers: list[Tokenizer], encoders: list[nn.Module], brought: Bring
) -> SdText | SdxlText:
    if blueprint.base is ModelBase.SD:
        return SdText(tokenizers[0], encoders[0], brought)
    return SdxlText(
        tokenizer=tokenizers[0],
        encoder=encoders[0],
        tokenizer_2=tokenizers[1],
        encoder_2=encoders[1],
        zeroes_empty_negative=blueprint.zeroes_empty_negative,
        brought=brought,
    )
