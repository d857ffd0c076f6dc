"""Page faults of a job are told apart by the steps that it reports."""

from bench.product.shares import Shares, shared


def test_steps_have_what_comes_between_them_and_the_rest_is_not_theirs() -> None:
    told = [(0, 7), (1, 500), (2, 510), (3, 520), (4, 900)]
    assert shared(told, steps=4, all_faults=1000) == Shares(of_a_step=10.0, of_the_rest=960.0)


def test_reports_may_leave_steps_out() -> None:
    assert shared([(2, 100), (6, 180)], steps=8, all_faults=300) == Shares(20.0, 140.0)


def test_the_last_step_tells_nothing_as_decoding_has_begun_by_then() -> None:
    assert shared([(1, 100), (2, 900)], steps=2, all_faults=1000) is None


def test_without_two_steps_nothing_is_known() -> None:
    assert shared([], steps=4, all_faults=1000) is None
    assert shared([(1, 5), (1, 9)], steps=4, all_faults=1000) is None
