"""Loads a checkpoint from its files as the components that sampling uses."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from engine_worker.engine.loading.build_networks import OnProgress, build_networks
from engine_worker.engine.loading.networks import size_bytes
from engine_worker.engine.networks.components import Components, DistilledUNet, SdText, SdxlText
from engine_worker.engine.networks.offload import LoadModules, load_under, offload_under
from engine_worker.engine.networks.tokenizer import Tokenizer, make_tokenizer
from engine_worker.engine.networks.vae import make_vae
from engine_worker.engine.runtime.devices import vae_dtype
from engine_worker.formats.allowed_paths import ANYWHERE, open_file, resolve
from engine_worker.formats.checkpoint_layout import CheckpointLayout
from engine_worker.formats.component_plans import vae_plan
from engine_worker.formats.diffusers_folder import describe_folder, read_folder
from engine_worker.formats.diffusers_index import read_index
from engine_worker.formats.ldm_layout import read_single_file
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.network_configs import LATENT_SCALE
from engine_worker.formats.network_options import read_unet_options
from engine_worker.formats.resolve_model import check_beside, resolve_model
from engine_worker.formats.safetensors_header import read_header
from engine_worker.formats.single_file import describe_file
from kernel.protocol.enums import MemoryPlan, ModelBase, ModelType, Variant
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import ModelSource


def load_components(  # noqa: PLR0913 - what an order says, and who hears of the progress
    source: ModelSource,
    device: torch.device,
    dtype: torch.dtype,
    plan: MemoryPlan = MemoryPlan.FAST,
    roots: Sequence[Path] = ANYWHERE,
    on_progress: OnProgress = lambda done_bytes, total_bytes: None,
    vae: ModelSource | None = None,
) -> Components:
    """Load a checkpoint from local files within the roots, for use under a memory plan.

    Networks that the plan offloads are not put on the device. `vae` is used as the checkpoint's own if that
    has none.
    Raises: ModelUnreadable, if the files are not a complete SD 1.5 or SDXL checkpoint; NotInstalled, if a
    package that loading needs is not installed; torch.OutOfMemoryError.
    """
    layout = read_layout(resolve(source.uri, roots), source.variant, roots, source)
    if source.model_base is not None and source.model_base is not layout.base:
        raise ModelUnreadable(f"{source.name} is {layout.base}, not {source.model_base}")
    borrowed = vae if layout.vae is None else None
    if borrowed is not None:
        found = resolve_model(borrowed, ModelType.VAE, layout.base, roots)
        layout = replace(layout, vae=vae_plan(found, borrowed.variant, LATENT_SCALE[layout.base]))
    if layout.vae is None:
        raise ModelUnreadable(f"{source.name} has no VAE of its own: its engine must name one as its vae")
    # A tokenizer takes a third of a second, which overlaps with reading from disk.
    with ThreadPoolExecutor(1) as aside:
        tokenizers = aside.submit(lambda: [make_tokenizer(one) for one in layout.tokenizers])
        offloaded = offload_under(plan)
        networks = build_networks(layout.networks, device, dtype, offloaded, on_progress)
        parts = _assemble(layout, networks, tokenizers.result(), device, dtype, plan)
        return replace(parts, roots=roots, borrowed_vae=None if borrowed is None else borrowed.model_id)


def read_layout(
    path: Path,
    variant: Variant | None = None,
    roots: Sequence[Path] = ANYWHERE,
    source: ModelSource | None = None,
) -> CheckpointLayout:
    """Read the layout of a checkpoint, from its headers and configurations alone, and the model's source.

    The same inspection decides here as at registration.
    Raises: ModelUnreadable.
    """
    if path.is_dir():
        folder = ModelFolder(path, roots)
        describe_folder(folder, variant)
        return read_folder(folder, read_index(folder), variant)
    held = open_file(path, roots)
    inspected = describe_file(held)
    if inspected.model_type is not ModelType.CHECKPOINT:
        raise ModelUnreadable(f"{path.name} is a {inspected.model_type}: an engine requires a checkpoint")
    if source is not None:
        check_beside(source, inspected)
    return read_single_file(read_header(held), inspected, "" if source is None else source.name)


def _assemble(
    layout: CheckpointLayout,
    networks: list[nn.Module],
    tokenizers: list[Tokenizer],
    device: torch.device,
    dtype: torch.dtype,
    plan: MemoryPlan,
) -> Components:
    unet, autoencoder, *encoders = networks
    held = {plan.network: network for plan, network in zip(layout.networks, networks, strict=True)}
    offloaded = offload_under(plan)
    unet_shape = read_unet_options(layout.unet.config)
    return Components(
        base=layout.base,
        device=device,
        dtype=dtype,
        denoiser=unet if unet_shape.time_cond_width is None else DistilledUNet(unet),
        unet_config=layout.unet.config,
        unet_shape=unet_shape,
        networks=held,
        vae=make_vae(autoencoder, vae_dtype(dtype, device), device, plan),
        text=_text(layout, tokenizers, encoders, load_under(plan, encoders, device)),
        scheduler_config=layout.scheduler_config,
        memory_bytes=sum(size_bytes(network) for kind, network in held.items() if kind not in offloaded),
        plan=plan,
    )


def _text(
    layout: CheckpointLayout, tokenizers: list[Tokenizer], encoders: list[nn.Module], loaded: LoadModules
) -> SdText | SdxlText:
    if layout.base is ModelBase.SD:
        return SdText(tokenizers[0], encoders[0], loaded)
    return SdxlText(
        tokenizer=tokenizers[0],
        encoder=encoders[0],
        tokenizer_2=tokenizers[1],
        encoder_2=encoders[1],
        zeroes_empty_negative=layout.zeroes_empty_negative,
        loaded=loaded,
    )
