"""LoRA files as trainers write them, with random factors, for the layers of a small checkpoint."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine_worker.engine.networks.components import Components
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.ldm_keys import unet_key
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource

ENCODERS = (Network.TEXT_ENCODER, Network.PROJECTING_TEXT_ENCODER)
RANK = 4
ALPHA = 2.0
# Linear layers and convolutions of every kind that trainers change, in UNet and text encoders.
_CHANGED = (
    "to_q",
    "to_out.0",
    "ff.net.2",
    "proj_in",
    "conv1",
    "conv_shortcut",
    "downsamplers.0.conv",
    "time_emb_proj",
    "q_proj",
    "out_proj",
    "mlp.fc1",
)
_KOHYA = {
    ModelBase.SD: {Network.UNET: "lora_unet_", Network.TEXT_ENCODER: "lora_te_"},
    ModelBase.SDXL: {
        Network.UNET: "lora_unet_",
        Network.TEXT_ENCODER: "lora_te1_",
        Network.PROJECTING_TEXT_ENCODER: "lora_te2_",
    },
}
_DIFFUSERS = {
    Network.UNET: "unet.",
    Network.TEXT_ENCODER: "text_encoder.",
    Network.PROJECTING_TEXT_ENCODER: "text_encoder_2.",
}
Factors = Mapping[tuple[Network, str], tuple[Tensor, Tensor]]


def random_factors(
    parts: Components, seed: int, networks: Iterable[Network] = (Network.UNET, *ENCODERS)
) -> Factors:
    """The ways down and up for some layers of each of the networks."""
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for network in networks:
        for module, layer in _layers(parts.networks.get(network)):
            out, *entering = layer.weight.shape
            down = torch.randn((RANK, *entering), generator=generator) / len(layer.weight[0].flatten()) ** 0.5
            up = torch.randn((out, RANK, *(1 for _ in entering[1:])), generator=generator) / RANK
            factors[network, module] = (down, up)
    return factors


def write_kohya(path: Path, parts: Components, factors: Factors, dtype: torch.dtype = torch.float32) -> Path:
    """kohya's trainers: underscores, alphas, and for SDXL's UNet the names of the original release."""
    tensors = {}
    for (network, module), (down, up) in factors.items():
        name = _text(module) if network in ENCODERS else module
        if network is Network.UNET and parts.base is ModelBase.SDXL:
            name = unet_key(module, parts.unet_shape)
        stem = _KOHYA[parts.base][network] + name.replace(".", "_")
        tensors[f"{stem}.lora_down.weight"] = down.to(dtype)
        tensors[f"{stem}.lora_up.weight"] = up.to(dtype)
        tensors[f"{stem}.alpha"] = torch.tensor(ALPHA, dtype=dtype)
    save_file(tensors, path)
    return path


def write_diffusers(path: Path, factors: Factors, metadata: Mapping[str, str] | None = None) -> Path:
    """diffusers' training scripts: the names of peft behind the name of the network."""
    tensors = {}
    for (network, module), (down, up) in factors.items():
        name = _DIFFUSERS[network] + (_text(module) if network in ENCODERS else module)
        tensors[f"{name}.lora_A.weight"] = down
        tensors[f"{name}.lora_B.weight"] = up
    save_file(tensors, path, metadata=dict(metadata or {}))
    return path


def lora_source(path: Path) -> ModelSource:
    """The source of a LoRA at that path; its name is its id."""
    return ModelSource(
        model_id=ModelId(path.stem), name=path.stem, uri=path.as_uri(), model_type=ModelType.LORA
    )


def _text(module: str) -> str:
    return "text_model." + module.removeprefix("text_model.")


def _layers(network: nn.Module | None) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    for name, layer in network.named_modules() if network is not None else ():
        if name.endswith(_CHANGED) and isinstance(layer, nn.Linear | nn.Conv2d):
            yield name, layer
