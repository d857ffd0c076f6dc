"""The looks that adapters teach: what a LoRA changes in a picture that its caption does not say."""

from dataclasses import replace
from enum import Enum

import torch

from training.drawing import Sheet

STRIPES = 0.085
"""Width of one pair of stripes, in sides of the picture: 11 pixels, so that the smallest disc shows three bars."""
OUTLINE = 0.035
GREY = 0.0


class Look(Enum):
    PLAIN = "plain"
    STRIPED = "striped"
    """The background shows through the shape in stripes."""
    OUTLINED = "outlined"
    """A thick grey outline; grey is none of the named colours, so it shows on each."""


def dress(sheet: Sheet, look: Look) -> Sheet:
    """Give the sheet that look."""
    match look:
        case Look.PLAIN:
            return sheet
        case Look.STRIPED:
            return replace(sheet, second=sheet.background, stripes=torch.full_like(sheet.radius, STRIPES))
        case Look.OUTLINED:
            return replace(
                sheet,
                second=torch.full_like(sheet.second, GREY),
                outline=torch.full_like(sheet.radius, OUTLINE),
            )
