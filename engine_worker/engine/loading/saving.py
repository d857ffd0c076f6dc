"""Saves networks as a checkpoint: one file (LDM layout) or a diffusers folder; converts the one to the
other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine_worker.engine.loading.build_networks import build_networks
from engine_worker.engine.loading.load_checkpoint import read_layout
from engine_worker.engine.networks.tokenizer import make_tokenizer
from engine_worker.formats.checkpoint_layout import CheckpointLayout
from engine_worker.formats.ldm_keys import THIRDS, Form
from kernel.protocol.enums import ModelBase


def save_single_file(
    path: Path, layout: CheckpointLayout, networks: Sequence[nn.Module], metadata: Mapping[str, str]
) -> None:
    """Write the networks, in the order of `layout.networks`, as one .safetensors file (LDM layout)."""
    pieces: dict[str, dict[Form, Tensor]] = {}
    for plan, network in zip(layout.networks, networks, strict=True):
        for name, parameter in network.named_parameters():
            stored = plan.locate(name)[0]
            pieces.setdefault(stored.key, {})[stored.form] = parameter.detach()
    tensors = {key: _stored(forms).contiguous() for key, forms in pieces.items()}
    save_file(tensors, path, metadata=dict(metadata))


def save_folder(path: Path, layout: CheckpointLayout, networks: Sequence[nn.Module]) -> None:
    """Write the networks, in the order of `layout.networks`, as a diffusers folder."""
    # Imported here, because the pipelines take seconds to import and nothing else needs them.
    import diffusers

    unet, vae, *encoders = networks
    tokenizers = [make_tokenizer(plan) for plan in layout.tokenizers]
    if layout.base is ModelBase.SD:
        pipeline = diffusers.StableDiffusionPipeline(
            vae=vae,
            text_encoder=encoders[0],
            tokenizer=tokenizers[0],
            unet=unet,
            scheduler=diffusers.PNDMScheduler.from_config(dict(layout.scheduler_config)),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    else:
        pipeline = diffusers.StableDiffusionXLPipeline(
            vae=vae,
            text_encoder=encoders[0],
            text_encoder_2=encoders[1],
            tokenizer=tokenizers[0],
            tokenizer_2=tokenizers[1],
            unet=unet,
            scheduler=diffusers.EulerDiscreteScheduler.from_config(dict(layout.scheduler_config)),
            force_zeros_for_empty_prompt=layout.zeroes_empty_negative,
            add_watermarker=False,
        )
    pipeline.save_pretrained(path)


def _stored(forms: Mapping[Form, Tensor]) -> Tensor:
    """The tensor as the file stores it, from the parameters that it contains."""
    if Form.FIRST_THIRD in forms:
        return torch.cat([forms[third] for third in THIRDS])
    ((form, tensor),) = forms.items()
    match form:
        case Form.TRANSPOSED:
            return tensor.T
        case Form.CONV_1X1 if tensor.ndim == 2:
            return tensor[:, :, None, None]
        case _:
            return tensor


def unpack(checkpoint: Path, folder: Path) -> None:
    """Convert a single-file checkpoint to a diffusers folder in half precision.

    Raises: ModelUnreadable, if it is not a complete checkpoint.
    """
    layout = read_layout(checkpoint)
    networks = build_networks(layout.networks, torch.device("cpu"), torch.float16)
    save_folder(folder, layout, networks)
