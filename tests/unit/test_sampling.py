"""Which cases of a test run every day."""

from collections.abc import Sequence

import pytest

from tests.sampling import left_out

pytest_plugins = ["pytester"]
SUITE = """
import pytest

@pytest.mark.sampled(3)
@pytest.mark.parametrize("number", range(10))
def test_many(number): pass

@pytest.mark.sampled(5)
@pytest.mark.parametrize("letter", "ab")
def test_few(letter): pass

@pytest.mark.exhaustive
def test_long(): pass

def test_plain(): pass
"""


@pytest.fixture
def items(pytester: pytest.Pytester) -> Sequence[pytest.Item]:
    pytester.makeini("[pytest]\nmarkers =\n    sampled(most): a\n    exhaustive: b\n")
    return list(pytester.getitems(SUITE))


def names(items: Sequence[pytest.Item], *, is_exhaustive: bool) -> set[str]:
    absent = left_out(items, is_exhaustive=is_exhaustive)
    return {item.name for item in items if item not in absent}


def test_of_many_cases_some_run_spread_over_all(items: Sequence[pytest.Item]) -> None:
    kept = {"test_many[0]", "test_many[3]", "test_many[6]", "test_few[a]", "test_few[b]", "test_plain"}
    assert names(items, is_exhaustive=False) == kept


def test_the_order_of_collection_does_not_matter(items: Sequence[pytest.Item]) -> None:
    assert names(items[::-1], is_exhaustive=False) == names(items, is_exhaustive=False)


def test_with_the_variable_all_run(items: Sequence[pytest.Item]) -> None:
    assert names(items, is_exhaustive=True) == {item.name for item in items}
