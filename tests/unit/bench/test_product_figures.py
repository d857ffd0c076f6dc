"""From figures of sides and rounds to ratios and goals."""

import pytest

from bench.product.figures import goals_of, ratios, spreads


def test_a_job_is_compared_with_the_quickest_process_of_the_bare_loop() -> None:
    found = ratios(
        {
            "ours": {0: {"one_job_64px_s": 8.0}, 1: {"one_job_64px_s": 9.0}},
            "bare": {0: {"one_job_64px_s": 16.0}, 1: {"one_job_64px_s": 10.0}},
        }
    )
    assert found == {"one_job_64px_by_bare": [0.8, 0.9]}


def test_everything_else_is_compared_with_the_same_round() -> None:
    found = ratios(
        {
            "ours": {0: {"start_s": 10.0}, 1: {"start_s": 10.0}},
            "bare": {0: {"start_s": 20.0}, 1: {"start_s": 40.0}},
        }
    )
    assert found == {"start_by_bare": [0.5, 0.25]}


def test_a_round_that_the_other_side_lacks_is_compared_with_its_median() -> None:
    found = ratios(
        {
            "ours": {2: {"queued_4_jobs_per_s": 0.6}},
            "sd_cpp": {0: {"queued_4_jobs_per_s": 0.1}, 1: {"queued_4_jobs_per_s": 0.3}},
        }
    )
    assert found == {"queued_4_by_sd_cpp": [pytest.approx(3.0)]}


def test_seconds_of_the_processor_have_a_ratio_of_their_own() -> None:
    sides = {side: {0: {"one_job_64px_s": 4.0, "one_job_64px_cpu_s": 6.0}} for side in ("ours", "comfyui")}
    assert set(ratios(sides)) == {"one_job_64px_by_comfyui", "one_job_64px_cpu_by_comfyui"}


def test_counts_have_no_ratio() -> None:
    sides = {
        side: {0: {"killed_lost": 0.0, "killed_jobs": 11.0, "one_job_64px_faults_per_step": 3.0}}
        for side in ("ours", "sd_cpp")
    }
    assert ratios(sides) == {}


def test_a_side_that_is_not_there_has_no_figures() -> None:
    found = spreads({"ours": {0: {"start_s": 10.0}}})
    assert list(found) == ["ours_start_s"]
    assert goals_of(found) == {}


def test_the_goals_are_of_the_figures_that_are_there() -> None:
    found = spreads(
        {
            "ours": {0: {"one_job_64px_s": 8.0, "one_job_64px_faults_per_step": 12.0, "killed_lost": 0.0}},
            "bare": {0: {"one_job_64px_s": 10.0}},
        }
    )
    goals = goals_of(found)
    assert set(goals) == {
        "one_job_64px_by_bare",
        "ours_one_job_64px_faults_per_step",
        "ours_killed_lost",
    }
    assert all(goal.is_met(found[name].median) for name, goal in goals.items())
