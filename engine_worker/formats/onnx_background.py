"""Inspects background removers: ONNX files with an image as input and a mask as output."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.inspection_result import InspectionResult, believable_size_px
from engine_worker.formats.onnx_model import Place, read_onnx
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import ModelUnreadable

_COLORS: Final = 3
_IMAGE_DIMENSIONS: Final = 4
"""(batch, color, height_px, width_px)"""
_RMBG: Final = re.compile(r"bria|rmbg([-_. v]*[12]|(\.onnx)?$)", re.IGNORECASE)
_RMBG_TERMS: Final = (
    "the RMBG weights of BRIA AI are licensed for non-commercial use only; commercial use requires an "
    "agreement with BRIA AI"
)
"""Source: the model cards of briaai/RMBG-1.4 and briaai/RMBG-2.0."""


def describe_background(source: Path | ModelFile) -> InspectionResult:
    """Describe a background remover by its inputs and outputs.

    Raises: ModelUnreadable, if it is damaged, or has other inputs or outputs.
    """
    model = read_onnx(source)
    if not model.outputs or len(model.inputs) != 1 or not _is_image(model.inputs[0]):
        raise ModelUnreadable(
            f"this ONNX file takes {_in_words(model.inputs)}, not one image (1, 3, height, width): "
            "it is not a background remover"
        )
    if not _is_mask(model.outputs[0], model.inputs[0]):
        raise ModelUnreadable(
            f"this ONNX file returns {_in_words(model.outputs)}, not a mask (1, 1, height, width): "
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


def terms_of(names: Sequence[str]) -> tuple[str, ...]:
    """The license terms of weights known by name or address, because an ONNX file carries none."""
    return (_RMBG_TERMS,) if any(map(_RMBG.search, names)) else ()


def _is_image(place: Place) -> bool:
    """True unless the declared sizes contradict an image; undeclared ones may fit."""
    return len(place.shape) == _IMAGE_DIMENSIONS and place.shape[1] in (_COLORS, None)


def _is_mask(output: Place, taken: Place) -> bool:
    """True unless the declared sizes contradict a mask: one number for each pixel of the image. Other
    networks that take an image return points, classes, or another image."""
    if not output.shape:
        return True
    *counts, height_px, width_px = (None, *output.shape)
    if len(output.shape) == 1 or any(count not in (1, None) for count in counts):
        return False
    if height_px is None or width_px is None:
        return len(output.shape) > 2 or height_px is width_px
    taken_height_px, taken_width_px = taken.shape[2:]
    if taken_height_px is None or taken_width_px is None:
        return min(height_px, width_px) > 1
    return height_px * taken_width_px == width_px * taken_height_px


def _size_px(place: Place) -> int | None:
    """The side of its square input; None if it accepts any size, or is not a square."""
    height_px, width_px = place.shape[2:]
    return believable_size_px(height_px) if height_px is not None and height_px == width_px else None


def _in_words(places: Sequence[Place]) -> str:
    if not places:
        return "nothing"
    return ", ".join(
        "(" + ", ".join("?" if size is None else str(size) for size in place.shape) + ")"
        for place in places[:4]
    )
