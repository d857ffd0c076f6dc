"""Commands of a pool that hang: time is an argument here, so nobody waits for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.shell.launchers.command_worker import GIVE_UP_S, MOST_UNKNOWN, STEP_S, CommandWorker
from kernel.shell.launchers.commands import Commands
from kernel.shell.launchers.driver_messages import Running
from tests.acceptance.patience import wait_for

HANGS = ("sleep", "600")
RUNS = ("echo", "running")


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[CommandWorker]]:
    """Those that are still there in the end are killed, and end."""
    made: list[CommandWorker] = []
    yield made
    for worker in made:
        worker.kill()
        worker.tend(1e9)
        worker.tend(2e9)


def worker_of(workers: list[CommandWorker], folder: Path, **commands: object) -> CommandWorker:
    given = {"start": ("true",), "poll": (), "stop": (), "kill": (), "poll_every_s": 1.0} | commands
    workers.append(CommandWorker("w1", Commands(**given), folder / "w1.log", 0.0))
    return workers[-1]


def test_a_poll_that_hangs_is_ended_and_says_nothing(workers, tmp_path: Path) -> None:
    worker = worker_of(workers, tmp_path, poll=HANGS)
    worker._start.wait()
    assert worker.tend(1.0) == []
    assert worker.next_s() == 1.0 + STEP_S
    times = [1.0 + number * STEP_S for number in range(1, MOST_UNKNOWN + 1)]
    *before, last = [worker.tend(now_s) for now_s in times]
    assert before == [[]] * (MOST_UNKNOWN - 1)
    assert [report.status for report in last] == ["the poll command finds it no more"]


def test_a_stop_that_hangs_does_not_keep_kill_from_being_run(workers, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    worker = worker_of(workers, tmp_path, start=HANGS, stop=HANGS, kill=("touch", str(killed)))
    assert worker.tend(0.0) == [Running(name="w1")]
    worker.stop()
    worker.tend(1.0)
    worker.kill()
    worker.tend(1.0 + STEP_S)
    wait_for("the kill command was run", killed.exists)


def test_a_worker_that_still_runs_after_it_was_killed_is_given_up(workers, tmp_path: Path) -> None:
    worker = worker_of(workers, tmp_path, poll=RUNS, kill=("true",))
    worker._start.wait()
    assert wait_for("it is polled", lambda: worker.tend(1.0)) == [Running(name="w1")]
    worker.kill()
    worker.tend(10.0)
    last = worker.tend(10.0 + GIVE_UP_S)[-1]
    assert last.status == "given up: it did not end when it was killed"
