"""How large a call may be: as long as it pays, and as there is memory for it."""

from hypothesis import given
from hypothesis import strategies as st

from engine_worker.engine.sampling.batch_sizing import BatchSizeTuner

SMALL, LARGE = "64 px", "1024 px"


def after(costs: dict[int, float], times: int = 3, kind: str = SMALL) -> BatchSizeTuner:
    """Calls of so many rows, and the seconds that each row of them took."""
    sizes = BatchSizeTuner()
    for rows, cost in costs.items():
        for _ in range(times):
            sizes.measured(kind, rows, rows * cost)
    return sizes


def test_nothing_speaks_against_any_size_before_something_is_known() -> None:
    assert BatchSizeTuner().most_rows(SMALL) is None


def test_a_batch_that_pays_may_grow() -> None:
    assert after({1: 1.0, 2: 0.6, 4: 0.4}).most_rows(SMALL) is None


def test_a_batch_that_no_longer_pays_is_made_no_larger() -> None:
    assert after({1: 1.0, 2: 0.6, 4: 0.59, 8: 0.6}).most_rows(SMALL) == 2


def test_a_little_gain_after_another_pays_in_the_end() -> None:
    assert after({2: 1.0, 4: 0.96, 8: 0.92, 16: 0.92}).most_rows(SMALL) == 4


def test_one_slow_call_proves_nothing() -> None:
    sizes = after({2: 1.0, 4: 0.5})
    sizes.measured(SMALL, 4, 100.0)
    assert sizes.most_rows(SMALL) is None


def test_two_calls_of_a_size_are_too_few_to_judge_it() -> None:
    assert after({2: 0.5, 4: 0.5}, times=2).most_rows(SMALL) is None


def test_what_is_known_of_one_kind_of_call_says_nothing_of_another() -> None:
    assert after({2: 0.5, 4: 0.5}, kind=LARGE).most_rows(SMALL) is None


def test_a_call_without_memory_is_halved_until_that_is_long_ago() -> None:
    sizes = BatchSizeTuner()
    sizes.lacked_memory(LARGE, 8)
    assert sizes.most_rows(LARGE) == 4
    sizes.lacked_memory(LARGE, 1)
    assert sizes.most_rows(LARGE) == 1
    for _ in range(500):
        sizes.measured(LARGE, 1, 1.0)
    assert sizes.most_rows(LARGE) is None


def test_a_knee_is_looked_for_again_after_a_while() -> None:
    sizes = after({2: 0.5, 4: 0.5})
    assert sizes.most_rows(SMALL) == 2
    for _ in range(500):
        sizes.measured(SMALL, 2, 1.0)
    assert sizes.most_rows(SMALL) is None


CALLS = st.lists(st.tuples(st.integers(1, 16), st.floats(0.001, 10.0)), max_size=60)


@given(calls=CALLS)
def test_the_bound_is_a_size_that_was_tried_and_smaller_than_another_one(
    calls: list[tuple[int, float]],
) -> None:
    sizes = BatchSizeTuner()
    for rows, seconds in calls:
        sizes.measured(SMALL, rows, seconds)
    bound = sizes.most_rows(SMALL)
    assert bound is None or bound in {rows for rows, _ in calls} - {max(rows for rows, _ in calls)}
