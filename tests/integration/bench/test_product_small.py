"""The benchmark of the product in miniature: the real server, its real worker, and the bare loop."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bench.product.bare import Bare
from bench.product.checkpoint import Checkpoint, write
from bench.product.gate import References
from bench.product.job import numbered
from bench.product.killed import JOBS, killed
from bench.product.measure import Plan, measure
from bench.product.ours import Ours
from bench.product.sides import Side, own_sides
from engine_worker.embedded.random_checkpoint import small_architecture
from kernel.protocol.enums import ModelBase

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(300)]

PLAN = Plan(sizes_px=(64,), steps={64: 2}, jobs=1, queued=(2,), memory_bytes=1)


@pytest.fixture(scope="module")
def small() -> Iterator[Checkpoint]:
    """A checkpoint with the picture of the bare loop beside it; a short path, for there are sockets below."""
    with TemporaryDirectory(prefix="spoon-") as name:
        checkpoint = Checkpoint(Path(name))
        write(checkpoint, small_architecture(ModelBase.SD))
        References(checkpoint).ensure([PLAN.job(0, 64)], checkpoint.folder)
        yield checkpoint


def test_both_sides_make_the_same_picture_and_are_measured(small: Checkpoint) -> None:
    for side in own_sides(small):
        side.kind.prepare(small.folder)
        parts = PLAN.parts(side)
        found = dict(measure(side, small.file, small.folder, PLAN, parts))
        assert list(found) == parts
        job = found["one_job_64px"]
        assert job["one_job_64px_s"] > 0
        assert job["one_job_64px_cpu_s"] > 0
        assert job["one_job_64px_memory_mb"] > 100


@pytest.mark.exhaustive
def test_another_picture_than_the_bare_loops_ends_the_benchmark(small: Checkpoint) -> None:
    wrong = Side(Bare(small), lambda picture, job: References(small).check(picture, numbered(0, 64, 2)))
    plan = Plan(sizes_px=(), steps={64: 3}, jobs=1, queued=(), memory_bytes=1)
    with pytest.raises(SystemExit, match="gate failed"):
        list(measure(wrong, small.file, small.folder, plan, ["start"]))


def test_nothing_of_our_queue_is_lost_when_every_process_is_killed(small: Checkpoint) -> None:
    ours = Ours(small)
    ours.prepare(small.folder)
    assert killed(ours, small.folder) == {"killed_jobs": JOBS, "killed_lost": 0}
