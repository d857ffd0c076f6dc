"""Ids that sort by the time at which they were made."""

import time
from threading import Thread
from uuid import RFC_4122, UUID

from kernel.protocol.uuid7 import Uuid7


def test_id_is_a_uuid_of_version_7():
    made = Uuid7()
    for _ in range(2_000):
        found = UUID(bytes=made.bytes())
        assert (found.version, found.variant) == (7, RFC_4122)


def test_text_is_what_uuid_would_write():
    text = Uuid7().text()
    assert str(UUID(text)) == text


def test_id_begins_with_the_time():
    before_ms = time.time_ns() // 1_000_000
    made_ms = int.from_bytes(Uuid7().bytes()[:6], "big")
    assert before_ms <= made_ms <= time.time_ns() // 1_000_000


def test_ids_rise_strictly_though_many_are_made_in_one_millisecond():
    made = Uuid7()
    found = [made.text() for _ in range(20_000)]
    assert found == sorted(set(found))


def test_threads_never_get_the_same_id():
    made = Uuid7()
    found: list[list[bytes]] = [[] for _ in range(4)]

    def draw(own: list[bytes]) -> None:
        own.extend(made.bytes() for _ in range(2_000))

    threads = [Thread(target=draw, args=(own,)) for own in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({name for own in found for name in own}) == 8_000
    assert all(own == sorted(own) for own in found)


def test_two_makers_share_no_noise():
    assert Uuid7().bytes()[8:] != Uuid7().bytes()[8:]
