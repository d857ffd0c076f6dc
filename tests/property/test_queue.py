"""The queue of an engine against lists sorted anew each time, and the turns of keys against their shares."""

from copy import deepcopy
from fractions import Fraction
from itertools import combinations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kernel.core.state.queue import JobQueue
from kernel.protocol.ids import JobId, KeyId

KEYS = (None, KeyId("anna"), KeyId("bert"), KeyId("carl"))
ROUNDING = Fraction(1, 10**6)

weights = st.sampled_from([1, 2, 3, 7, 1000])


class QueueAgainstLists(RuleBasedStateMachine):
    """Keys whose jobs come, are given out, cancelled, moved, and come back."""

    def __init__(self):
        super().__init__()
        self.queue = JobQueue()
        self.weights: dict[KeyId | None, int] = dict.fromkeys(KEYS, 1)
        self.waiting: dict[JobId, tuple[int, int]] = {}
        self.left: dict[JobId, tuple[int, int]] = {}
        self.key_of: dict[JobId, KeyId | None] = {}
        self.turns: dict[frozenset[KeyId | None], dict[KeyId | None, int]] = {}
        """Of two keys: the turns of each since both have had waiting jobs all the time."""
        self.arrivals = 0

    @initialize(drawn=st.tuples(weights, weights, weights))
    def keys_have_weights(self, drawn):
        self.weights.update(zip(KEYS[1:], drawn, strict=True))

    @rule(jobs=st.lists(st.tuples(st.sampled_from(KEYS), st.integers(-2, 2)), min_size=1, max_size=60))
    def jobs_arrive(self, jobs):
        for key_id, priority in jobs:
            self.arrivals += 1
            job_id = JobId(f"job-{self.arrivals}")
            self.key_of[job_id] = key_id
            self.put(job_id, priority, self.arrivals)
        assert self.queue.ahead_of_newest(priority, key_id) == self.turns_before(job_id)

    def put(self, job_id, priority, seq):
        key_id = self.key_of[job_id]
        self.queue.put(job_id, priority, seq, key_id, self.weights[key_id])
        self.waiting[job_id] = (-priority, seq)

    def turns_before(self, job_id):
        queue = deepcopy(self.queue)
        number = 0
        while (first := queue.first()) != job_id:
            queue.take(first)
            number += 1
        return number

    @precondition(lambda self: self.waiting)
    @rule(times=st.integers(1, 40))
    def jobs_are_given_out(self, times):
        for _ in range(min(times, len(self.waiting))):
            job_id = self.queue.first()
            self.queue.take(job_id)
            self.left[job_id] = self.waiting.pop(job_id)
            for pair, turns in self.turns.items():
                if self.key_of[job_id] in pair:
                    turns[self.key_of[job_id]] += 1
            self.keys_have_their_shares()

    @rule(key_id=st.sampled_from(KEYS[1:]), times=st.integers(1, 40))
    def jobs_are_given_out_while_a_key_has_enough(self, key_id, times):
        for _ in range(times):
            if (job_id := self.queue.first([key_id])) is None:
                break
            assert self.key_of[job_id] != key_id
            self.queue.take(job_id)
            self.left[job_id] = self.waiting.pop(job_id)
        self.queue.resume(key_id)
        self.turns.clear()

    @precondition(lambda self: self.waiting)
    @rule(number=st.integers(0, 1000))
    def job_is_taken_out_anywhere(self, number):
        job_id = list(self.waiting)[number % len(self.waiting)]
        self.queue.remove(job_id)
        self.left[job_id] = self.waiting.pop(job_id)

    @precondition(lambda self: self.waiting)
    @rule(number=st.integers(0, 1000), priority=st.integers(-3, 3), times=st.integers(1, 100))
    def job_is_moved(self, number, priority, times):
        job_id = list(self.waiting)[number % len(self.waiting)]
        for _ in range(times):
            self.put(job_id, priority, self.waiting[job_id][1])

    @precondition(lambda self: self.waiting)
    @rule(most=st.integers(1, 200))
    def many_jobs_are_taken_out_from_the_back(self, most):
        for job_id in sorted(self.waiting, key=self.waiting.__getitem__, reverse=True)[:most]:
            self.queue.remove(job_id)
            self.left[job_id] = self.waiting.pop(job_id)

    @precondition(lambda self: self.left)
    @rule(number=st.integers(0, 1000))
    def job_comes_back_to_its_place(self, number):
        job_id = list(self.left)[number % len(self.left)]
        priority, seq = self.left.pop(job_id)
        self.put(job_id, -priority, seq)

    @rule(key_id=st.sampled_from(KEYS[1:]), weight=weights)
    def weight_is_changed(self, key_id, weight):
        self.weights[key_id] = weight
        self.queue.set_weight(key_id, weight)
        self.turns = {pair: turns for pair, turns in self.turns.items() if key_id not in pair}

    @invariant()
    def first_is_the_first_of_its_key(self):
        for blocked in ([], KEYS[:1], KEYS[2:], KEYS):
            able = [job_id for job_id in self.waiting if self.key_of[job_id] not in blocked]
            first = self.queue.first(blocked)
            if first is None:
                assert not able
            else:
                same = [job_id for job_id in able if self.key_of[job_id] == self.key_of[first]]
                assert first == min(same, key=self.waiting.__getitem__)
        assert set(self.queue) == set(self.waiting)
        assert len(self.queue) == len(self.waiting)
        assert not any(job_id in self.queue for job_id in self.left)

    @invariant()
    def keys_have_their_shares(self):
        there = {self.key_of[job_id] for job_id in self.waiting}
        assert {key_id for key_id in KEYS[1:] if self.queue.has_key(key_id)} == there - {None}
        pairs = {frozenset(pair) for pair in combinations(KEYS, 2) if there.issuperset(pair)}
        self.turns = {pair: self.turns.get(pair) or dict.fromkeys(pair, 0) for pair in pairs}
        for turns in self.turns.values():
            one, other = (Fraction(number, self.weights[key_id]) for key_id, number in turns.items())
            most = sum(Fraction(1, self.weights[key_id]) for key_id in turns)
            assert abs(one - other) <= most + ROUNDING, turns

    @invariant()
    def memory_does_not_grow_with_what_has_left(self):
        assert len(self.queue._lines) <= len(KEYS)
        for line in self.queue._lines.values():
            assert len(line._heap) <= 66 + 5 * len(line.places) + len(self.left)

    def teardown(self):
        while (job_id := self.queue.first()) is not None:
            self.queue.take(job_id)
            del self.waiting[job_id]
            self.keys_have_their_shares()
        assert not self.waiting
        assert len(self.queue) == 0


