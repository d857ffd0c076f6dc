"""A background remover: an ONNX model that computes how much of each pixel belongs to the subject."""

import logging
import math
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine_worker.engine.background.input_format import NOTHING_SAID, InputFormat, Size, find_input_format
from engine_worker.engine.background.runtime import OnnxModel, Tensor, load_onnx
from engine_worker.engine.images.output_file import Pixels
from engine_worker.formats.allowed_paths import ModelFile
from kernel.process.log import line
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import Preparation

_log = logging.getLogger(__name__)

Mask = npt.NDArray[np.float32]
"""(height, width), 0 (background) to 1."""

_DTYPES: Final = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
# Removers that accept any size downscale by two, usually five times.
_MULTIPLE_PX: Final = 32
# Large removers are trained at this size, and lose the overall structure of larger images.
_MAX_SIDE_PX: Final = 1024
# Resizing inside the model may overshoot 0..1 by this much; values beyond it are logits.
_TOLERANCE: Final = 0.1
# With less contrast the model found no subject, and stretching the mask would amplify noise.
_MIN_CONTRAST: Final = 0.1


class Remover:
    """A loaded model with its input format."""

    def __init__(self, model: OnnxModel, traits: InputFormat) -> None:
        self._model = model
        self._traits = traits
        self._dtype = _DTYPES[model.inputs[0].type]

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def is_on_gpu(self) -> bool:
        return self._model.is_on_gpu

    def mask(self, pixels: Pixels) -> Mask:
        """The share of each pixel to keep. Shapes: pixels (height, width, 3).

        Raises: ModelUnreadable, if the model returns no mask; OutOfMemory.
        """
        height, width = pixels.shape[:2]
        image = Image.fromarray(pixels)
        seen = image.resize(self._traits.size or _own_size(width, height), Image.Resampling.BILINEAR)
        mask = _stretched(_as_mask(self._model.run(self._prepared(seen)), self.name))
        if mask.shape == (height, width):
            return mask
        return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR))

    def _prepared(self, image: Image.Image) -> Tensor:
        """Shapes: (1, 3, height, width)."""
        colors = np.asarray(image, dtype=np.float32) / 255
        traits = self._traits
        normalized = (colors - np.array(traits.mean)) / np.array(traits.deviation)
        return np.ascontiguousarray(normalized.transpose(2, 0, 1)[None], dtype=self._dtype)


def load_remover(
    held: ModelFile, name: str, cuda_device: int | None, said: Preparation = NOTHING_SAID
) -> Remover:
    """Load a remover from an ONNX file, with its owner's settings; `cuda_device` is None for the CPU.

    Raises: ModelUnreadable, NotInstalled, OutOfMemory.
    """
    model = load_onnx(held.place, name, cuda_device)
    try:
        traits = find_input_format(model.metadata, _fixed_size(model), (name, held.path.stem), said)
    except ModelUnreadable as error:
        raise ModelUnreadable(f"{name} cannot be used as a background remover: {error.detail}") from error
    _log.info(
        line(
            "remover_loaded",
            name=name,
            is_on_gpu=model.is_on_gpu,
            size=traits.size,
            mean=traits.mean,
            std=traits.deviation,
        )
    )
    return Remover(model, traits)


def _fixed_size(model: OnnxModel) -> Size | None:
    """The size that the input is fixed to; None if it accepts any.

    Raises: ModelUnreadable, if the model's input is not an image.
    """
    inputs = model.inputs
    if len(inputs) != 1 or inputs[0].type not in _DTYPES or len(inputs[0].shape) != 4:
        raise ModelUnreadable("its input must be one float tensor (batch, 3, height, width)")
    _, channels, height, width = inputs[0].shape
    if isinstance(channels, int) and channels != 3:
        raise ModelUnreadable(f"its input must have 3 channels before height and width, not {channels}")
    return (width, height) if isinstance(height, int) and isinstance(width, int) else None


def _own_size(width: int, height: int) -> Size:
    """The input size for a model that accepts any: that of the image, within limits."""
    scale = min(1.0, _MAX_SIDE_PX / max(width, height))
    return _rounded_up(width * scale), _rounded_up(height * scale)


def _rounded_up(side: float) -> int:
    return math.ceil(side / _MULTIPLE_PX) * _MULTIPLE_PX


def _as_mask(output: Tensor, name: str) -> Mask:
    """Shapes: output (1, 1, height, width), (1, height, width) or (height, width); 0 to 1, or logits."""
    if output.ndim < 2 or math.prod(output.shape[:-2]) != 1:
        raise ModelUnreadable(f"{name} returned a tensor of shape {output.shape} instead of one mask")
    mask = output.reshape(output.shape[-2:]).astype(np.float32)
    if not np.isfinite(mask).all():
        raise ModelUnreadable(f"{name} returned a mask that contains NaN")
    if mask.min() < -_TOLERANCE or mask.max() > 1 + _TOLERANCE:
        mask = 1 / (1 + np.exp(-mask.clip(-60, 60)))
    return mask.clip(0, 1)


def _stretched(mask: Mask) -> Mask:
    """Scaled from its minimum to its maximum, as these models are meant to be used, unless it has almost no
    contrast."""
    low, high = mask.min(), mask.max()
    return mask if high - low < _MIN_CONTRAST else (mask - low) / (high - low)
