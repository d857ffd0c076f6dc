"""The timers against a dictionary that is searched anew each time."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kernel.core import due
from kernel.core.state.timers import Timers
from kernel.protocol.ids import EngineId, WorkerId

items = st.one_of(
    st.builds(due.Silence, st.sampled_from([WorkerId(name) for name in "abcd"])),
    st.builds(due.Kill, st.sampled_from([WorkerId(name) for name in "ab"])),
    st.builds(due.Relaunch, st.sampled_from([EngineId(name) for name in "ab"])),
    st.just(due.Housekeeping()),
)
times_s = st.integers(0, 20).map(float)


class TimersAgainstDictionary(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.timers = Timers()
        self.set: dict[due.Due, float] = {}

    @rule(item=items, when_s=times_s)
    def deadline_is_set(self, item, when_s):
        self.timers.set(item, when_s)
        self.set[item] = when_s

    @rule(item=items, when_s=times_s, times=st.integers(1, 200))
    def deadline_is_moved_many_times(self, item, when_s, times):
        for number in range(times):
            self.timers.set(item, when_s + number % 3)
            self.set[item] = when_s + number % 3

    @rule(item=items)
    def deadline_is_cleared(self, item):
        self.timers.clear(item)
        self.set.pop(item, None)

    @rule(now_s=times_s)
    def what_is_due_is_served_earliest_first(self, now_s):
        last_s = float("-inf")
        while (item := self.timers.pop_due(now_s)) is not None:
            when_s = self.set.pop(item)
            assert last_s <= when_s <= now_s
            last_s = when_s
        assert all(when_s > now_s for when_s in self.set.values())

    @invariant()
    def next_is_the_earliest(self):
        assert self.timers.next_s() == min(self.set.values(), default=None)
        for item in (due.Housekeeping(), due.Kill(WorkerId("a")), due.Silence(WorkerId("b"))):
            assert (item in self.timers) == (item in self.set)

    @invariant()
    def memory_does_not_grow_with_every_move(self):
        assert len(self.timers._heap) <= 65 + 4 * (len(self.set) + 8)


TestTimers = TimersAgainstDictionary.TestCase


def test_deadlines_at_one_moment_are_served_in_the_order_in_which_they_were_set():
    timers = Timers()
    names = [WorkerId(f"w{number}") for number in range(50)]
    for name in names:
        timers.set(due.Kill(name), 1.0)
    served = [timers.pop_due(1.0) for _ in names]
    assert served == [due.Kill(name) for name in names]
