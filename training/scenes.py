"""What a scene is: a shape, two colors, a place and a size; and which scenes training never sees."""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

HELD_OUT_SHARE = 0.1
"""Of all combinations; they are kept for the evaluation."""


class Shape(Enum):
    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"


class Colour(Enum):
    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"
    BLUE = "blue"
    PURPLE = "purple"
    WHITE = "white"
    BLACK = "black"


class Place(Enum):
    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"
    CENTER = "center"


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


RGB: dict[Colour, tuple[int, int, int]] = {
    Colour.RED: (220, 30, 30),
    Colour.ORANGE: (245, 140, 20),
    Colour.YELLOW: (250, 225, 40),
    Colour.GREEN: (30, 160, 60),
    Colour.BLUE: (30, 70, 220),
    Colour.PURPLE: (140, 45, 170),
    Colour.WHITE: (248, 248, 248),
    Colour.BLACK: (12, 12, 12),
}
"""The color that each name is drawn in, 0..255."""

CENTRE: dict[Place, tuple[float, float]] = {
    Place.LEFT: (0.32, 0.50),
    Place.RIGHT: (0.68, 0.50),
    Place.TOP: (0.50, 0.32),
    Place.BOTTOM: (0.50, 0.68),
    Place.CENTER: (0.50, 0.50),
}
"""Where each place lies (x, y), in sides of the image, from the top left."""

RADIUS: dict[Size, float] = {Size.SMALL: 0.10, Size.LARGE: 0.165}
"""Radius of the circle of the same area as the shape, in sides of the image."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a caption can say of an image."""

    shape: Shape
    colour: Colour
    background: Colour
    place: Place
    size: Size

    def is_held_out(self) -> bool:
        """Tell whether this combination is kept from training; the same everywhere and always."""
        words = " ".join(
            word.value for word in (self.shape, self.colour, self.background, self.place, self.size)
        )
        return hashlib.sha256(words.encode()).digest()[0] < 256 * HELD_OUT_SHARE


def scenes() -> Iterator[Scene]:
    """Give every combination whose two colors differ, in one fixed order."""
    for shape, colour, background, place, size in itertools.product(Shape, Colour, Colour, Place, Size):
        if colour is not background:
            yield Scene(shape, colour, background, place, size)


def training_scenes() -> tuple[Scene, ...]:
    """Give the combinations that training draws."""
    return tuple(scene for scene in scenes() if not scene.is_held_out())


def held_out_scenes() -> tuple[Scene, ...]:
    """Give the combinations that only the evaluation asks for."""
    return tuple(scene for scene in scenes() if scene.is_held_out())
