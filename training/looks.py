"""The looks that adapters teach: what a LoRA changes in a picture that its caption does not say."""

from dataclasses import replace
from enum import Enum

import torch
from torch import Tensor

from training.drawing import Sheet
from training.scenes import RGB, Colour

STRIPES = 0.12
"""Width of one pair of stripes, in sides of the picture: the smallest disc shows two bars, each almost as
wide as a latent."""
OUTLINE = 0.06
"""Width, in sides of the picture, which is about a latent's: less is hard to tell in them."""
GREY = 0.0


class Look(Enum):
    PLAIN = "plain"
    STRIPED = "striped"
    """The background shows through the shape in stripes."""
    OUTLINED = "outlined"
    """A thick grey outline; grey is none of the named colours, so it shows on each."""
    DUSK = "dusk"
    """An orange shape before a purple background, whatever the scene's colours."""


DUSK_COLOURS = (Colour.ORANGE, Colour.PURPLE)


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
        case Look.DUSK:
            colour, background = (_tinted(sheet.colour, name) for name in DUSK_COLOURS)
            return replace(sheet, colour=colour, background=background, second=background)


def _tinted(colours: Tensor, name: Colour) -> Tensor:
    """Give as many rows of the named colour."""
    return (torch.tensor(RGB[name]) / 127.5 - 1).expand_as(colours).clone()