TestQueue = QueueAgainstLists.TestCase


def served(queue: JobQueue) -> list[JobId]:
    order = []
    while (job_id := queue.first()) is not None:
        queue.take(job_id)
        order.append(job_id)
    return order


def test_without_keys_the_order_is_priority_then_arrival():
    queue = JobQueue()
    for seq, priority in enumerate([0, 2, 0, 1, 2]):
        queue.put(JobId(f"{seq}"), priority, seq)
    assert served(queue) == ["1", "4", "3", "0", "2"]


def test_one_job_does_not_wait_for_the_thousand_of_another_key():
    queue = JobQueue()
    for seq in range(1000):
        queue.put(JobId(f"bulk-{seq}"), 9, seq, KeyId("bulk"))
    queue.take(JobId("bulk-0"))
    queue.put(JobId("single"), 0, 1000, KeyId("single"))
    assert served(queue).index(JobId("single")) <= 1


def test_who_asks_for_one_at_a_time_gets_no_more_than_their_share():
    queue = JobQueue()
    for seq in range(100):
        queue.put(JobId(f"bulk-{seq}"), 0, seq, KeyId("bulk"))
    own = 0
    for seq in range(100, 150):
        if not queue.has_key(KeyId("eager")):
            queue.put(JobId(f"eager-{seq}"), 0, seq, KeyId("eager"))
        job_id = queue.first()
        assert job_id is not None
        queue.take(job_id)
        own += job_id.startswith("eager")
    assert own == 25


def test_jobs_that_are_cancelled_behind_one_that_waits_leave_nothing_behind():
    queue = JobQueue()
    queue.put(JobId("patient"), priority=1, seq=0)
    for number in range(1, 10_000):
        queue.put(JobId(f"job-{number}"), priority=0, seq=number)
        queue.remove(JobId(f"job-{number}"))
    assert len(queue._lines[None]._heap) < 100
    assert queue.first() == "patient"
