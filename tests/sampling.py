"""Which cases run every day: a few of the tests that have many, and all with EXHAUSTIVE=1.

    @pytest.mark.sampled(8)     of this test's cases 8, spread over all of them in the order of their names
    @pytest.mark.exhaustive     not at all

The same cases are chosen each time, so that a failure is found again and two processes agree.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import pytest

IS_EXHAUSTIVE: Final = os.environ.get("EXHAUSTIVE") == "1"


def count(usual: int, *, at_most: int) -> int:
    """How many examples a test tries: the usual number, or with EXHAUSTIVE=1 the most."""
    return at_most if IS_EXHAUSTIVE else usual


def left_out(items: Sequence[pytest.Item], *, is_exhaustive: bool = IS_EXHAUSTIVE) -> set[pytest.Item]:
    """The collected tests that do not run."""
    if is_exhaustive:
        return set()
    cases: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    absent = set()
    for item in items:
        if item.get_closest_marker("exhaustive") is not None:
            absent.add(item)
        elif item.get_closest_marker("sampled") is not None:
            cases[item.nodeid.partition("[")[0]].append(item)
    for some in cases.values():
        absent |= set(some) - set(spread(sorted(some, key=lambda item: item.nodeid)))
    return absent


def spread(cases: Sequence[pytest.Item]) -> Sequence[pytest.Item]:
    """As many of one test's cases as its mark says, at even distances; the first is among them."""
    mark = cases[0].get_closest_marker("sampled")
    assert mark is not None
    (most,) = mark.args
    count = min(most, len(cases))
    return [cases[number * len(cases) // count] for number in range(count)]
