"""The threads of requests: each pool has its own, and who would wait in vain is told so."""

import threading
from collections.abc import Callable, Iterator

import pytest

from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.thread_pools import Pool
from api.http.framework.threads import Threads
from kernel.protocol.errors import ManagerUnreachable, SpoonError

PATIENCE_S = 10.0
SHARES = dict.fromkeys(Pool, 1) | {Pool.ASK: 2}


class Visit:
    """A request that lasts until it is let go."""

    def __init__(self, pool: Pool, work: Callable[[], object] = lambda: None) -> None:
        self._pool = pool
        self._work = work
        self.begun, self.go, self.done = threading.Event(), threading.Event(), threading.Event()
        self.refusal: SpoonError | None = None
        self.is_cancelled = False

    def pool(self) -> Pool:
        return self._pool

    def refuse(self, error: SpoonError) -> None:
        self.refusal = error

    def service(self) -> None:
        if self.refusal is None:
            self._work()
            self.begun.set()
            self.go.wait(PATIENCE_S)
        self.done.set()

    def cancel(self) -> None:
        self.is_cancelled = True


class Silence:
    is_silent = False

    def __call__(self) -> bool:
        return self.is_silent


@pytest.fixture
def silence() -> Silence:
    return Silence()


@pytest.fixture
def visits() -> Iterator[list[Visit]]:
    made: list[Visit] = []
    yield made
    for visit in made:
        visit.go.set()


@pytest.fixture
def threads(silence: Silence, visits: list[Visit]) -> Iterator[Threads]:
    made = Threads(SHARES, silence)
    yield made
    for visit in visits:
        visit.go.set()
    assert made.shutdown(timeout=PATIENCE_S)


def begin(
    threads: Threads, visits: list[Visit], pool: Pool, work: Callable[[], object] = lambda: None
) -> Visit:
    visit = Visit(pool, work)
    visits.append(visit)
    threads.add_task(visit)
    return visit


def test_a_full_pool_keeps_no_thread_from_another(threads: Threads, visits: list[Visit]) -> None:
    asks = [begin(threads, visits, Pool.ASK) for _ in range(10)]
    assert all(ask.begun.wait(PATIENCE_S) for ask in asks[:2])
    for pool in (Pool.QUICK, Pool.READ):
        assert begin(threads, visits, pool).begun.wait(PATIENCE_S)
    assert not any(ask.begun.is_set() for ask in asks[2:])
    asks[0].go.set()
    assert asks[2].begun.wait(PATIENCE_S)


def test_who_takes_a_slot_makes_room_in_its_pool(threads: Threads, visits: list[Visit]) -> None:
    slots = ConcurrencyLimit(3)
    waits = [begin(threads, visits, Pool.READ, slots.take) for _ in range(3)]
    assert all(wait.begun.wait(PATIENCE_S) for wait in waits)
    reads = [begin(threads, visits, Pool.READ) for _ in range(2)]
    assert reads[0].begun.wait(PATIENCE_S)
    assert not reads[1].begun.is_set()


def test_who_gives_its_slot_back_counts_again(threads: Threads, visits: list[Visit]) -> None:
    slots = ConcurrencyLimit(1)

    def take_and_give_back() -> None:
        slots.take()
        slots.give_back()

    assert begin(threads, visits, Pool.READ, take_and_give_back).begun.wait(PATIENCE_S)
    late = begin(threads, visits, Pool.READ)
    assert begin(threads, visits, Pool.QUICK).begun.wait(PATIENCE_S)
    assert not late.begun.is_set()


def test_while_the_manager_is_silent_who_would_have_to_wait_is_refused(
    threads: Threads, visits: list[Visit], silence: Silence
) -> None:
    asks = [begin(threads, visits, Pool.ASK) for _ in range(3)]
    assert all(ask.begun.wait(PATIENCE_S) for ask in asks[:2])
    silence.is_silent = True
    late = begin(threads, visits, Pool.ASK)
    assert late.done.wait(PATIENCE_S)
    threads.refuse_waiting()
    assert asks[2].done.wait(PATIENCE_S)
    for refused in (late, asks[2]):
        assert isinstance(refused.refusal, ManagerUnreachable)
        assert refused.refusal.retry_after_s
    assert begin(threads, visits, Pool.READ).begun.wait(PATIENCE_S)


def test_while_the_manager_answers_nobody_is_refused(threads: Threads, visits: list[Visit]) -> None:
    asks = [begin(threads, visits, Pool.ASK) for _ in range(20)]
    threads.refuse_waiting()
    for ask in asks:
        ask.go.set()
        assert ask.done.wait(PATIENCE_S)
        assert ask.refusal is None


def test_a_request_that_fails_costs_no_thread(threads: Threads, visits: list[Visit]) -> None:
    def fail() -> None:
        raise ValueError("planted")

    for _ in range(5):
        begin(threads, visits, Pool.QUICK, fail)
    assert begin(threads, visits, Pool.QUICK).begun.wait(PATIENCE_S)


def test_threads_are_started_as_they_are_needed(threads: Threads, visits: list[Visit]) -> None:
    before = threading.active_count()
    for _ in range(50):
        visit = begin(threads, visits, Pool.ASK)
        visit.go.set()
        assert visit.done.wait(PATIENCE_S)
    assert threading.active_count() - before <= 2


def test_at_the_end_what_waits_is_dropped(silence: Silence) -> None:
    threads, working, late = Threads({Pool.ASK: 1}, silence), Visit(Pool.ASK), Visit(Pool.ASK)
    threads.add_task(working)
    assert working.begun.wait(PATIENCE_S)
    threads.add_task(late)
    assert not threads.shutdown(timeout=0.01)
    assert late.is_cancelled
    working.go.set()
