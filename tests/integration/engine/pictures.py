"""Pictures that come along with jobs, and ControlNets with random weights."""

from io import BytesIO

import torch
from diffusers import ControlNetModel
from PIL import Image, ImageDraw
from torch import nn

from engine_worker.engine.parts import Parts


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


def random_control_net(parts: Parts, seed: int) -> nn.Module:
    """A ControlNet that has a say: its last layers, which begin as zeros, are random too."""
    torch.manual_seed(seed)
    net = ControlNetModel.from_unet(parts.denoiser, conditioning_embedding_out_channels=(8, 16, 16, 32))
    for name, parameter in net.named_parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02 if "controlnet" in name else 0.05)
    return net.requires_grad_(False).eval()
