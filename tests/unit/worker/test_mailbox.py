"""The mailbox: nothing is lost, and its bell rings while something is in it."""

import select
from threading import Thread

from engine_worker.mailbox import Mailbox


def is_ringing(mailbox: Mailbox[int]) -> bool:
    return bool(select.select([mailbox], [], [], 0)[0])


def test_what_is_put_in_is_taken_in_order_and_the_bell_falls_silent() -> None:
    mailbox: Mailbox[int] = Mailbox()
    assert not is_ringing(mailbox)
    for number in range(3):
        mailbox.put(number)
    assert is_ringing(mailbox)
    assert mailbox.take_all() == [0, 1, 2]
    assert not is_ringing(mailbox)
    assert mailbox.take_all() == []


def test_nothing_is_lost_between_threads() -> None:
    mailbox: Mailbox[int] = Mailbox()

    def put_all() -> None:
        for number in range(500):
            mailbox.put(number)

    threads = [Thread(target=put_all) for _ in range(3)]
    for thread in threads:
        thread.start()
    taken: list[int] = []
    while len(taken) < 1500:
        assert select.select([mailbox], [], [], 5)[0], "the bell does not ring though something must come"
        taken += mailbox.take_all()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted([*range(500)] * 3)
