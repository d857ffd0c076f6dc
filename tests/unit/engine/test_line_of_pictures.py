"""Whose turn it is: seats, groups and jobs, without a single tensor."""

from hypothesis import given
from hypothesis import strategies as st

from engine_worker.engine.line import Admission, Group, Line, Place, call, finish, join, leave, next_group

SMALL, WIDE, TALL = Group(64, 64), Group(128, 64), Group(64, 128)


def pictures(admission: int, count: int, group: Group = SMALL) -> tuple[Place, ...]:
    return tuple(Place(Admission(admission), index, group) for index in range(count))


def call_next(line: Line, seats: int, most_rows: int | None = None) -> tuple[Line, tuple[Place, ...]]:
    group = next_group(line, seats)
    return (line, ()) if group is None else call(line, group, seats, most_rows)


def test_an_empty_line_calls_nobody() -> None:
    assert next_group(Line(), seats=4) is None


def test_all_that_can_share_a_call_are_called_together() -> None:
    places = pictures(1, 1) + pictures(2, 1)
    _, called = call_next(join(Line(), places), seats=4)
    assert called == places


def test_a_job_that_was_let_in_first_and_was_ready_last_sits_down_first() -> None:
    line, _ = call_next(join(Line(), pictures(1, 1)), seats=1)
    line = join(join(line, pictures(3, 1)), pictures(2, 2))
    line, called = call_next(leave(line, Admission(1)), seats=1)
    assert called == pictures(2, 1)
    assert line.waiting == pictures(2, 2)[1:] + pictures(3, 1)


def test_no_more_are_called_than_there_are_seats() -> None:
    _, called = call_next(join(Line(), pictures(1, 9)), seats=4)
    assert called == pictures(1, 4)


def test_who_is_seated_stays_seated_until_it_is_finished() -> None:
    line, first = call_next(join(Line(), pictures(1, 3)), seats=2)
    line, again = call_next(line, seats=2)
    assert first == again == pictures(1, 2)
    line, after = call_next(finish(line, first[0]), seats=2)
    assert after == pictures(1, 3)[1:]


def test_a_free_seat_goes_to_the_job_with_the_fewest_pictures_seated() -> None:
    line, seated = call_next(join(Line(), pictures(1, 9)), seats=2)
    line = finish(join(line, pictures(2, 1)), seated[0])
    _, called = call_next(line, seats=2)
    assert {place.admission for place in called} == {1, 2}


def test_a_group_that_is_new_is_called_next() -> None:
    line, _ = call_next(join(Line(), pictures(1, 2)), seats=2)
    _, called = call_next(join(line, pictures(2, 1, WIDE)), seats=2)
    assert called == pictures(2, 1, WIDE)


def test_groups_take_turns() -> None:
    line = join(Line(), pictures(1, 1) + pictures(2, 1, WIDE) + pictures(3, 1, TALL))
    groups = []
    for _ in range(6):
        line, called = call_next(line, seats=4)
        groups.append(called[0].group)
    assert groups == [SMALL, WIDE, SMALL, TALL, WIDE, SMALL]


def test_a_stream_of_short_jobs_of_another_size_does_not_hold_up_a_long_one() -> None:
    line = join(Line(), pictures(0, 1))
    calls_of_the_long_one = 0
    for newcomer in range(1, 21):
        line, called = call_next(join(line, pictures(newcomer, 1, WIDE)), seats=4)
        if called[0].group == SMALL:
            calls_of_the_long_one += 1
        else:
            for place in called:
                line = finish(line, place)
    assert calls_of_the_long_one >= 20 // 3


def test_a_job_that_leaves_takes_all_its_pictures_along() -> None:
    line, _ = call_next(join(Line(), pictures(1, 5) + pictures(2, 1)), seats=2)
    line = leave(line, Admission(1))
    assert line.waiting + line.seated == pictures(2, 1)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(1, 5), st.sampled_from([SMALL, WIDE, TALL])),
        st.tuples(st.just("leave"), st.integers(0, 5), st.none()),
        st.tuples(st.just("call"), st.integers(0, 3), st.none()),
    ),
    max_size=40,
)


