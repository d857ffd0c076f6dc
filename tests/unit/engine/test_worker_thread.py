"""A lane of work: in order, on a thread of its own, and it never holds up whoever closes it."""

from threading import Event, get_ident

import pytest
import torch

from engine_worker.engine.runtime.worker_thread import WorkerThread

pytestmark = pytest.mark.torch


def test_work_is_done_in_order_on_another_thread_before_close_returns() -> None:
    done: list[tuple[int, int]] = []
    lane: WorkerThread[int] = WorkerThread("test", lambda work: done.append((work, get_ident())))
    for work in range(100):
        lane.put(work)
    lane.close()
    assert [work for work, _ in done] == list(range(100))
    assert get_ident() not in {thread for _, thread in done}


def test_a_full_lane_makes_whoever_brings_more_wait() -> None:
    """One piece is in work and one waits: the third cannot be handed over until the door opens."""
    door, is_full, handed, done = Event(), Event(), list[int](), list[int]()

    def work_on(work: int) -> None:
        door.wait()
        done.append(work)

    inner: WorkerThread[int] = WorkerThread("inner", work_on, max_waiting=1)

    def hand_on(work: int) -> None:
        handed.append(work)
        if work == 2:
            is_full.set()
        inner.put(work)

    outer: WorkerThread[int] = WorkerThread("outer", hand_on)
    for work in range(5):
        outer.put(work)
    assert is_full.wait(30)
    assert (handed, done) == ([0, 1, 2], [])
    door.set()
    outer.close()
    inner.close()
    assert done == list(range(5))


def test_a_broken_device_ends_the_work_and_is_told_to_whoever_brings_more() -> None:
    begun, done = Event(), list[int]()

    def work_on(work: int) -> None:
        if work == 0:
            begun.wait()
            raise torch.AcceleratorError("the device is gone")
        done.append(work)

    lane: WorkerThread[int] = WorkerThread("test", work_on, max_waiting=1)
    lane.put(0)
    lane.put(1)
    begun.set()
    lane.close()
    with pytest.raises(torch.AcceleratorError):
        lane.put(2)
    assert done == []


def test_work_that_may_be_left_undone_is_not_waited_for() -> None:
    door, begun, done = Event(), Event(), list[int]()

    def work_on(work: int) -> None:
        begun.set()
        door.wait()
        done.append(work)

    lane: WorkerThread[int] = WorkerThread("test", work_on, max_waiting=1)
    lane.put(0)
    assert begun.wait(30)
    assert [lane.offer(work) for work in (1, 2)] == [True, False]
    door.set()
    lane.close()
    assert done == [0, 1]
