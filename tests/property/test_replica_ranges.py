"""The number of an engine's workers follows its queue, and does not swing while the queue stays as it is."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.core.actions import Action, LaunchWorker
from kernel.core.ports import Limits
from kernel.protocol import worker as wire
from kernel.protocol.ids import WorkerId
from kernel.protocol.values import ReplicaRange
from tests.unit.core.samples import device, heavy
from tests.unit.core.story import Story, only, orders_to

GB = 1_000_000_000
LIMITS = Limits(max_running=9, keep_alive_s=1e9, load_timeout_s=1e9)
LONGEST_S = 200
"""Longer than it takes to give back or add every worker of the largest range, with a queue as it is."""


@dataclass
class Engine:
    """An engine with a range, whose workers come up and leave at once, and step only as they are told to."""

    least: int
    most: int
    capacity: int
    free: int
    story: Story = field(init=False)
    drained: int = 0
    launched: int = 0

    def __post_init__(self):
        self.story = Story(heavy("four", 4 * GB), limits=LIMITS, devices=(device("cpu", self.free * 5 * GB),))
        replicas = ReplicaRange(min=self.least, max=self.most)
        self.engine_id = self.story.engine(start=True, checkpoint="four", replicas=replicas)
        self.settle()

    def follow(self, found: list[Action]) -> None:
        self.launched += len(only(found, LaunchWorker))
        for worker_id in list(self.workers):
            if wire.Drain() in orders_to(found, worker_id):
                self.drained += 1
        self.settle()

    def settle(self) -> None:
        while self.story.newcomers:
            self.story.up(self.capacity)
        for worker in list(self.workers.values()):
            if worker.is_asked_to_leave and not worker.slots:
                self.story.exits(worker.worker_id, "exit code 0")
        live = list(self.story.broker.world.engines[self.engine_id].live_workers)
        assert min(self.least, self.free) <= len(live) <= self.most

    @property
    def workers(self) -> dict[WorkerId, object]:
        return self.story.broker.world.workers

    def waits(self, seconds: int) -> None:
        for _ in range(seconds):
            self.follow(self.story.wait(1.0))

    def makes(self, number: int) -> None:
        for _ in range(number):
            held = [job_id for job_id in self.story.gives if job_id in self.story.broker.world.jobs]
            if held:
                self.story.make(held[0])
                self.settle()


events = st.lists(
    st.tuples(st.sampled_from(["submit", "make", "wait"]), st.integers(1, 30)), min_size=1, max_size=12
)


@settings(max_examples=settings().max_examples // 2)
@given(
    least=st.integers(1, 2),
    more=st.integers(0, 3),
    capacity=st.integers(1, 3),
    free=st.integers(2, 6),
    course=events,
)
def test_number_of_workers_does_not_swing_while_the_queue_stays_as_it_is(least, more, capacity, free, course):
    engine = Engine(least, least + more, capacity, free)
    for what, number in course:
        match what:
            case "submit":
                for _ in range(number):
                    engine.story.submit(engine.engine_id)
            case "make":
                engine.makes(number)
            case "wait":
                engine.waits(number)
    engine.launched = engine.drained = 0
    engine.waits(LONGEST_S)
    assert not (engine.launched and engine.drained)
    engine.launched = engine.drained = 0
    engine.waits(LONGEST_S)
    assert (engine.launched, engine.drained) == (0, 0), "it has come to rest"
