"""Depth detectors: midas (the network of controlnet_aux) and depth (any relative depth model of
transformers).

Both draw near as bright and far as dark, normalized to the depth range of the image.
"""

from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from engine_worker.engine.runtime.late_import import late_import
from kernel.protocol.errors import ModelUnreadable

# The network's patches are 16 pixels wide, and its convolutions downscale by two once more.
_MIDAS_MULTIPLE_PX: Final = 32
# Metric depth is large where a point is far, so such maps would be inverted.
_RELATIVE: Final = ("dpt", "depth_anything")


class _Preprocessor(Protocol):
    """The image processor of a transformers model."""

    def __call__(self, *, images: Image.Image, return_tensors: str) -> dict[str, Tensor]: ...


class MidasDetector:
    """The DPT-hybrid network of MiDaS."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def to(self, device: torch.device) -> None:
        """Move the network to a device."""
        self._network.to(device)

    @torch.no_grad()
    def draw(self, image: Image.Image) -> Image.Image:
        """The depth of an RGB image, at about its size."""
        width_px, height_px = (
            max(1, round(side / _MIDAS_MULTIPLE_PX)) * _MIDAS_MULTIPLE_PX for side in image.size
        )
        pixels = torch.from_numpy(np.array(image.resize((width_px, height_px)), dtype=np.float32))
        device = next(self._network.parameters()).device
        depth: Tensor = self._network((pixels / 127.5 - 1).permute(2, 0, 1)[None].to(device))
        return _as_gray(depth[0])


class TransformersDetector:
    """A depth model of transformers with its own preprocessing."""

    def __init__(self, network: nn.Module, preprocessor: _Preprocessor) -> None:
        self._network = network
        self._preprocessor = preprocessor

    def to(self, device: torch.device) -> None:
        """Move the network to a device."""
        self._network.to(device)

    @torch.no_grad()
    def draw(self, image: Image.Image) -> Image.Image:
        """The depth of an RGB image, at the size that the model returns."""
        device = next(self._network.parameters()).device
        (pixels,) = self._preprocessor(images=image, return_tensors="pt")["pixel_values"].to(device)
        depth: Tensor = self._network(pixel_values=pixels[None]).predicted_depth
        return _as_gray(depth[0])


def load_midas(folder: Path) -> MidasDetector:
    """Load the network. No code in its file is run: torch loads tensors only.

    Raises: NotInstalled, and what torch raises for a damaged file.
    """
    with late_import("midas", "pose"):
        from controlnet_aux import MidasDetector as AuxDetector

        # Its backbone has a deprecated name in timm, which warns about it.
        return MidasDetector(AuxDetector.from_pretrained(str(folder), local_files_only=True).model)


def load_depth_model(folder: Path) -> TransformersDetector:
    """Load the model from its own folder: safetensors only, and no code from there.

    Raises: ModelUnreadable, if it returns metric depth; what transformers raises for a damaged file.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForDepthEstimation

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    kind = getattr(config, "depth_estimation_type", "relative")
    if config.model_type not in _RELATIVE or kind != "relative":
        raise ModelUnreadable(
            f"{folder} has a {config.model_type} model: the depth detector requires a relative depth model "
            f"of type {' or '.join(_RELATIVE)}"
        )
    network = AutoModelForDepthEstimation.from_pretrained(
        str(folder), local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    preprocessor = AutoImageProcessor.from_pretrained(str(folder), local_files_only=True)
    return TransformersDetector(network.eval(), preprocessor)


def _as_gray(depth: Tensor) -> Image.Image:
    """Shapes: depth (height, width). An image of constant depth is black."""
    low, high = (float(value) for value in torch.aminmax(depth.float()))
    if not high > low:
        return Image.new("L", (depth.shape[1], depth.shape[0]))
    gray = ((depth.float() - low) / (high - low) * 255).round().to(torch.uint8)
    return Image.fromarray(gray.cpu().numpy())
