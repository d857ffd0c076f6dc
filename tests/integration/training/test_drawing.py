"""Drawings have the size, place and colours that the sheet asks for, wherever the window lies."""

import math

import numpy as np
import pytest
import torch

from training.drawing import SIDE_PX, Window, corner_radius, draw, draw_mask, whole
from training.looks import Look, dress
from training.scenes import CENTRE, RADIUS, RGB, Colour, Place, Scene, Shape, Size
from training.sheets import any_sheet, crop, scene_sheet

pytestmark = pytest.mark.torch


def _scene(shape: Shape, place: Place = Place.CENTER, size: Size = Size.LARGE) -> Scene:
    return Scene(shape, Colour.RED, Colour.WHITE, place, size)


@pytest.mark.parametrize("shape", list(Shape))
@pytest.mark.parametrize("size", list(Size))
def test_every_shape_covers_as_much_as_a_disc_of_its_size(shape: Shape, size: Size) -> None:
    sheet = scene_sheet([_scene(shape, size=size)] * 64, np.random.default_rng(0))
    covered = draw_mask(sheet, whole(sheet)).mean().item()
    assert covered == pytest.approx(math.pi * RADIUS[size] ** 2, rel=0.05)


@pytest.mark.parametrize("place", list(Place))
def test_shapes_are_where_they_are_asked_for_and_lie_wholly_inside(place: Place) -> None:
    sheet = scene_sheet(
        [_scene(shape, place) for shape in Shape for _ in range(16)], np.random.default_rng(0)
    )
    mask = draw_mask(sheet, whole(sheet))[:, 0]
    steps = (torch.arange(SIDE_PX) + 0.5) / SIDE_PX
    x = (mask * steps[None, None, :]).sum((1, 2)) / mask.sum((1, 2))
    y = (mask * steps[None, :, None]).sum((1, 2)) / mask.sum((1, 2))
    assert x.mean().item() == pytest.approx(CENTRE[place][0], abs=0.02)
    assert y.mean().item() == pytest.approx(CENTRE[place][1], abs=0.02)
    assert max(mask[:, 0].max().item(), mask[:, -1].max().item(), mask[:, :, 0].max().item()) == 0


def test_colours_are_the_named_ones() -> None:
    sheet = scene_sheet([_scene(Shape.CIRCLE)] * 32, np.random.default_rng(0))
    middle = draw(sheet, whole(sheet))[:, :, SIDE_PX // 2, SIDE_PX // 2].mean(0)
    assert ((middle + 1) * 127.5).tolist() == pytest.approx(RGB[Colour.RED], abs=4)


@pytest.mark.parametrize("look", list(Look))
def test_a_window_shows_the_part_of_the_picture_that_it_names(look: Look) -> None:
    sheet = dress(any_sheet(8, np.random.default_rng(0)), look)
    origin = torch.tensor([4 / SIDE_PX, 60 / SIDE_PX]).expand_as(sheet.centre)
    part = draw(sheet, Window(origin, 64))
    assert torch.allclose(part, draw(sheet, whole(sheet))[:, :, 60:124, 4:68], atol=1e-4)


def test_a_crop_lies_inside_the_picture() -> None:
    rng = np.random.default_rng(0)
    window = crop(any_sheet(256, rng), 64, rng)
    assert window.origin.min() >= 0
    assert window.origin.max() <= 0.5


def test_pictures_are_between_black_and_white() -> None:
    sheet = any_sheet(64, np.random.default_rng(0))
    pictures = draw(sheet, whole(sheet))
    assert pictures.min() >= -1
    assert pictures.max() <= 1


def test_a_square_of_the_discs_area_has_its_corners_where_geometry_says() -> None:
    assert corner_radius(Shape.SQUARE, 1.0) == pytest.approx(math.sqrt(math.pi / 2))
