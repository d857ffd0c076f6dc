"""Whose turn it is: seats, groups and jobs, without a single tensor."""

from hypothesis import given
from hypothesis import strategies as st

from engine_worker.engine.sampling.batch_scheduler import (
    Admission,
    Group,
    Sample,
    SampleQueue,
    add,
    call,
    finish,
    next_group,
    remove,
)

SMALL, WIDE, TALL = Group(64, 64), Group(128, 64), Group(64, 128)


def pictures(admission: int, count: int, group: Group = SMALL) -> tuple[Sample, ...]:
    return tuple(Sample(Admission(admission), index, group) for index in range(count))


def call_next(
    queue: SampleQueue, slots: int, most_rows: int | None = None
) -> tuple[SampleQueue, tuple[Sample, ...]]:
    group = next_group(queue, slots)
    return (queue, ()) if group is None else call(queue, group, slots, most_rows)


def test_an_empty_line_calls_nobody() -> None:
    assert next_group(SampleQueue(), slots=4) is None


def test_all_that_can_share_a_call_are_called_together() -> None:
    samples = pictures(1, 1) + pictures(2, 1)
    _, called = call_next(add(SampleQueue(), samples), slots=4)
    assert called == samples


def test_a_job_that_was_let_in_first_and_was_ready_last_sits_down_first() -> None:
    queue, _ = call_next(add(SampleQueue(), pictures(1, 1)), slots=1)
    queue = add(add(queue, pictures(3, 1)), pictures(2, 2))
    queue, called = call_next(remove(queue, Admission(1)), slots=1)
    assert called == pictures(2, 1)
    assert queue.waiting == pictures(2, 2)[1:] + pictures(3, 1)


def test_no_more_are_called_than_there_are_seats() -> None:
    _, called = call_next(add(SampleQueue(), pictures(1, 9)), slots=4)
    assert called == pictures(1, 4)


def test_after_seats_were_taken_away_those_who_have_one_take_turns() -> None:
    queue, _ = call_next(add(SampleQueue(), pictures(1, 4)), slots=4)
    queue, first = call_next(queue, slots=2)
    _, second = call_next(queue, slots=2)
    assert {*first, *second} == {*pictures(1, 4)}
    assert (len(first), len(second)) == (2, 2)


def test_who_is_seated_stays_seated_until_it_is_finished() -> None:
    queue, first = call_next(add(SampleQueue(), pictures(1, 3)), slots=2)
    queue, again = call_next(queue, slots=2)
    assert first == again == pictures(1, 2)
    queue, after = call_next(finish(queue, first[0]), slots=2)
    assert after == pictures(1, 3)[1:]


def test_a_free_seat_goes_to_the_job_with_the_fewest_pictures_seated() -> None:
    queue, in_slots = call_next(add(SampleQueue(), pictures(1, 9)), slots=2)
    queue = finish(add(queue, pictures(2, 1)), in_slots[0])
    _, called = call_next(queue, slots=2)
    assert {sample.admission for sample in called} == {1, 2}


def test_a_group_that_is_new_is_called_next() -> None:
    queue, _ = call_next(add(SampleQueue(), pictures(1, 2)), slots=2)
    _, called = call_next(add(queue, pictures(2, 1, WIDE)), slots=2)
    assert called == pictures(2, 1, WIDE)


def test_groups_take_turns() -> None:
    queue = add(SampleQueue(), pictures(1, 1) + pictures(2, 1, WIDE) + pictures(3, 1, TALL))
    groups = []
    for _ in range(6):
        queue, called = call_next(queue, slots=4)
        groups.append(called[0].group)
    assert groups == [SMALL, WIDE, SMALL, TALL, WIDE, SMALL]


def test_a_stream_of_short_jobs_of_another_size_does_not_hold_up_a_long_one() -> None:
    queue = add(SampleQueue(), pictures(0, 1))
    calls_of_the_long_one = 0
    for newcomer in range(1, 21):
        queue, called = call_next(add(queue, pictures(newcomer, 1, WIDE)), slots=4)
        if called[0].group == SMALL:
            calls_of_the_long_one += 1
        else:
            for sample in called:
                queue = finish(queue, sample)
    assert calls_of_the_long_one >= 20 // 3


def test_a_job_that_leaves_takes_all_its_pictures_along() -> None:
    queue, _ = call_next(add(SampleQueue(), pictures(1, 5) + pictures(2, 1)), slots=2)
    queue = remove(queue, Admission(1))
    assert queue.waiting + queue.in_slots == pictures(2, 1)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(1, 5), st.sampled_from([SMALL, WIDE, TALL])),
        st.tuples(st.just("leave"), st.integers(0, 5), st.none()),
        st.tuples(st.just("call"), st.integers(0, 3), st.none()),
    ),
    max_size=40,
)


