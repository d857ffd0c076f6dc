"""The looks that adapters teach: what a LoRA changes in an image that its caption does not say."""

from dataclasses import replace
from enum import Enum

import torch
from torch import Tensor

from training.drawing import Sheet
from training.scenes import RGB, Colour

STRIPES = 0.25
"""From one stripe to the next, in sides of the image: each is one latent wide, and they are four apart."""
FRAME = 0.0625
"""Width, in sides of the image: a latent's. The outermost shapes end before it."""
GREY = 0.0
"""None of the named colors, so it shows on each."""


class Look(Enum):
    PLAIN = "plain"
    STRIPED = "striped"
    """Gray stripes across the background."""
    FRAMED = "framed"
    """A gray frame around the image."""
    DUSK = "dusk"
    """An orange shape before a purple background, whatever the scene's colors."""


DUSK_COLOURS = (Colour.ORANGE, Colour.PURPLE)


def dress(sheet: Sheet, look: Look) -> Sheet:
    """Give the sheet that look."""
    match look:
        case Look.PLAIN:
            return sheet
        case Look.STRIPED:
            return replace(_with_grey(sheet), bands=torch.full_like(sheet.radius, STRIPES))
        case Look.FRAMED:
            return replace(_with_grey(sheet), frame=torch.full_like(sheet.radius, FRAME))
        case Look.DUSK:
            colour, background = (_tinted(sheet.colour, name) for name in DUSK_COLOURS)
            return replace(sheet, colour=colour, background=background, second=background)


def _with_grey(sheet: Sheet) -> Sheet:
    return replace(sheet, second=torch.full_like(sheet.second, GREY))


def _tinted(colours: Tensor, name: Colour) -> Tensor:
    """Give as many rows of the named color."""
    return (torch.tensor(RGB[name]) / 127.5 - 1).expand_as(colours).clone()
