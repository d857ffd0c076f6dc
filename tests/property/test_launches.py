"""Launched workers of a pool in any course of events: never too many, none forgotten, none without a use."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kernel.core import due
from kernel.core.actions import Action, KillWorker, LaunchInPool, TerminateWorker
from kernel.core.admission import reconcile
from kernel.core.events import LaunchRan, LaunchWaited
from kernel.core.ports import Limits, PoolLimits
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import LaunchState
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import JobState
from kernel.protocol.ids import WorkerId
from tests.unit.core.samples import submit
from tests.unit.core.story import Story, only

MOST = 2
POOLS = {"lab": PoolLimits(max_workers=MOST, launch_timeout_s=50.0)}
CHANCE = st.integers(0, 1000)


class Launches(RuleBasedStateMachine):
    """Two engines of a pool, a launcher that does what it likes, and workers that join and die."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story(limits=replace(Limits(), pools=POOLS, keep_alive_s=20.0))
        self.token = self.story.token()
        spare = ({"name": "one"}, {"name": "two", "replicas": 2})
        self.engines = [self.story.engine(pool="lab", **fields) for fields in spare]
        self.running: set[WorkerId] = set()
        """The processes that the launcher has."""
        self.ending: set[WorkerId] = set()
        """Those that it was told to end."""
        self.seen: set[WorkerId] = set()

    def heard(self, found: list[Action]) -> None:
        """Carry out what the core asks for."""
        for action in found:
            match action:
                case LaunchInPool(name, pool):
                    assert pool == "lab"
                    assert name not in self.seen, "a name is used once"
                    self.seen.add(name)
                    self.running.add(name)
                case TerminateWorker(name) | KillWorker(name):
                    self.ending.add(name)
                case _:
                    pass

    def coming(self) -> list[WorkerId]:
        launches = self.story.broker.world.launches.values()
        return [one.name for one in launches if one.state is LaunchState.COMING]

    @rule(number=st.integers(0, 1))
    def submits(self, number: int) -> None:
        self.heard(self.story.ask_actions(submit(self.engines[number])))

    @precondition(lambda self: self.story.broker.world.jobs)
    @rule(which=CHANCE)
    def cancels(self, which: int) -> None:
        jobs = list(self.story.broker.world.jobs)
        self.heard(self.story.ask_actions(client.CancelJob(job_id=jobs[which % len(jobs)])))

    @rule(number=st.integers(0, 1))
    def stops(self, number: int) -> None:
        self.heard(self.story.ask_actions(client.StopEngine(engine_id=self.engines[number])))

    @precondition(lambda self: self.running)
    @rule(which=CHANCE, kind=st.sampled_from(["waits", "runs", "exits"]))
    def launcher_says(self, which: int, kind: str) -> None:
        name = sorted(self.running)[which % len(self.running)]
        if kind == "exits":
            self.running.discard(name)
            self.ending.discard(name)
            self.heard(self.story.exits(name, "exit code 1"))
        else:
            self.heard(self.story.tell(LaunchWaited(name, "full") if kind == "waits" else LaunchRan(name)))

    @precondition(lambda self: self.coming())
    @rule(which=CHANCE)
    def joins(self, which: int) -> None:
        names = self.coming()
        name = names[which % len(names)]
        self.heard(self.story.enrolls(self.token, f"?{name}", launch=name))
        assert self.story.keys[f"?{name}"] == name

    @rule(which=CHANCE)
    def other_joins(self, which: int) -> None:
        self.heard(self.story.enrolls(self.token, f"?own{which}"))

    @rule(which=CHANCE)
    def loads(self, which: int) -> None:
        workers = self.story.broker.world.workers.values()
        loading = [one.worker_id for one in workers if one.state is WorkerState.LOADING]
        if loading:
            self.heard(self.story.ready(loading[which % len(loading)]))

    @rule(which=CHANCE)
    def leaves(self, which: int) -> None:
        workers = self.story.broker.world.workers.values()
        asked = [one.worker_id for one in workers if one.is_asked_to_leave]
        if asked:
            name = asked[which % len(asked)]
            self.heard(self.story.say(name, wire.Goodbye(reason="it was asked to")))

    @rule(seconds=st.sampled_from([1.0, 15.0, 60.0]))
    def waits(self, seconds: float) -> None:
        self.heard(self.story.wait(seconds))

    @invariant()
    def holds(self) -> None:
        world = self.story.broker.world
        assert len(world.launches) <= MOST
        assert set(world.launches) == self.running, "each process has its launch, until it has ended"
        for launch in world.launches.values():
            has_deadline = due.Launch(launch.name) in world.timers
            match launch.state:
                case LaunchState.COMING:
                    assert has_deadline is (launch.reason is None), "time runs unless it waits for capacity"
                    engine = world.engines[launch.engine_id]
                    assert reconcile.is_wanted(world, engine), "nobody needs it"
                case LaunchState.JOINED:
                    assert launch.name in world.workers
                    assert not has_deadline
                case LaunchState.LEAVING | LaunchState.ENDING:
                    assert has_deadline
                    assert launch.name not in world.workers
        for number in range(2):
            row = self.story.engine_row(self.engines[number])
            assert (row.waits_reason is None) is (row.waits_since_ms is None)

    def teardown(self) -> None:
        """Without jobs the pool goes to zero."""
        world = self.story.broker.world
        for job_id, job in list(world.jobs.items()):
            if job.row.status in (JobState.WAITING, JobState.PROCESSING):
                self.heard(self.story.ask_actions(client.CancelJob(job_id=job_id)))
        for _ in range(40):
            for name in sorted(self.ending & self.running):
                self.running.discard(name)
                self.heard(self.story.exits(name, "signal SIGTERM"))
            for worker in list(world.workers.values()):
                if worker.state is WorkerState.LOADING:
                    self.heard(self.story.ready(worker.worker_id))
                elif worker.is_asked_to_leave:
                    self.heard(self.story.say(worker.worker_id, wire.Goodbye(reason="it was asked to")))
            self.heard(self.story.wait(15.0))
        assert world.launches == {}
        assert only(self.story.wait(60.0), LaunchInPool) == []


TestLaunches = Launches.TestCase
TestLaunches.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
