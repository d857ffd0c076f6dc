"""Full garbage collections happen in quiet moments only."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from kernel.shell.gc_control import EVERY_S, GcControl, put_off_full_collections


class Knot:
    """Something that only the garbage collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _leave_the_collector_as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def old_knot() -> "weakref.ref[Knot]":
    """A cycle that has outlived the young generations, and that nobody holds any more."""
    knot = Knot()
    gc.collect(0)
    gc.collect(1)
    return weakref.ref(knot)


def test_a_quiet_moment_frees_what_only_a_full_collection_can() -> None:
    knot = old_knot()
    GcControl().use(now_s=5.0)
    assert knot() is None


def test_two_full_collections_are_never_close_to_each_other() -> None:
    gc_control = GcControl()
    gc_control.use(now_s=5.0)
    knot = old_knot()
    gc_control.use(now_s=5.0 + EVERY_S - 1)
    assert knot() is not None
    gc_control.use(now_s=5.0 + EVERY_S)
    assert knot() is None


def test_python_makes_no_full_collection_by_itself() -> None:
    put_off_full_collections()
    made: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        made.append(info["generation"])

    gc.callbacks.append(note)
    try:
        held: list[list[int]] = [[] for _ in range(400_000)]
    finally:
        gc.callbacks.remove(note)
    assert held
    assert 1 in made
    assert 2 not in made
