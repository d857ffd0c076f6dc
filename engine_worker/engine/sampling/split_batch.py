"""Splits a failed batch, so that one failing image harms no other."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Shared = TypeVar("Shared")
Made = TypeVar("Made")


def call_in_parts(
    pictures: tuple[Shared, ...],
    make: Callable[[tuple[Shared, ...]], Sequence[Made]],
    fail: Callable[[Shared, Exception], None],
) -> dict[Shared, Made]:
    """Make one call for all. One that fails is made again in halves, down to the picture that fails alone."""
    if not pictures:
        return {}
    try:
        return dict(zip(pictures, make(pictures), strict=True))
    except Exception as error:  # noqa: BLE001 - the border of one job
        if len(pictures) == 1:
            fail(pictures[0], error)
            return {}
    # Out here the failed call's tensors are no longer held by its traceback.
    middle = len(pictures) // 2
    return call_in_parts(pictures[:middle], make, fail) | call_in_parts(pictures[middle:], make, fail)
