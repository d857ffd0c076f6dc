"""Draws scenes: a batch of shapes as signed distances, so that an image of any size, its mask and its edges
come from one formula.

Every shape but the circle is a star polygon: n points, and where between two points the outline turns. A
regular polygon is the star polygon whose turns lie on the straight line between its points. Folding the plane
into one of the 2n mirrored sectors leaves one edge, whose half plane gives the distance for a whole batch at
once, on CPU or GPU.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from training.scenes import Shape

SIDE_PX = 128
"""Side of a whole image."""

POINTS: dict[Shape, int] = {Shape.CIRCLE: 0, Shape.SQUARE: 4, Shape.TRIANGLE: 3, Shape.STAR: 5}
STAR_TURN = 0.42
"""Inner radius of the star, in outer radii; the classic pentagram has 0.38."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What to draw, one row an image. Lengths are in sides of the image, colors in -1..1."""

    points: Tensor
    """(batch,) corners of the star polygon; 0 draws a circle."""
    turn: Tensor
    """(batch,) radius at the turn between two corners, in outer radii."""
    centre: Tensor
    """(batch, 2) x and y."""
    radius: Tensor
    """(batch,) from the centre to a corner."""
    angle: Tensor
    """(batch,) turned by, in radians; 0 has a corner at the top."""
    colour: Tensor
    """(batch, 3)"""
    background: Tensor
    """(batch, 3)"""
    second: Tensor
    """(batch, 3) of stripes, outline, bands and frame."""
    stripes: Tensor
    """(batch,) width of one pair of stripes across the shape; 0 draws none."""
    outline: Tensor
    """(batch,) width of the outline, around the shape; 0 draws none."""
    bands: Tensor
    """(batch,) from one band across the background to the next; 0 draws none. A quarter of it is a band's."""
    frame: Tensor
    """(batch,) width of the frame, along the image's four sides and over all else; 0 draws none."""

    def to(self, device: torch.device) -> Self:
        """Give the same sheet on another device."""
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))

    def rows(self, index: slice | Tensor) -> Self:
        """Give a sheet of some of the rows."""
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Window:
    """The part of each image to draw: its top left corner, in sides of the image, and its side."""

    origin: Tensor
    """(batch, 2)"""
    side_px: int


def join(sheets: Sequence[Sheet]) -> Sheet:
    """Put the rows of several sheets one below the other."""
    return Sheet(*(torch.cat([getattr(sheet, field.name) for sheet in sheets]) for field in fields(Sheet)))


def whole(sheet: Sheet) -> Window:
    """Give the window that holds the whole image."""
    return Window(torch.zeros_like(sheet.centre), SIDE_PX)


def corner_radius(shape: Shape, disc_radius: float) -> float:
    """Give the corner radius of the shape that covers as much as a disc of that radius."""
    if shape is Shape.CIRCLE:
        return disc_radius
    sector = math.pi / POINTS[shape]
    area = POINTS[shape] * turn(shape) * math.sin(sector)
    return disc_radius * math.sqrt(math.pi / area)


def turn(shape: Shape) -> float:
    """Give the radius at the turn between two corners: on their straight line for all but the star."""
    match shape:
        case Shape.CIRCLE:
            return 1.0
        case Shape.STAR:
            return STAR_TURN
        case Shape.SQUARE | Shape.TRIANGLE:
            return math.cos(math.pi / POINTS[shape])


def distance_px(sheet: Sheet, window: Window) -> Tensor:
    """Measure how far outside the shape each pixel lies (inside: below 0). Shapes: (batch, side, side)."""
    x, y = _from_centre(sheet, window)
    across = torch.hypot(x, y)
    sector = math.pi / sheet.points.clamp(min=1).float()[:, None, None]
    # The angle from the nearest corner: turned so that a corner points up, folded into one sector, mirrored.
    folded = (torch.atan2(x, -y) - sheet.angle[:, None, None] + sector).remainder(2 * sector) - sector
    u, v = across * folded.cos(), across * folded.sin().abs()
    radius, inner = sheet.radius[:, None, None], sheet.turn[:, None, None]
    edge_x, edge_y = radius * (inner * sector.cos() - 1), radius * inner * sector.sin()
    polygon = ((u - radius) * edge_y - v * edge_x) / torch.hypot(edge_x, edge_y).clamp(min=1e-6)
    return SIDE_PX * torch.where(sheet.points[:, None, None] == 0, across - radius, polygon)


