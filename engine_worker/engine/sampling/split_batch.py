"""Splits a failed batch, so that one failing image harms no other."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Shared = TypeVar("Shared")
Made = TypeVar("Made")


def call_in_parts(
    images: tuple[Shared, ...],
    make: Callable[[tuple[Shared, ...]], Sequence[Made]],
    fail: Callable[[Shared, Exception], None],
) -> dict[Shared, Made]:
    """Make one call for all. One that fails is made again in halves, down to the image that fails alone."""
    if not images:
        return {}
    try:
        return dict(zip(images, make(images), strict=True))
    except Exception as error:  # noqa: BLE001 - the border of one job
        if len(images) == 1:
            fail(images[0], error)
            return {}
    # Out here the failed call's tensors are no longer held by its traceback.
    middle = len(images) // 2
    return call_in_parts(images[:middle], make, fail) | call_in_parts(images[middle:], make, fail)
