"""Pictures that come along with jobs, and ControlNets and LoRAs with random weights."""

from io import BytesIO
from pathlib import Path
from typing import Final

import torch
from diffusers import ControlNetModel
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor, nn

from engine_worker.engine.networks.batch_invariant_layers import make_batch_invariant
from engine_worker.engine.networks.components import Components
from engine_worker.formats.checkpoint_layout import Network
from kernel.protocol.enums import ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource

_RANK: Final = 4
# A LoRA as strong as the weights themselves makes every step magnify what rounding leaves.
_STRENGTH: Final = 0.03
# The layers of attention, which every trainer changes.
_CHANGED: Final = ("to_q", "to_k", "to_v", "to_out.0")


def png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def photograph(width_px: int = 64, height_px: int = 64, tint: int = 0) -> Image.Image:
    """A picture in which no two places look alike."""
    image = Image.radial_gradient("L").resize((width_px, height_px))
    other = Image.linear_gradient("L").resize((width_px, height_px))
    return Image.merge("RGB", (image, other, Image.new("L", image.size, 40 + tint)))


def half_mask(width_px: int = 64, height_px: int = 64) -> Image.Image:
    """White, that is painted anew, on the left and in a corner."""
    image = Image.new("L", (width_px, height_px), 0)
    ImageDraw.Draw(image).rectangle((0, 0, width_px // 2 - 1, height_px), 255)
    ImageDraw.Draw(image).rectangle((width_px - 16, 0, width_px, 16), 255)
    return image


def random_control_net(parts: Components, seed: int) -> nn.Module:
    """A ControlNet that has a say: its last layers, which begin as zeros, are random too."""
    torch.manual_seed(seed)
    net: nn.Module = ControlNetModel.from_unet(
        parts.networks[Network.UNET], conditioning_embedding_out_channels=(8, 16, 16, 32)
    )
    for name, parameter in net.named_parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02 if "controlnet" in name else 0.05)
    ready = net.requires_grad_(False).eval()
    return make_batch_invariant(ready, Network.CONTROLNET, parts.device, parts.dtype)


def random_lora(parts: Components, path: Path, seed: int) -> ModelSource:
    """Write a LoRA of the UNet that has a say, in the form that diffusers writes; its name is its id."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, layer in parts.networks[Network.UNET].named_modules():
        if isinstance(layer, nn.Linear) and name.endswith(_CHANGED):
            down = torch.randn(_RANK, layer.in_features, generator=generator)
            up = torch.randn(layer.out_features, _RANK, generator=generator)
            tensors[f"unet.{name}.lora_A.weight"] = down / layer.in_features**0.5
            tensors[f"unet.{name}.lora_B.weight"] = up * _STRENGTH
    save_file(tensors, path)
    return ModelSource(
        model_id=ModelId(path.stem), name=path.stem, uri=path.as_uri(), model_type=ModelType.LORA
    )
