"""Room that requests share: only so much is in memory at once."""

import threading

import pytest

from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.memory_limiter import MemoryLimiter
from kernel.protocol.errors import TooManyRequests


def room(slots: int = 1, patience_s: float = 0.0) -> MemoryLimiter:
    return MemoryLimiter(10, ConcurrencyLimit(slots), "too many bodies", patience_s)


def test_what_has_no_room_waits_and_is_refused_when_there_is_none() -> None:
    bodies = room()
    with (
        bodies.holding(6),
        pytest.raises(TooManyRequests, match="too many bodies: try again later") as refusal,
        bodies.holding(5),
    ):
        pass
    assert refusal.value.retry_after_s is not None


def test_what_fits_beside_the_others_goes_in() -> None:
    bodies = room()
    with bodies.holding(6), bodies.holding(4), bodies.holding(0):
        assert bodies.held == 10
    assert bodies.held == 0


def test_what_weighs_more_than_the_room_has_it_alone() -> None:
    bodies = room()
    with bodies.holding(99):
        assert bodies.held == 10
        with pytest.raises(TooManyRequests), bodies.holding(1):
            pass


def test_nobody_waits_without_a_seat() -> None:
    bodies = room(slots=0, patience_s=60.0)
    with bodies.holding(10), pytest.raises(TooManyRequests), bodies.holding(1):
        pass


def test_room_comes_back_even_if_the_body_is_refused() -> None:
    bodies = room()
    for _ in range(3):
        with pytest.raises(ValueError, match="wrong"), bodies.holding(10):
            raise ValueError("wrong")


def test_who_gives_up_waiting_gives_the_slot_back_and_leaves_the_line() -> None:
    bodies = room(slots=1)
    with bodies.holding(10):
        for _ in range(3):
            with pytest.raises(TooManyRequests), bodies.holding(1):
                pass
    with bodies.holding(10):
        assert bodies.held == 10


def test_a_heavy_one_is_not_overtaken_for_ever_by_light_ones() -> None:
    bodies, order = room(slots=2, patience_s=60.0), list[int]()
    threads = [threading.Thread(target=_take, args=(bodies, weight, order)) for weight in (10, 1)]
    with bodies.holding(5):
        for waiting, thread in enumerate(threads, 1):
            thread.start()
            while bodies.waiting < waiting:
                thread.join(0.001)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == [10, 1]


def _take(bodies: MemoryLimiter, weight: int, order: list[int]) -> None:
    with bodies.holding(weight):
        order.append(weight)
