"""Fills sheets: with the scenes that captions describe, and with the wider world that a VAE must know."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.drawing import POINTS, SIDE_PX, Sheet, Window, corner_radius, turn
from training.scenes import CENTRE, RADIUS, RGB, Colour, Scene, Shape

PLACE_JITTER = 0.03
RADIUS_JITTER = 0.08
ANGLE_JITTER = 0.15
"""Radians; enough that no two images are alike, not enough to make a square a diamond."""
COLOUR_JITTER = 0.05
"""In -1..1; far below the distance of two names."""

SHAPES = tuple(Shape)
COLOURS = tuple(Colour)


def palette() -> NDArray[np.float64]:
    """Give the named colors in the order of `Colour`. Shapes: (8, 3), -1..1."""
    return np.array([RGB[colour] for colour in COLOURS]) / 127.5 - 1


def scene_sheet(scenes: Sequence[Scene], rng: np.random.Generator) -> Sheet:
    """Draw up the scenes, each a little off its nominal place, radius, angle and colors."""
    count = len(scenes)
    colours = palette()
    nominal = np.array([RADIUS[scene.size] for scene in scenes])
    corner = np.array([corner_radius(scene.shape, 1.0) for scene in scenes])
    background = _near(colours[[COLOURS.index(scene.background) for scene in scenes]], rng)
    return Sheet(
        points=torch.tensor([POINTS[scene.shape] for scene in scenes]),
        turn=_tensor([turn(scene.shape) for scene in scenes]),
        centre=_tensor(
            np.array([CENTRE[scene.place] for scene in scenes]) + _spread(rng, PLACE_JITTER, (count, 2))
        ),
        radius=_tensor(nominal * corner * (1 + _spread(rng, RADIUS_JITTER, count))),
        angle=_tensor(_upright(scenes) + _spread(rng, ANGLE_JITTER, count)),
        colour=_tensor(_near(colours[[COLOURS.index(scene.colour) for scene in scenes]], rng)),
        background=_tensor(background),
        second=_tensor(background),
        stripes=torch.zeros(count),
        outline=torch.zeros(count),
        bands=torch.zeros(count),
        frame=torch.zeros(count),
    )


def any_sheet(count: int, rng: np.random.Generator) -> Sheet:
    """Draw up shapes of any place, size, angle and color, one in four striped, one in four outlined."""
    shapes = [SHAPES[index] for index in rng.integers(len(SHAPES), size=count)]
    corner = np.array([corner_radius(shape, 1.0) for shape in shapes])
    return Sheet(
        points=torch.tensor([POINTS[shape] for shape in shapes]),
        turn=_tensor([turn(shape) for shape in shapes]),
        centre=_tensor(rng.uniform(0.15, 0.85, (count, 2))),
        radius=_tensor(corner * rng.uniform(0.05, 0.32, count)),
        angle=_tensor(rng.uniform(0, 2 * math.pi, count)),
        colour=_tensor(_any_colours(count, rng)),
        background=_tensor(_any_colours(count, rng)),
        second=_tensor(_any_colours(count, rng)),
        stripes=_tensor(np.where(rng.random(count) < 0.25, rng.uniform(0.06, 0.2, count), 0.0)),
        outline=_tensor(np.where(rng.random(count) < 0.25, rng.uniform(0.02, 0.06, count), 0.0)),
        bands=torch.zeros(count),
        frame=torch.zeros(count),
    )


def crop(sheet: Sheet, side_px: int, rng: np.random.Generator) -> Window:
    """Choose a window on each image that holds the shape's centre, so that no crop is background alone."""
    side = side_px / SIDE_PX
    origin = sheet.centre.numpy() - side * rng.uniform(0.1, 0.9, sheet.centre.shape)
    return Window(_tensor(np.clip(origin, 0, 1 - side)), side_px)


def _upright(scenes: Sequence[Scene]) -> NDArray[np.float64]:
    """Turn squares so that they stand on a side; the others have a corner at the top as they are."""
    return np.array([math.pi / 4 if scene.shape is Shape.SQUARE else 0.0 for scene in scenes])


def _any_colours(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    named = _near(palette()[rng.integers(len(COLOURS), size=count)], rng)
    return np.where(rng.random((count, 1)) < 0.75, named, rng.uniform(-1, 1, (count, 3)))


def _near(colours: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return np.clip(colours + _spread(rng, COLOUR_JITTER, colours.shape), -1, 1)


def _spread(rng: np.random.Generator, most: float, shape: int | tuple[int, ...]) -> NDArray[np.float64]:
    return rng.uniform(-most, most, shape)


def _tensor(values: object) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)
