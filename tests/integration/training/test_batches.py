"""A feed gives every step its own batch, wherever training resumes, in this process or ahead of time."""

import pytest

from training.batches import Feed

pytestmark = pytest.mark.torch


def _square(step: int) -> int:
    return step * step


def test_batches_depend_on_the_step_alone() -> None:
    feed = Feed(_square, steps=5, loaders=0)
    assert [feed(step) for step in (3, 4, 0)] == [9, 16, 0]


def test_loaders_give_the_same_batches_from_where_training_resumes() -> None:
    feed = Feed(_square, steps=6, loaders=1)
    assert [feed(step) for step in (2, 3, 4, 5)] == [4, 9, 16, 25]
