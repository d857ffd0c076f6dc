"""Bodies while they come in: in memory, on the disk, and under one budget."""

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from errno import ENOSPC
from functools import partial
from io import BufferedRandom, FileIO
from pathlib import Path
from typing import IO

import pytest

from api.http.framework.bodies import BACKLOG_BYTES, IN_MEMORY_BYTES, MAX_FILES, Body, Budget, Writer
from kernel.protocol.errors import DiskFull, TooManyRequests

LONG = bytes(range(256)) * 128


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


WRITER = Writer()


@pytest.fixture(autouse=True, scope="module")
def _writer() -> Iterator[None]:
    yield
    WRITER.stop()


def idle_writer() -> None:
    """Wait until it has done all that it was asked for."""
    is_done = threading.Event()
    WRITER.start()
    WRITER.do(is_done.set)
    assert is_done.wait(20)


def body_of(budget: Budget, *pieces: bytes) -> Body:
    body = Body(budget, WRITER, lambda: None)
    for piece in pieces:
        body.append(piece)
    body.settle()
    return body


def test_a_short_body_is_no_file_and_no_part_of_the_budget(tmp_path: Path) -> None:
    budget = Budget(0, 0, str(tmp_path / "there is no such folder"))
    body = body_of(budget, b"one ", b"two")
    assert (body.failure, len(body), body.getfile().read()) == (None, 7, b"one two")
    body.close()


@pytest.mark.parametrize("size", [1_000, IN_MEMORY_BYTES, len(LONG)])
def test_a_long_body_is_read_as_it_came_and_gives_back_what_it_took(tmp_path: Path, size: int) -> None:
    budget = Budget(1 << 20, 0, str(tmp_path))
    body = body_of(budget, *[LONG[at : at + size] for at in range(0, len(LONG), size)])
    assert (budget.taken_bytes, len(body), body.getfile().read()) == (len(LONG), len(LONG), LONG)
    assert list(tmp_path.iterdir()) == []
    before = open_files()
    body.close()
    body.close()
    assert budget.taken_bytes == 0
    idle_writer()
    assert open_files() == before - 1


def test_what_the_budget_does_not_hold_is_refused_and_the_others_stay() -> None:
    budget = Budget(len(LONG) * 2, 0)
    with closing(body_of(budget, LONG)) as first:
        with closing(body_of(budget, LONG, b"x")) as second:
            assert first.failure is None
            assert isinstance(second.failure, TooManyRequests)
            assert second.failure.retry_after_s is not None
            second.append(LONG)
        assert budget.taken_bytes == len(LONG)
        with closing(body_of(budget, LONG)) as third:
            assert third.failure is None


def test_of_bodies_that_grow_together_so_many_come_in_as_have_room() -> None:
    """Who is refused makes room at once: not all of those fail that come next."""
    room, count, pieces = 4, 10, 8
    budget = Budget(room * pieces * len(LONG), 0)
    bodies = [body_of(budget) for _ in range(count)]
    for _ in range(pieces):
        for body in bodies:
            body.append(LONG)
    whole = [body for body in bodies if body.failure is None]
    assert len(whole) == room
    assert all(body.getfile().read() == LONG * pieces for body in whole)
    for body in bodies:
        body.close()
    assert budget.taken_bytes == 0


class SlowDisk(Budget):
    """Its first file opens only when it may."""

    def __init__(self) -> None:
        super().__init__(1 << 30, 0)
        self.may_open = threading.Event()

    def open(self) -> IO[bytes]:
        assert self.may_open.wait(20)
        return super().open()


def test_who_reads_from_the_sockets_never_waits_for_the_disk_and_is_told_when_it_goes_on() -> None:
    disk, is_woken = SlowDisk(), threading.Event()
    with closing(Body(disk, WRITER, is_woken.set)) as body:
        while not body.is_full:
            body.append(LONG)
        assert len(body) < BACKLOG_BYTES + len(LONG)
        assert not is_woken.is_set()
        disk.may_open.set()
        assert is_woken.wait(20)
        assert body.getfile().read() == LONG * (len(body) // len(LONG))
        assert not body.is_full


def test_a_writer_that_stops_first_does_what_it_was_asked_for() -> None:
    writer, done = Writer(), list[int]()
    writer.start()
    for number in range(3):
        writer.do(partial(done.append, number))
    writer.stop()
    assert done == [0, 1, 2]


def test_a_body_that_nobody_wants_any_more_is_not_waited_for() -> None:
    idle_writer()
    before = open_files()
    disk = SlowDisk()
    body = Body(disk, WRITER, lambda: None)
    body.append(LONG)
    body.close()
    body.settle()
    assert disk.taken_bytes == 0
    disk.may_open.set()
    idle_writer()
    assert open_files() == before


def test_there_are_only_so_many_files() -> None:
    budget = Budget(MAX_FILES * 2 * len(LONG), 0)
    bodies = [body_of(budget, LONG) for _ in range(MAX_FILES)]
    refused = body_of(budget, LONG)
    assert isinstance(refused.failure, TooManyRequests)
    for body in (refused, *bodies):
        body.close()
    assert budget.taken_bytes == 0
    body_of(budget, LONG).close()


def test_a_body_that_has_no_room_is_refused_by_its_length_alone() -> None:
    budget = Budget(1_000_000, 0)
    budget.check(1_000_000)
    with pytest.raises(TooManyRequests):
        budget.check(1_000_001)


class Disk:
    """A disk with little room, most of which is to stay free."""

    total, free = 10_000_000_000, 1_000_000_000


def test_a_disk_that_is_nearly_full_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.http.framework.bodies.shutil.disk_usage", lambda folder: Disk)
    Budget(1 << 40, 0).check(900_000_000)
    Budget(1 << 40, 500_000_000).check(400_000_000)
    with pytest.raises(DiskFull, match="500000000 must stay free"):
        Budget(1 << 40, 500_000_000).check(600_000_000)
    with pytest.raises(DiskFull, match="1000000000 must stay free"):
        Budget(1 << 40, 1 << 60).check(20_000)
    monkeypatch.setattr("api.http.framework.bodies.LOOK_EVERY_BYTES", len(LONG))
    with closing(body_of(Budget(1 << 40, 1 << 60), LONG)) as body:
        assert isinstance(body.failure, DiskFull)


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    with closing(body_of(Budget(1 << 20, 0, str(tmp_path / "none")), LONG)) as body:
        assert isinstance(body.failure, DiskFull)
        assert "No such file" in body.failure.detail


class SmallFile(FileIO):
    """A file on a disk that is full after so many bytes."""

    def write(self, data: bytes) -> int:
        if self.tell() + len(data) > IN_MEMORY_BYTES:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        return super().write(data)


class FullDisk(Budget):
    """Its files can be opened, and take as much as would have fit into memory."""

    def open(self) -> IO[bytes]:
        with super().open() as file:
            return BufferedRandom(SmallFile(os.dup(file.fileno()), "w+b"))


@pytest.mark.parametrize("more", [b"x", LONG])
def test_a_full_disk_is_told_while_the_body_comes_and_keeps_nothing_of_the_budget(more: bytes) -> None:
    budget = FullDisk(MAX_FILES * 2 * len(LONG), 0)
    for _ in range(MAX_FILES + 1):
        with closing(body_of(budget, LONG[:IN_MEMORY_BYTES], more)) as body:
            assert isinstance(body.failure, DiskFull)
            assert "No space left" in body.failure.detail
    assert budget.taken_bytes == 0


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="No such file"):
        Budget(1 << 20, 0, str(tmp_path / "none")).check(len(LONG))