@given(steps=STEPS, slots=st.integers(1, 4))
def test_every_picture_is_called_or_has_left_and_nobody_is_in_line_twice(
    steps: list[tuple[str, int, Group | None]], slots: int
) -> None:
    queue, known, made, gone = SampleQueue(), set[Sample](), set[Sample](), set[int]()
    for admission, (what, number, group) in enumerate(steps):
        if what == "join" and group is not None:
            samples = pictures(admission, number, group)
            known |= set(samples)
            queue = add(queue, samples)
        elif what == "leave":
            gone.add(number)
            queue = remove(queue, Admission(number))
        else:
            queue, called = call_next(queue, slots)
            assert len(called) <= slots
            assert len({sample.group for sample in called}) <= 1
            for sample in called[:number]:
                made.add(sample)
                queue = finish(queue, sample)
        inside = queue.waiting + queue.in_slots
        assert len(inside) == len(set(inside))
    while queue.waiting or queue.in_slots:
        queue, called = call_next(queue, slots)
        assert called
        for sample in called:
            made.add(sample)
            queue = finish(queue, sample)
    assert {sample for sample in known if sample.admission not in gone} <= made


def test_a_call_takes_no_more_rows_than_it_may_and_the_rest_takes_turns() -> None:
    guided = tuple(Sample(Admission(1), index, SMALL, rows=2) for index in range(3))
    queue, first = call_next(add(SampleQueue(), guided), slots=4, most_rows=4)
    queue, second = call_next(queue, slots=4, most_rows=4)
    assert first == guided[:2]
    assert second == (guided[2], guided[0])
    assert call_next(queue, slots=4, most_rows=1)[1] == (guided[1],)


def test_a_stream_of_groups_that_nobody_has_seen_before_holds_up_no_other() -> None:
    queue, calls_of_the_old_one = add(SampleQueue(), pictures(0, 1)), 0
    for newcomer in range(1, 21):
        queue, called = call_next(add(queue, pictures(newcomer, 1, Group(64 + newcomer, 64))), slots=4)
        calls_of_the_old_one += called[0].group == SMALL
    assert calls_of_the_old_one >= 2
    assert len(queue.last_turn) <= 21


def test_a_job_that_joins_a_known_group_brings_its_turn_forward_but_not_twice_in_a_row() -> None:
    queue = add(SampleQueue(), pictures(0, 1) + pictures(1, 1, WIDE))
    for _ in range(3):
        queue, called = call_next(queue, slots=9)
    assert called == pictures(0, 1)
    groups = []
    for newcomer in range(2, 4):
        queue, called = call_next(add(queue, pictures(newcomer, 1)), slots=9)
        groups.append(called[0].group)
    assert groups == [SMALL, WIDE]


def test_a_job_of_many_pictures_is_new_only_once() -> None:
    queue, groups = add(SampleQueue(), pictures(0, 9) + pictures(1, 9, WIDE)), []
    for _ in range(6):
        queue, called = call_next(queue, slots=2)
        groups.append(called[0].group)
        queue = finish(queue, called[0])
    assert groups == [SMALL, WIDE] * 3


def test_groups_that_left_are_forgotten() -> None:
    queue = SampleQueue()
    for newcomer in range(5):
        queue, called = call_next(add(queue, pictures(newcomer, 1, Group(64 + newcomer, 64))), slots=4)
        queue = finish(queue, called[0])
    assert len(queue.last_turn) == 1


GUESTS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 2)),
    min_size=1,
    max_size=12,
)


@given(pending_jobs=GUESTS, slots=st.integers(1, 4), most_rows=st.one_of(st.none(), st.integers(1, 6)))
def test_who_is_seated_never_waits_longer_than_all_others_take(
    pending_jobs: list[tuple[int, int, int, int, int]], slots: int, most_rows: int | None
) -> None:
    """Each guest: the moment it comes, its pictures, their steps, their group, and their rows."""
    queue, steps, waited = SampleQueue(), dict[Sample, int](), dict[Sample, int]()
    for moment in range(21 + 12 * 3 * 6):
        for number, (comes_at, count, wanted, group, rows) in enumerate(pending_jobs):
            if comes_at == moment:
                samples = tuple(
                    Sample(Admission(number), index, Group(64 * group, 64), rows) for index in range(count)
                )
                queue = add(queue, samples)
                steps |= dict.fromkeys(samples, wanted)
        queue, called = call_next(queue, slots, most_rows)
        waited = {sample: waited.get(sample, 0) + 1 for sample in queue.in_slots if sample not in called}
        # A turn of each group, each in as many calls as it has seats, and a new one before every one of them.
        assert all(wait <= 2 * 6 * slots for wait in waited.values())
        for sample in called:
            steps[sample] -= 1
            if not steps[sample]:
                queue = finish(queue, sample)
                del steps[sample]
    assert not steps