@given(steps=STEPS, seats=st.integers(1, 4))
def test_every_picture_is_called_or_has_left_and_nobody_is_in_line_twice(
    steps: list[tuple[str, int, Group | None]], seats: int
) -> None:
    line, known, made, gone = Line(), set[Place](), set[Place](), set[int]()
    for admission, (what, number, group) in enumerate(steps):
        if what == "join" and group is not None:
            places = pictures(admission, number, group)
            known |= set(places)
            line = join(line, places)
        elif what == "leave":
            gone.add(number)
            line = leave(line, Admission(number))
        else:
            line, called = call_next(line, seats)
            assert len(called) <= seats
            assert len({place.group for place in called}) <= 1
            for place in called[:number]:
                made.add(place)
                line = finish(line, place)
        inside = line.waiting + line.seated
        assert len(inside) == len(set(inside))
    while line.waiting or line.seated:
        line, called = call_next(line, seats)
        assert called
        for place in called:
            made.add(place)
            line = finish(line, place)
    assert {place for place in known if place.admission not in gone} <= made


def test_a_call_takes_no_more_rows_than_it_may_and_the_rest_takes_turns() -> None:
    guided = tuple(Place(Admission(1), index, SMALL, rows=2) for index in range(3))
    line, first = call_next(join(Line(), guided), seats=4, most_rows=4)
    line, second = call_next(line, seats=4, most_rows=4)
    assert first == guided[:2]
    assert second == (guided[2], guided[0])
    assert call_next(line, seats=4, most_rows=1)[1] == (guided[1],)


def test_a_stream_of_groups_that_nobody_has_seen_before_holds_up_no_other() -> None:
    line, calls_of_the_old_one = join(Line(), pictures(0, 1)), 0
    for newcomer in range(1, 21):
        line, called = call_next(join(line, pictures(newcomer, 1, Group(64 + newcomer, 64))), seats=4)
        calls_of_the_old_one += called[0].group == SMALL
    assert calls_of_the_old_one >= 2
    assert len(line.last_turn) <= 21


def test_a_job_that_joins_a_known_group_brings_its_turn_forward_but_not_twice_in_a_row() -> None:
    line = join(Line(), pictures(0, 1) + pictures(1, 1, WIDE))
    for _ in range(3):
        line, called = call_next(line, seats=9)
    assert called == pictures(0, 1)
    groups = []
    for newcomer in range(2, 4):
        line, called = call_next(join(line, pictures(newcomer, 1)), seats=9)
        groups.append(called[0].group)
    assert groups == [SMALL, WIDE]


def test_a_job_of_many_pictures_is_new_only_once() -> None:
    line, groups = join(Line(), pictures(0, 9) + pictures(1, 9, WIDE)), []
    for _ in range(6):
        line, called = call_next(line, seats=2)
        groups.append(called[0].group)
        line = finish(line, called[0])
    assert groups == [SMALL, WIDE] * 3


def test_groups_that_left_are_forgotten() -> None:
    line = Line()
    for newcomer in range(5):
        line, called = call_next(join(line, pictures(newcomer, 1, Group(64 + newcomer, 64))), seats=4)
        line = finish(line, called[0])
    assert len(line.last_turn) == 1


GUESTS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 2)),
    min_size=1,
    max_size=12,
)


@given(guests=GUESTS, seats=st.integers(1, 4), most_rows=st.one_of(st.none(), st.integers(1, 6)))
def test_who_is_seated_never_waits_longer_than_all_others_take(
    guests: list[tuple[int, int, int, int, int]], seats: int, most_rows: int | None
) -> None:
    """Each guest: the moment it comes, its pictures, their steps, their group, and their rows."""
    line, steps, waited = Line(), dict[Place, int](), dict[Place, int]()
    for moment in range(21 + 12 * 3 * 6):
        for number, (comes_at, count, wanted, group, rows) in enumerate(guests):
            if comes_at == moment:
                places = tuple(
                    Place(Admission(number), index, Group(64 * group, 64), rows) for index in range(count)
                )
                line = join(line, places)
                steps |= dict.fromkeys(places, wanted)
        line, called = call_next(line, seats, most_rows)
        waited = {place: waited.get(place, 0) + 1 for place in line.seated if place not in called}
        # A turn of each group, each in as many calls as it has seats, and a new one before every one of them.
        assert all(wait <= 2 * 6 * seats for wait in waited.values())
        for place in called:
            steps[place] -= 1
            if not steps[place]:
                line = finish(line, place)
                del steps[place]
    assert not steps
