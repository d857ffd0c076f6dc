"""Partial images: as many as were asked for, spread over the steps of each image."""

from hypothesis import given
from hypothesis import strategies as st

from api.http.compat.openai.image_stream import Chosen


def test_two_of_nine_steps_come_after_thirds() -> None:
    chosen = Chosen(2)
    found = [(step, chosen.index_of(0, step, 9)) for step in range(1, 10)]
    assert [one for one in found if one[1] is not None] == [(3, 0), (6, 1)]


def test_each_image_has_its_own() -> None:
    chosen = Chosen(1)
    assert [chosen.index_of(image, 5, 9) for image in (0, 1, 0, 1)] == [0, 0, None, None]


@given(st.integers(0, 3), st.lists(st.integers(1, 50)), st.integers(1, 50))
def test_there_are_never_more_and_their_numbers_have_no_gap(
    partial_images: int, steps: list[int], all_steps: int
) -> None:
    chosen = Chosen(partial_images)
    found = [chosen.index_of(0, step, all_steps) for step in sorted(steps)]
    sent = [index for index in found if index is not None]
    assert sent == list(range(len(sent)))
    assert len(sent) <= partial_images
