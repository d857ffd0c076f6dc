"""The command line of the benchmark of the product, and what it keeps."""

from pathlib import Path

import pytest

from bench.product.kept import Kept
from bench.product.options import parse


def test_left_out_everything_is_measured_three_times() -> None:
    options = parse(None, [])
    assert (options.rounds, options.sides, options.is_killed) == (3, None, True)
    assert tuple(options.plan.sizes_px) == (64, 128, 256, 512)
    assert options.plan.job(3, 512).steps == 2


def test_parts_can_be_chosen() -> None:
    chosen = ["--sizes", "64,256", "--queued", "none", "--sides", "ours,bare", "--steps", "3", "--no-kill"]
    options = parse(None, chosen)
    assert options.plan.sizes_px == (64, 256)
    assert options.plan.queued == ()
    assert options.sides == ("ours", "bare")
    assert {options.plan.job(1, size_px).steps for size_px in (64, 256)} == {3}
    assert not options.is_killed


def test_a_brief_look_is_one_job_of_each_side() -> None:
    options = parse(None, ["--brief"])
    assert (options.rounds, options.plan.jobs, options.plan.sizes_px) == (1, 1, (64,))


@pytest.mark.parametrize("words", ["--sides ours,nobody", "--sizes 65", "--sizes x", "--queued 0"])
def test_words_that_make_no_sense_are_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(None, words.split())
    assert words.split()[0] in capsys.readouterr().err


def test_what_was_measured_is_there_in_the_next_run(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    Kept.read(file).add("ours", 1, "start", {"start_s": 12.5})
    Kept.read(file).add("ours", 1, "queued_4", {"queued_4_jobs_per_s": 0.5})
    kept = Kept.read(file)
    assert kept.figures == {"ours": {1: {"start_s": 12.5, "queued_4_jobs_per_s": 0.5}}}
    assert kept.has("ours", 1, "start")
    assert not kept.has("ours", 0, "start")
    assert not kept.has("bare", 1, "start")


def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    kept = Kept.read(None)
    kept.add("bare", 0, "start", {"start_s": 1.0})
    assert kept.has("bare", 0, "start")
    assert list(tmp_path.iterdir()) == []
