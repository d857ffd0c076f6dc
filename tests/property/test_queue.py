"""The queue of jobs against a list that is sorted anew each time."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kernel.core.state.queue import JobQueue
from kernel.protocol.ids import JobId


class QueueAgainstList(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.queue = JobQueue()
        self.waiting: dict[JobId, tuple[int, int]] = {}
        self.left: dict[JobId, tuple[int, int]] = {}
        self.arrivals = 0

    @rule(priorities=st.lists(st.integers(-2, 2), min_size=1, max_size=60))
    def jobs_arrive(self, priorities):
        for priority in priorities:
            self.arrivals += 1
            self.put(JobId(f"job-{self.arrivals}"), priority, self.arrivals)

    def put(self, job_id, priority, seq):
        self.queue.put(job_id, priority, seq)
        self.waiting[job_id] = (-priority, seq)

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

    @invariant()
    def first_is_the_first(self):
        assert self.queue.first() == min(self.waiting, key=self.waiting.__getitem__, default=None)
        assert len(self.queue) == len(self.waiting)
        assert all(job_id in self.queue for job_id in self.waiting)
        assert not any(job_id in self.queue for job_id in self.left)

    @invariant()
    def newest_of_a_priority_knows_how_many_are_ahead(self):
        for priority in {-place[0] for place in self.waiting.values()}:
            ahead = sum(-other >= priority for other, _ in self.waiting.values()) - 1
            assert self.queue.ahead_of_newest(priority) == ahead

    @invariant()
    def memory_does_not_grow_with_what_has_left(self):
        assert len(self.queue._heap) <= 66 + 5 * len(self.waiting) + len(self.left)

    def teardown(self):
        order = sorted(self.waiting, key=self.waiting.__getitem__)
        for job_id in order:
            assert self.queue.first() == job_id
            self.queue.remove(job_id)
        assert self.queue.first() is None


TestQueue = QueueAgainstList.TestCase


def test_jobs_that_are_cancelled_behind_one_that_waits_leave_nothing_behind():
    queue = JobQueue()
    queue.put(JobId("patient"), priority=1, seq=0)
    for number in range(1, 10_000):
        queue.put(JobId(f"job-{number}"), priority=0, seq=number)
        queue.remove(JobId(f"job-{number}"))
    assert len(queue._heap) < 100
    assert queue.first() == "patient"
