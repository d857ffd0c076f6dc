"""The mailbox: nothing is lost, and its bell rings while something is in it."""

import select
from threading import Thread

from kernel.process.wakeup import PollableQueue


def is_ringing(queue: PollableQueue[int]) -> bool:
    return bool(select.select([queue], [], [], 0)[0])


def test_what_is_put_in_is_taken_in_order_and_the_bell_falls_silent() -> None:
    queue: PollableQueue[int] = PollableQueue()
    assert not is_ringing(queue)
    for number in range(3):
        queue.put(number)
    assert is_ringing(queue)
    assert queue.take_all() == [0, 1, 2]
    assert not is_ringing(queue)
    assert queue.take_all() == []


def test_nothing_is_lost_between_threads() -> None:
    queue: PollableQueue[int] = PollableQueue()

    def put_all() -> None:
        for number in range(500):
            queue.put(number)

    threads = [Thread(target=put_all) for _ in range(3)]
    for thread in threads:
        thread.start()
    taken: list[int] = []
    while len(taken) < 1500:
        assert select.select([queue], [], [], 5)[0], "the bell does not ring though something must come"
        taken += queue.take_all()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted([*range(500)] * 3)
