"""The peers of the benchmark of the product: what they are asked, against servers that speak as they do."""

import sys
from pathlib import Path

import pytest

from bench.product.checkpoint import Checkpoint
from bench.product.counters import pids_below, usage_below
from bench.product.gate import check_picture, distance
from bench.product.job import Job, numbered
from bench.product.killed import JOBS, killed
from bench.product.measure import Plan, measure
from bench.product.servers import JobLost, QueueKind, running
from bench.product.sides import Side, peers, sides_of

FAKE = Path(__file__).with_name("fake_peer.py")
JOB = numbered(0, 64, 8)


def installed(folder: Path) -> dict[str, str]:
    """An environment in which both peers are there."""
    program = folder / "bin" / "sd-server"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" sd_cpp "$@"\n')
    program.chmod(0o755)
    sources = folder / "sources"
    sources.mkdir()
    command = f"[sys.executable, {str(FAKE)!r}, 'comfyui', *sys.argv[1:]]"
    (sources / "main.py").write_text(f"import os, sys\nos.execv(sys.executable, {command})\n")
    return {"BENCH_SD_SERVER": str(program), "BENCH_COMFYUI": str(sources)}


@pytest.fixture(params=["sd_cpp", "comfyui"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Side:
    checkpoint = Checkpoint(tmp_path / "cache")
    checkpoint.folder.mkdir()
    checkpoint.file.write_bytes(b"weights")
    (tmp_path / "run").mkdir()
    (found,) = (one for one in peers(checkpoint, installed(tmp_path)) if one.kind.name == request.param)
    found.kind.prepare(tmp_path / "run")
    return found


def queue_of(side: Side) -> QueueKind:
    assert side.queue is not None
    return side.queue


def test_a_picture_is_made_as_asked(side: Side, tmp_path: Path) -> None:
    with running(side.kind, tmp_path / "run") as server:
        first, second = server.make(JOB), server.make(numbered(1, 64, 8))
    check_picture(first, JOB)
    assert distance(first, second) > 1


def test_a_job_that_failed_is_lost(side: Side, tmp_path: Path) -> None:
    with running(side.kind, tmp_path / "run") as server, pytest.raises(JobLost):
        server.make(Job("fail", 1, 64, 8))


def test_everything_is_measured(side: Side, tmp_path: Path) -> None:
    plan = Plan(sizes_px=(64,), steps={64: 8}, jobs=2, queued=(4,), memory_bytes=1)
    parts = plan.parts(side)
    assert parts == ["start", "one_job_64px", "queued_4"]
    file = tmp_path / "cache" / "sd15-random.safetensors"
    found = dict(measure(side, file, tmp_path / "run", plan, parts))
    assert list(found) == parts
    assert found["start"]["start_s"] >= found["one_job_64px"]["one_job_64px_s"] > 0
    assert found["queued_4"]["queued_4_jobs_per_s"] > 0


def test_a_queue_in_memory_is_lost_when_its_server_is_killed(side: Side, tmp_path: Path) -> None:
    assert killed(queue_of(side), tmp_path / "run") == {"killed_jobs": JOBS, "killed_lost": JOBS}


def test_a_server_is_gone_when_its_block_ends(side: Side, tmp_path: Path) -> None:
    with running(side.kind, tmp_path / "run") as server:
        assert pids_below(server.process.pid) == [server.process.pid]
        assert usage_below(server.process.pid).faults > 0
        assert usage_below(server.process.pid, "no such word").faults == 0
    assert server.process.returncode is not None
    assert pids_below(server.process.pid) == []


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    environ = installed(tmp_path)
    Path(environ["BENCH_SD_SERVER"]).write_text("#!/bin/sh\necho no such model\nexit 1\n")
    (found,) = (one for one in peers(Checkpoint(tmp_path), environ) if one.kind.name == "sd_cpp")
    with pytest.raises(SystemExit, match="no such model"):
        found.kind.start(tmp_path)


def test_only_what_is_there_is_compared(tmp_path: Path) -> None:
    nothing = {"BENCH_SD_SERVER": str(tmp_path / "none"), "BENCH_COMFYUI": str(tmp_path)}
    assert [side.kind.name for side in sides_of(None, Checkpoint(tmp_path), nothing)] == ["ours", "bare"]
    with pytest.raises(SystemExit, match="BENCH_COMFYUI"):
        sides_of(["ours", "comfyui"], Checkpoint(tmp_path), nothing)
