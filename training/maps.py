"""Draws the maps that ControlNets follow: edges as Canny finds them, and depth, near as bright."""

from enum import Enum

import torch
from torch import Tensor

from training.drawing import SIDE_PX, Sheet, distance_px, whole

EDGE_PX = 0.8
"""Half the width of an edge; Canny's are one or two pixels wide."""


class Control(Enum):
    CANNY = "canny"
    DEPTH = "depth"


def draw_map(control: Control, sheet: Sheet, seed: int) -> Tensor:
    """Draw the sheet's maps; the seed sets how depth falls. Shapes: (batch, 3, 128, 128), 0..1."""
    distance = distance_px(sheet, whole(sheet))
    match control:
        case Control.CANNY:
            drawn = (distance.abs() < EDGE_PX).float()
        case Control.DEPTH:
            drawn = _depth(distance, torch.Generator(distance.device).manual_seed(seed))
    return drawn[:, None].expand(-1, 3, -1, -1)


def _depth(distance: Tensor, generator: torch.Generator) -> Tensor:
    """Draw near as bright: a level shape before a background that rises or falls toward the bottom."""
    levels = torch.rand((4, len(distance), 1, 1), generator=generator, device=distance.device)
    rows = torch.linspace(0, 1, SIDE_PX, device=distance.device)[None, :, None]
    far = 0.4 * levels[0] * rows + 0.2 * levels[1]
    near = 0.65 + 0.35 * levels[2]
    soft = 0.5 + 2.5 * levels[3]
    return torch.lerp(far.expand_as(distance), near.expand_as(distance), torch.sigmoid(-distance / soft))
