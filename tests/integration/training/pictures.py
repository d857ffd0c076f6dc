"""Drawn pictures for the tests of everything that looks at pictures."""

from collections.abc import Sequence

import numpy as np

from tests.judge import Pixels
from training.drawing import draw, whole
from training.looks import Look, dress
from training.scenes import Scene, scenes
from training.sheets import scene_sheet


def some_scenes(step: int) -> list[Scene]:
    """Give one in so many of all scenes."""
    return list(scenes())[::step]


def drawn(asked: Sequence[Scene], look: Look = Look.PLAIN, seed: int = 0) -> list[Pixels]:
    """Draw scenes."""
    sheet = dress(scene_sheet(asked, np.random.default_rng(seed)), look)
    images = (draw(sheet, whole(sheet)) + 1) * 127.5
    return list(images.round().byte().permute(0, 2, 3, 1).numpy())