def draw_mask(sheet: Sheet, window: Window) -> Tensor:
    """Draw how much of each pixel the shape and its outline cover. Shapes: (batch, 1, side, side), 0..1."""
    return _covered(distance_px(sheet, window) - _outline_px(sheet))[:, None]


def draw(sheet: Sheet, window: Window) -> Tensor:
    """Draw the images. Shapes: (batch, 3, side, side), -1..1."""
    distance = distance_px(sheet, window)
    fill = _mix(_rows(sheet.colour), _rows(sheet.second), _striped(sheet, window))
    width = _outline_px(sheet)
    rim = torch.where(width > 0, 1 - _covered(distance), 0.0)
    fill = _mix(fill, _rows(sheet.second), rim[:, None])
    behind = _mix(_rows(sheet.background), _rows(sheet.second), _banded(sheet, window))
    image = _mix(behind, fill, _covered(distance - width)[:, None])
    return _mix(image, _rows(sheet.second), _framed(sheet, window))


def _outline_px(sheet: Sheet) -> Tensor:
    return SIDE_PX * sheet.outline[:, None, None]


def _banded(sheet: Sheet, window: Window) -> Tensor:
    """Draw how much of each pixel of the background the bands cover; they lie where the image's height is a
    whole number of periods and five eighths."""
    _, y = _from_corner(sheet, window)
    period = sheet.bands[:, None, None]
    phase = (y / period.clamp(min=1e-3)).remainder(1.0)
    to_border_px = SIDE_PX * period * ((phase - 0.625).abs() - 0.125)
    return torch.where(period > 0, _covered(to_border_px), 0.0)[:, None]


def _framed(sheet: Sheet, window: Window) -> Tensor:
    """Draw how much of each pixel the frame covers."""
    x, y = _from_corner(sheet, window)
    to_side = torch.minimum(torch.minimum(x, 1 - x), torch.minimum(y, 1 - y))
    width = sheet.frame[:, None, None]
    return torch.where(width > 0, _covered(SIDE_PX * (to_side - width)), 0.0)[:, None]


def _from_corner(sheet: Sheet, window: Window) -> tuple[Tensor, Tensor]:
    """Give each pixel's middle, seen from the image's top left corner."""
    x, y = _from_centre(sheet, window)
    return x + sheet.centre[:, 0, None, None], y + sheet.centre[:, 1, None, None]


def _from_centre(sheet: Sheet, window: Window) -> tuple[Tensor, Tensor]:
    """Give each pixel's middle, seen from the shape's centre."""
    steps = (torch.arange(window.side_px, device=sheet.centre.device) + 0.5) / SIDE_PX
    offset = window.origin - sheet.centre
    x = (steps[None, None, :] + offset[:, 0, None, None]).expand(-1, window.side_px, -1)
    y = (steps[None, :, None] + offset[:, 1, None, None]).expand(-1, -1, window.side_px)
    return x, y


def _striped(sheet: Sheet, window: Window) -> Tensor:
    """Draw how much of each pixel the second color of horizontal stripes covers. One of them runs through the
    shape's centre, so that even a small shape has a whole bar of its own color on both sides."""
    _, y = _from_centre(sheet, window)
    period = sheet.stripes[:, None, None]
    phase = (y / period.clamp(min=1e-3)).remainder(1.0)
    to_border_px = SIDE_PX * period * ((phase - 0.5).abs() - 0.25)
    return torch.where(period > 0, _covered(-to_border_px), 0.0)[:, None]


def _covered(distance: Tensor) -> Tensor:
    """Give the share of a pixel that lies inside, from its middle's distance; so edges are smooth."""
    return (0.5 - distance).clamp(0, 1)


def _mix(under: Tensor, over: Tensor, share: Tensor) -> Tensor:
    return under + (over - under) * share


def _rows(colour: Tensor) -> Tensor:
    return colour[:, :, None, None]
