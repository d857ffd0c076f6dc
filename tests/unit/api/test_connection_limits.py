"""Which connection has had its time, and which goes first when the server is full."""

import pytest

from api.http.framework.connection_limits import (
    FEWEST_CONNECTIONS,
    Capacity,
    Crowd,
    Deadlines,
    Doing,
    Standing,
    capacity_for,
    due_at,
    origin_of,
    whom_to_shed,
)

PATIENCE = Deadlines(head_s=20.0, idle_s=120.0, grace_s=30.0, bytes_per_s=1_000.0)
A, B = "192.0.2.1", "192.0.2.2"


def waiting(since: float, address: str = A) -> Standing:
    return Standing(address, Doing.WAITING, since)


@pytest.mark.parametrize(
    ("standing", "due"),
    [
        (Standing(A, Doing.WAITING, 100.0, is_new=True), 120.0),
        (Standing(A, Doing.WAITING, 100.0, is_new=True, head_since=115.0), 120.0),
        (Standing(A, Doing.WAITING, 100.0), 220.0),
        (Standing(A, Doing.WAITING, 100.0, head_since=150.0), 170.0),
        (Standing(A, Doing.RECEIVING, 100.0), 130.0),
        (Standing(A, Doing.RECEIVING, 100.0, moved_bytes=5_000), 135.0),
        (Standing(A, Doing.SENDING, 100.0, moved_bytes=5_000), 135.0),
        (Standing(A, Doing.WORKING, 100.0), None),
        (Standing(A, Doing.LEAVING, 100.0), 102.0),
    ],
)
def test_everything_but_work_has_its_time(standing: Standing, due: float | None) -> None:
    assert due_at(standing, PATIENCE) == due


def test_a_byte_a_second_wins_next_to_no_time() -> None:
    begun = 100.0
    received = 0
    while True:
        due = due_at(Standing(A, Doing.RECEIVING, begun, moved_bytes=received), PATIENCE)
        assert due is not None
        if begun + received >= due:
            break
        received += 1
    assert received == 31


def test_whoever_has_waited_longest_goes_first() -> None:
    standings = {"new": waiting(9.0), "old": waiting(1.0), "middle": waiting(5.0)}
    assert whom_to_shed(standings, 2, 10.0) == ["old", "middle"]


def test_a_head_that_dribbles_wins_no_time() -> None:
    standings = {
        "dribbling": Standing(A, Doing.WAITING, 1.0, head_since=9.0, is_new=True),
        "silent": waiting(2.0),
    }
    assert whom_to_shed(standings, 1, 10.0) == ["dribbling"]


def test_those_of_the_address_that_has_most_go_first() -> None:
    standings = {"lone": waiting(1.0, B), "one": waiting(8.0), "two": waiting(9.0)}
    assert whom_to_shed(standings, 3, 10.0) == ["one", "two", "lone"]


def test_who_is_worked_for_stays_and_the_slowest_of_those_that_move_go_last() -> None:
    standings = {
        "working": Standing(A, Doing.WORKING, 0.0),
        "fast": Standing(A, Doing.RECEIVING, 0.0, moved_bytes=9_000_000),
        "slow": Standing(A, Doing.SENDING, 0.0, moved_bytes=9),
        "just begun": Standing(A, Doing.RECEIVING, 9.0),
        "waiting": waiting(9.5),
    }
    assert whom_to_shed(standings, 9, 10.0) == ["waiting", "slow", "just begun", "fast"]


def test_nobody_goes_where_nobody_is() -> None:
    assert whom_to_shed({}, 5, 10.0) == []


@pytest.mark.parametrize(
    ("open_files", "total"),
    [(20_000, 4_096), (1_024, 330), (100, FEWEST_CONNECTIONS), (8_628, 4_096), (8_626, 4_095)],
)
def test_connections_leave_descriptors_for_files(open_files: int, total: int) -> None:
    found = capacity_for(Capacity(4_096, 3_072), open_files, threads=124 if open_files > 2_000 else 100)
    assert found.total == total
    assert found.per_address <= max(1, found.total * 3 // 4)


def test_one_address_leaves_room_for_others_whatever_is_configured() -> None:
    assert capacity_for(Capacity(1_000, 5_000), 20_000, 64) == Capacity(1_000, 750)
    assert capacity_for(Capacity(1_000, 100), 20_000, 64) == Capacity(1_000, 100)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("2001:db8:1:2:3::4", "2001:0db8:0001:0002"),
        ("2001:db8:1:2:ffff::9", "2001:0db8:0001:0002"),
        ("fe80::1%eth0", "fe80:0000:0000:0000"),
        ("", ""),
    ],
)
def test_a_network_of_ipv6_is_one_origin(address: str, origin: str) -> None:
    assert origin_of(address) == origin


def test_a_crowd_is_counted_by_address_and_forgets_who_has_gone() -> None:
    crowd = Crowd()
    for address in (A, A, B):
        crowd.enter(address)
    crowd.leave(A)
    crowd.leave(B)
    assert (crowd.total, crowd.of(A), crowd.of(B)) == (1, 1, 0)
