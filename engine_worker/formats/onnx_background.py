"""Inspects background removers: ONNX files with an image as input and a mask as output."""

from pathlib import Path
from typing import Final

from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.inspection_result import InspectionResult, believable_size_px
from engine_worker.formats.onnx_model import OnnxModel, Place, read_onnx
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import ModelUnreadable

_COLORS: Final = 3
_IMAGE_DIMENSIONS: Final = 4
"""(batch, color, height_px, width_px)"""


def describe_background(source: Path | ModelFile) -> InspectionResult:
    """Describe a background remover by its inputs and outputs.

    Raises: ModelUnreadable, if it is damaged, or has other inputs or outputs.
    """
    model = read_onnx(source)
    if not model.outputs or len(model.inputs) != 1 or not _is_image(model.inputs[0]):
        raise ModelUnreadable(
            f"this ONNX file takes {_in_words(model)}, not one image (1, 3, height, width): "
            "it is not a background remover"
        )
    if not model.inputs[0].is_float:
        raise ModelUnreadable("this background remover takes no floats: use one with fp32 or fp16 inputs")
    return InspectionResult(
        model_type=ModelType.BACKGROUND,
        model_base=None,
        weights=tuple(model.weights),
        native_size_px=_size_px(model.inputs[0]),
    )


def _is_image(place: Place) -> bool:
    """True unless the declared sizes contradict an image; undeclared ones may fit."""
    return len(place.shape) == _IMAGE_DIMENSIONS and place.shape[1] in (_COLORS, None)


def _size_px(place: Place) -> int | None:
    """The side of its square input; None if it accepts any size, or is not a square."""
    height_px, width_px = place.shape[2:]
    return believable_size_px(height_px) if height_px is not None and height_px == width_px else None


def _in_words(model: OnnxModel) -> str:
    if not model.inputs:
        return "nothing"
    return ", ".join(
        "(" + ", ".join("?" if size is None else str(size) for size in place.shape) + ")"
        for place in model.inputs[:4]
    )
