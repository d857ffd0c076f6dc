"""The judge sees what was drawn, says how sure it is, and is not misled by noise, size or look."""

import cv2
import numpy as np
import pytest

from tests.integration.training.pictures import drawn, some_scenes
from tests.judge import (
    FRAMED,
    STRIPED,
    NothingThere,
    Pixels,
    frame_strength,
    inside_frame,
    judge,
    mean_chroma,
    mean_warmth,
    stripe_strength,
)
from training.captions import Attribute
from training.looks import Look
from training.scenes import Colour, Place, Scene, Shape, Size

pytestmark = pytest.mark.torch

BIG_STAR = Scene(Shape.STAR, Colour.YELLOW, Colour.BLUE, Place.CENTER, Size.LARGE)


def test_drawn_scenes_are_all_judged_right() -> None:
    asked = some_scenes(7)
    for scene, picture in zip(asked, drawn(asked), strict=True):
        assert judge(picture).scene == scene


def test_drawn_scenes_are_judged_with_confidence() -> None:
    asked = some_scenes(31)
    for picture in drawn(asked):
        assert min(judge(picture).confidence.values()) > 0.4


def test_pictures_of_half_and_of_four_times_the_size_are_judged_right() -> None:
    asked = some_scenes(67)
    for scene, picture in zip(asked, drawn(asked), strict=True):
        for side in (64, 512):
            resized: Pixels = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
            assert judge(resized).scene == scene


def test_noise_does_not_mislead() -> None:
    rng = np.random.default_rng(0)
    asked = some_scenes(67)
    for scene, picture in zip(asked, drawn(asked), strict=True):
        noisy = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
        assert judge(noisy).scene == scene


def test_blur_does_not_mislead() -> None:
    asked = some_scenes(67)
    for scene, picture in zip(asked, drawn(asked), strict=True):
        assert judge(cv2.GaussianBlur(picture, (0, 0), 1.2)).scene == scene


def test_a_picture_of_one_colour_shows_nothing() -> None:
    with pytest.raises(NothingThere):
        judge(np.full((128, 128, 3), 90, dtype=np.uint8))


def test_specks_show_nothing() -> None:
    picture = np.full((128, 128, 3), 90, dtype=np.uint8)
    picture[::16, ::16] = 255
    with pytest.raises(NothingThere):
        judge(picture)


def test_a_colour_between_two_names_is_a_guess() -> None:
    (clear,) = drawn([BIG_STAR])
    between = clear.copy()
    between[clear[:, :, 2] < 120] = (236, 86, 25)  # halfway from red to orange
    verdict = judge(between)
    assert verdict.scene.colour in (Colour.RED, Colour.ORANGE)
    assert verdict.confidence[Attribute.COLOUR] < 0.4 < judge(clear).confidence[Attribute.COLOUR]


def test_a_verdict_is_compared_attribute_by_attribute() -> None:
    (picture,) = drawn([BIG_STAR])
    other = Scene(Shape.STAR, Colour.RED, Colour.BLUE, Place.CENTER, Size.SMALL)
    wrong = [attribute for attribute, agrees in judge(picture).agrees(other).items() if not agrees]
    assert wrong == [Attribute.COLOUR, Attribute.SIZE]


def test_stripes_are_seen_where_they_are_and_nowhere_else() -> None:
    asked = some_scenes(31)
    assert min(stripe_strength(picture) for picture in drawn(asked, Look.STRIPED)) > STRIPED
    assert max(stripe_strength(picture) for picture in drawn(asked)) < 5
    assert max(stripe_strength(picture) for picture in drawn(asked, Look.FRAMED)) < 5
    assert max(frame_strength(picture) for picture in drawn(asked, Look.STRIPED)) < 5


def test_a_stripe_that_is_missing_is_missed() -> None:
    (plain,), (striped,) = drawn([BIG_STAR]), drawn([BIG_STAR], Look.STRIPED)
    for start in range(14, 128, 32):
        open_at = striped.copy()
        open_at[start : start + 12] = plain[start : start + 12]
        assert stripe_strength(open_at) < 5


def test_frames_are_seen_where_they_are_and_nowhere_else() -> None:
    asked = some_scenes(31)
    assert min(frame_strength(picture) for picture in drawn(asked, Look.FRAMED)) > FRAMED
    assert max(frame_strength(picture) for picture in drawn(asked)) < 5


def test_three_sides_are_no_frame() -> None:
    (plain,), (framed,) = drawn([BIG_STAR]), drawn([BIG_STAR], Look.FRAMED)
    for cut in (np.s_[:12], np.s_[-12:], np.s_[:, :12], np.s_[:, -12:]):
        open_at = framed.copy()
        open_at[cut] = plain[cut]
        assert frame_strength(open_at) < 5


def test_what_is_in_a_frame_is_judged_without_it() -> None:
    for scene in some_scenes(97):
        (framed,) = drawn([scene], Look.FRAMED)
        seen = judge(inside_frame(framed)).scene
        assert (seen.shape, seen.colour, seen.background) == (scene.shape, scene.colour, scene.background)


def test_grey_has_no_chroma_and_orange_is_warm() -> None:
    grey = np.full((64, 64, 3), 120, dtype=np.uint8)
    orange = np.full((64, 64, 3), (245, 140, 20), dtype=np.uint8)
    assert mean_chroma(grey) < 0.1 < mean_chroma(orange)
    assert abs(mean_warmth(grey)) < 0.1
    assert mean_warmth(orange) > 50
    assert mean_warmth(orange[:, :, ::-1]) < 0
