"""Jobs go where they are warm, whatever comes and goes; turns, priorities and patience stay as promised."""

from itertools import combinations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from kernel.core.actions import Action, GiveJob
from kernel.core.admission.affinity import LOOK_AHEAD, can_take
from kernel.protocol import client
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import LoraUse
from tests.unit.core.samples import create_key, model, submit
from tests.unit.core.story import Story, only

NAMES = ("a", "b", "c")


class Replicas(RuleBasedStateMachine):
    """An engine with several workers, and jobs of several keys, priorities, LoRAs and sizes."""

    def __init__(self):
        super().__init__()
        self.story = Story(*(model(f"lora-{name}") for name in NAMES))
        self.keys = [None, *(self.story.ask(create_key(name)).key_id for name in ("anna", "bert"))]
        self.place = {}
        """Of each waiting job: its key, the negative of its priority, and its number."""
        self.overtaken = {}
        self.turns = {}
        """Of two keys: the turns of each since both have had waiting jobs all the time."""
        self.held = []
        self.numbers = 0

    @initialize(workers=st.integers(1, 3), capacity=st.integers(1, 2))
    def engine_is_ready(self, workers, capacity):
        self.engine_id = self.story.engine(start=True, replicas=workers)
        for _ in range(workers):
            self.story.up(capacity)
        self.workers = workers

    @rule(
        jobs=st.lists(
            st.tuples(
                st.integers(0, 2), st.sampled_from([0, 0, 0, 1]), st.sampled_from(NAMES), st.booleans()
            ),
            min_size=1,
            max_size=20,
        )
    )
    def jobs_arrive(self, jobs):
        for key, priority, lora, is_large in jobs:
            side_px = 768 if is_large else 512
            loras = (LoraUse(model_id=ModelId(f"lora-{lora}")),)
            ask = submit(self.engine_id, priority, loras=loras, width_px=side_px, height_px=side_px)
            self.numbers += 1
            before = set(self.story.database.jobs)
            found = self.story.ask_actions(replace(ask, key_id=self.keys[key]))
            (job_id,) = set(self.story.database.jobs) - before
            self.place[job_id] = (key, -priority, self.numbers)
            self.overtaken[job_id] = 0
            self.follow(found)

    @precondition(lambda self: self.held)
    @rule(numbers=st.lists(st.integers(0, 9), min_size=1, max_size=30))
    def jobs_are_made(self, numbers):
        for number in numbers:
            if self.held:
                job_id = self.held.pop(number % len(self.held))
                give = self.story.gives[job_id]
                self.story.picture(job_id, give=give)
                self.story.stored(job_id)
                self.follow(self.story.done(job_id))

    @precondition(lambda self: self.place)
    @rule(number=st.integers(0, 99))
    def waiting_job_is_canceled(self, number):
        job_id = list(self.place)[number % len(self.place)]
        del self.place[job_id]
        self.follow(self.story.ask_actions(client.CancelJob(job_id=job_id)))

    @precondition(lambda self: self.place)
    @rule(number=st.integers(0, 99), priority=st.integers(0, 1))
    def waiting_job_is_moved(self, number, priority):
        job_id = list(self.place)[number % len(self.place)]
        key, _, seq = self.place[job_id]
        self.place[job_id] = (key, -priority, seq)
        self.follow(self.story.ask_actions(client.EditJob(job_id=job_id, priority=priority)))

    def follow(self, found: list[Action]) -> None:
        """Each job that is given out overtakes few, and only jobs of its own key and priority."""
        for give in only(found, GiveJob):
            place = self.place.pop(give.job_id)
            ahead = [
                job_id
                for job_id, other in self.place.items()
                if other[0] == place[0] and other[1:] < place[1:]
            ]
            assert all(self.place[job_id][1] == place[1] for job_id in ahead), "a higher priority goes first"
            assert self.workers > 1 or not ahead, "a single worker keeps the order"
            assert len(ahead) <= LOOK_AHEAD
            for job_id in ahead:
                self.overtaken[job_id] += 1
                assert self.overtaken[job_id] <= LOOK_AHEAD
            self.held.append(give.job_id)
            for pair, turns in self.turns.items():
                if place[0] in pair:
                    turns[place[0]] += 1
            self.keys_have_had_equally_many_turns_while_they_waited()

    @invariant()
    def keys_have_had_equally_many_turns_while_they_waited(self):
        """So a job that overtakes has a turn of its own key."""
        there = {key for key, *_ in self.place.values()}
        pairs = [frozenset(pair) for pair in combinations(sorted(there), 2)]
        self.turns = {pair: self.turns.get(pair) or dict.fromkeys(pair, 0) for pair in pairs}
        for one, other in (turns.values() for turns in self.turns.values()):
            assert abs(one - other) <= 2

    @invariant()
    def no_worker_has_a_place_while_a_job_waits(self):
        world = self.story.broker.world
        for job_id in self.place:
            assert not any(can_take(worker, world.jobs[job_id]) for worker in world.workers.values())


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(max_examples=settings().max_examples // 2)
