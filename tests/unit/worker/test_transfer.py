"""One file on its way in parts: what is asked for, what is appended, and what happens to lost parts."""

from random import Random

import pytest

from engine_worker.model_files.transfer import ASK_AGAIN_S, GIVE_UP_S, PART_BYTES, WINDOW, Ask, Transfer

FILE = bytes(range(251)) * 5_000
"""About five parts."""


def part(ask):
    return FILE[ask.offset : ask.offset + ask.size_bytes]


def test_a_window_of_parts_is_asked_for_and_each_that_comes_opens_the_next():
    transfer = Transfer(len(FILE), 0, now=0.0)
    asks = transfer.asks(0.0)
    assert [ask.offset for ask in asks] == [n * PART_BYTES for n in range(WINDOW)]
    assert not transfer.asks(0.1)
    assert transfer.arrived(0, part(asks[0]), 0.2) == [part(asks[0])]
    assert transfer.asks(0.3) == [Ask(WINDOW * PART_BYTES, len(FILE) - WINDOW * PART_BYTES)]


def test_what_is_there_is_not_asked_for_again():
    transfer = Transfer(len(FILE), 1_000, now=0.0)
    assert transfer.asks(0.0)[0].offset == 1_000
    assert Transfer(5, 5, now=0.0).is_complete
    assert Transfer(0, 0, now=0.0).is_complete


def test_only_what_continues_the_file_is_appended():
    transfer = Transfer(len(FILE), 0, now=0.0)
    first, second, third, _ = transfer.asks(0.0)
    assert transfer.arrived(third.offset, part(third), 1.0) == []
    assert transfer.arrived(second.offset, part(second), 1.0) == []
    assert transfer.done_bytes == 0
    assert transfer.arrived(first.offset, part(first), 1.0) == [part(first), part(second), part(third)]


def test_parts_that_were_not_asked_for_come_twice_or_are_cut_are_ignored():
    transfer = Transfer(len(FILE), 0, now=0.0)
    first, second, *_ = transfer.asks(0.0)
    assert transfer.arrived(7, b"x" * PART_BYTES, 1.0) == []
    assert transfer.arrived(first.offset, part(first)[:-1], 1.0) == []
    assert transfer.arrived(second.offset, part(second), 1.0) == []
    assert transfer.arrived(second.offset, b"y" * PART_BYTES, 1.0) == []
    assert transfer.arrived(first.offset, part(first), 1.0) == [part(first), part(second)]
    assert transfer.arrived(first.offset, part(first), 1.0) == []


def test_a_lost_part_is_asked_for_again_each_time_after_twice_as_long_but_not_too_long():
    transfer = Transfer(PART_BYTES, 0, now=0.0)
    (ask,) = transfer.asks(0.0)
    asked_at = []
    for tenth in range(1, 1_000):
        asked_at += [tenth / 10 for again in transfer.asks(tenth / 10) if again == ask]
    assert asked_at == [3.0, 9.0, 21.0, 41.0, 61.0, 81.0]


def test_a_part_that_came_before_a_lost_one_is_not_asked_for_again():
    transfer = Transfer(2 * PART_BYTES, 0, now=0.0)
    first, second = transfer.asks(0.0)
    transfer.arrived(second.offset, part(second), 1.0)
    assert transfer.asks(ASK_AGAIN_S) == [first]


def test_a_transfer_is_given_up_when_nothing_comes():
    transfer = Transfer(len(FILE), 0, now=0.0)
    (first, *_) = transfer.asks(0.0)
    transfer.arrived(first.offset, part(first), 50.0)
    assert not transfer.is_given_up(49.0 + GIVE_UP_S)
    assert transfer.next_deadline() <= 50.0 + GIVE_UP_S
    assert transfer.is_given_up(50.0 + GIVE_UP_S)


@pytest.mark.parametrize("seed", range(60))
def test_any_course_of_losses_delays_repetitions_and_restarts_ends_with_the_file(seed):
    random = Random(seed)
    written, now = bytearray(), 0.0
    on_the_way: list[Ask] = []
    transfer = Transfer(len(FILE), 0, now)
    for _ in range(10_000):
        if transfer.is_complete:
            break
        if random.random() < 0.02 or transfer.is_given_up(now):  # the worker dies, with what was on its way
            transfer, on_the_way = Transfer(len(FILE), len(written), now), []
        on_the_way += [ask for ask in transfer.asks(now) if random.random() > 0.2]
        random.shuffle(on_the_way)
        if on_the_way:
            ask = on_the_way[0] if random.random() < 0.1 else on_the_way.pop()
            for data in transfer.arrived(ask.offset, part(ask), now):
                written += data
            now += random.random()
        else:
            assert transfer.next_deadline() > now
            now = transfer.next_deadline()
        assert len(written) == transfer.done_bytes
        assert FILE.startswith(written)
        assert len(on_the_way) <= 4 * WINDOW
    assert bytes(written) == FILE
