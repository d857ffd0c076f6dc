"""Standby workers: when one is started, when all are let go, and what their deaths cost."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from kernel.shell.launchers.standby import (
    BUSY_S,
    FIRST_PAUSE_S,
    LOOK_S,
    OWN_BYTES,
    Standby,
    Standbys,
    StandbyTerms,
)

LEAST = 1 << 30
PLENTY = LEAST + OWN_BYTES


@dataclass
class Host:
    """Starts processes that end with their pipe, and says how much memory is left."""

    available: int | None = PLENTY
    error: OSError | None = None
    started: list[Standby] = field(default_factory=list)

    def start(self, name: str) -> Standby:
        if self.error is not None:
            raise self.error
        reader, writer = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=reader, close_fds=True
        )
        os.close(reader)
        self.started.append(Standby(name, process, writer))
        return self.started[-1]

    def kept(self, count: int = 1) -> Standbys:
        return Standbys(StandbyTerms(count, LEAST), self.start, lambda: self.available)

    def kill(self, number: int) -> None:
        self.started[number].process.kill()
        self.started[number].process.wait()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    for standby in host.started:
        standby.process.kill()
        standby.process.wait()


def tend(standbys: Standbys, now_s: float, *, is_loading: bool = False, is_busy: bool = False) -> int:
    """Returns: how many wait afterwards."""
    standbys.tend(now_s, is_loading=is_loading, is_busy=is_busy)
    return len(standbys.pids())


def test_as_many_are_started_as_are_wanted_and_no_more(host: Host) -> None:
    standbys = host.kept(2)
    assert [tend(standbys, now_s) for now_s in (0, 0, LOOK_S, 2 * LOOK_S)] == [1, 2, 2, 2]
    assert standbys.next_deadline_s() is None
    standbys.end()


def test_with_none_wanted_there_is_nothing_to_do(host: Host) -> None:
    standbys = host.kept(0)
    assert not standbys.is_due(1e9)
    assert tend(standbys, 0) == 0
    assert standbys.take() is None


def test_one_that_is_taken_is_replaced_when_no_engine_loads_and_no_job_is_made(host: Host) -> None:
    standbys = host.kept()
    tend(standbys, 0)
    taken = standbys.take()
    assert taken is host.started[0]
    assert taken.process.poll() is None
    assert tend(standbys, 1, is_loading=True) == 0
    assert standbys.next_deadline_s() is None, "the end of loading is news"
    assert tend(standbys, 2, is_busy=True) == 0
    assert tend(standbys, 3) == 1
    os.close(taken.writer)
    standbys.end()


def test_beside_jobs_that_do_not_end_one_is_started_after_a_while(host: Host) -> None:
    standbys = host.kept()
    assert tend(standbys, 5, is_busy=True) == 0
    assert standbys.next_deadline_s() == 5 + BUSY_S
    assert tend(standbys, 5 + BUSY_S, is_busy=True) == 1
    standbys.end()


def test_where_memory_is_scarce_none_is_started(host: Host) -> None:
    host.available = PLENTY - 1
    standbys = host.kept()
    assert tend(standbys, 0) == 0
    host.available = PLENTY
    assert tend(standbys, LOOK_S) == 1
    standbys.end()


def test_where_nobody_knows_the_memory_one_is_started(host: Host) -> None:
    host.available = None
    standbys = host.kept()
    assert tend(standbys, 0) == 1
    standbys.end()


def test_when_memory_becomes_scarce_those_that_wait_are_let_go(host: Host) -> None:
    standbys = host.kept()
    tend(standbys, 0)
    host.available = LEAST - 1
    assert tend(standbys, LOOK_S) == 0
    assert host.started[0].process.wait(20) != 0


def test_the_end_lets_all_go_and_starts_none(host: Host) -> None:
    standbys = host.kept()
    tend(standbys, 0)
    standbys.end()
    assert host.started[0].process.wait(20) != 0
    assert tend(standbys, 1e6) == 0
    assert standbys.next_deadline_s() is None


def test_one_that_dies_is_replaced_after_pauses_that_double(host: Host) -> None:
    standbys = host.kept()
    now_s, pauses_s = 0.0, []
    for number in range(3):
        assert tend(standbys, now_s) == 1
        host.kill(number)
        standbys.poll(now_s)
        assert tend(standbys, now_s) == 0
        deadline_s = standbys.next_deadline_s()
        assert deadline_s is not None
        pauses_s.append(deadline_s - now_s)
        now_s = deadline_s
    assert pauses_s == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]


def test_a_dead_one_is_given_to_nobody(host: Host) -> None:
    standbys = host.kept(2)
    tend(standbys, 0)
    tend(standbys, 0)
    host.kill(0)
    taken = standbys.take()
    assert taken is host.started[1]
    assert standbys.take() is None
    os.close(taken.writer)


def test_one_that_cannot_be_started_is_tried_again_later(host: Host) -> None:
    host.error = FileNotFoundError("no such program")
    standbys = host.kept()
    assert tend(standbys, 0) == 0
    assert standbys.next_deadline_s() == FIRST_PAUSE_S
    host.error = None
    assert tend(standbys, FIRST_PAUSE_S) == 1
    standbys.end()
