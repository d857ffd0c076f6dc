"""Of several workers of an engine, which gets a job, and which waiting job gets a free place."""

from msgspec.structs import replace

from kernel.core.admission.affinity import LOOK_AHEAD
from kernel.protocol import client
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import LoraUse
from tests.unit.core.samples import create_key, model, submit
from tests.unit.core.story import Story

LORAS = tuple(model(f"lora-{name}") for name in "abc")


class Replicas:
    """An engine with several workers that are ready, and jobs with a LoRA or a size of their own."""

    def __init__(self, workers=2, capacity=1):
        self.story = Story(*LORAS)
        self.engine_id = self.story.engine(start=True, replicas=workers)
        self.workers = [self.story.up(capacity) for _ in range(workers)]

    def submit(self, lora=None, side_px=512, **fields):
        return self.story.ask(self.job(lora, side_px, **fields)).job_id

    def job(self, lora=None, side_px=512, priority=0, **fields):
        loras = (LoraUse(model_id=ModelId(f"lora-{lora}")),) if lora else ()
        size = {"width_px": side_px, "height_px": side_px}
        return submit(self.engine_id, priority, loras=loras, **size, **fields)

    def where(self, *jobs):
        """The numbers of the workers that have or had these jobs; None: it waits."""
        gives = self.story.gives
        return [self.workers.index(gives[j].worker_id) if j in gives else None for j in jobs]

    def warm_up(self, *loras):
        """Each worker has made a job with its LoRA, and is idle."""
        for job_id in [self.submit(lora) for lora in loras]:
            self.story.make(job_id)


def test_job_goes_to_the_idle_worker_that_has_its_lora_loaded():
    replicas = Replicas()
    replicas.warm_up("a", "b")
    for lora, worker in [("b", 1), ("a", 0), ("b", 1), ("b", 1)]:
        job_id = replicas.submit(lora)
        assert replicas.where(job_id) == [worker]
        replicas.story.make(job_id)


def test_models_of_the_engine_are_loaded_with_it_and_count_as_such():
    story = Story(*LORAS)
    uses = (LoraUse(model_id=ModelId("lora-a")),)
    engine_id = story.engine(start=True, replicas=2, loras=uses)
    first, second = story.up(), story.up()
    found = []
    for loras in (uses, (), uses):
        job_id = story.submit(engine_id, loras=loras)
        found.append(story.gives[job_id].worker_id)
        story.make(job_id)
    assert found == [first, first, first], "none of the workers has to load anything"
    assert second in story.broker.world.workers


def test_busy_worker_is_not_preferred_to_an_idle_one_because_it_is_warm():
    replicas = Replicas(capacity=4)
    replicas.warm_up("a", "b")
    jobs = [replicas.submit("a") for _ in range(2)]
    assert replicas.where(*jobs) == [0, 1]


def test_job_joins_the_busy_worker_that_draws_the_same_size_though_it_holds_more():
    replicas = Replicas(capacity=4)
    jobs = [replicas.submit(side_px=px) for px in (512, 768, 512, 512, 768)]
    assert replicas.where(*jobs) == [0, 1, 0, 0, 1]


def test_place_beyond_the_capacity_is_the_last_choice():
    replicas = Replicas(capacity=1)
    jobs = [replicas.submit(side_px=px) for px in (512, 768, 512, 512)]
    assert sorted(replicas.where(*jobs)[:2]) == [0, 1]
    assert sorted(replicas.where(*jobs)[2:]) == [0, 1]


def busy_with(replicas, *loras):
    """Both workers hold two jobs each, with the LoRA that they have loaded. Returns: the jobs."""
    replicas.warm_up("a", "b")
    held = [replicas.submit(lora) for lora in ("a", "b", "a", "b")]
    assert replicas.where(*held) == [0, 1, 0, 1]
    return held


def test_free_place_goes_to_the_next_job_whose_lora_is_loaded_there():
    replicas = Replicas()
    held = busy_with(replicas)
    cold, warm = replicas.submit("b"), replicas.submit("a")
    replicas.story.make(held[0])
    assert replicas.where(cold, warm) == [None, 0]
    replicas.story.make(held[1])
    assert replicas.where(cold) == [1]


def test_job_that_is_cold_everywhere_is_not_passed_over():
    replicas = Replicas()
    held = busy_with(replicas)
    cold, warm = replicas.submit("c"), replicas.submit("a")
    replicas.story.make(held[0])
    assert replicas.where(cold, warm) == [0, None]


def test_free_place_goes_to_the_next_job_if_no_warmer_one_is_near():
    replicas = Replicas()
    held = busy_with(replicas)
    jobs = [replicas.submit("b") for _ in range(LOOK_AHEAD + 1)]
    far = replicas.submit("a")
    replicas.story.make(held[0])
    assert replicas.where(jobs[0], far) == [0, None]


def test_job_is_overtaken_a_limited_number_of_times():
    replicas = Replicas()
    held = busy_with(replicas)
    cold = replicas.submit("b")
    warm = [replicas.submit("a") for _ in range(3 * LOOK_AHEAD)]
    place = held[0], held[2]
    overtakers = 0
    while replicas.where(cold) == [None]:
        replicas.story.make(place[0])
        newest = list(replicas.story.gives)[-1]
        place = place[1], newest
        overtakers += newest in warm
    assert (overtakers, replicas.where(cold)) == (LOOK_AHEAD, [0])


def test_job_behind_one_that_was_overtaken_is_not_overtaken_more_often():
    replicas = Replicas()
    held = busy_with(replicas)
    cold = [replicas.submit("b") for _ in range(2)]
    for _ in range(3 * LOOK_AHEAD):
        replicas.submit("a")
    place = held[0], held[2]
    for _ in range(LOOK_AHEAD + 2):
        replicas.story.make(place[0])
        place = place[1], list(replicas.story.gives)[-1]
    assert list(replicas.story.gives)[-2:] == cold


def test_priority_is_not_passed_over():
    replicas = Replicas()
    held = busy_with(replicas)
    warm, urgent = replicas.submit("a"), replicas.submit("b", priority=1)
    replicas.story.make(held[0])
    assert replicas.where(urgent, warm) == [0, None]


def test_turn_of_a_key_is_not_passed_over():
    replicas = Replicas()
    story = replicas.story
    keys = [story.ask(create_key(name)).key_id for name in ("alice", "bob")]
    held = busy_with(replicas)
    asks = [replace(replicas.job(lora), key_id=key) for lora, key in zip("ba", keys, strict=True)]
    theirs, others = [story.ask(ask).job_id for ask in asks]
    story.make(held[0])
    assert replicas.where(theirs, others) == [0, None]


def test_place_of_a_canceled_job_goes_to_a_job_that_is_warm_there():
    replicas = Replicas()
    held = busy_with(replicas)
    cold, warm = replicas.submit("b"), replicas.submit("a")
    replicas.story.ask(client.CancelJob(job_id=held[0]))
    assert replicas.where(cold, warm) == [None, None], "the worker has not dropped it yet"
    replicas.story.dropped(held[0])
    assert replicas.where(cold, warm) == [None, 0]


def test_single_worker_keeps_the_order_of_the_queue():
    story = Story(*LORAS)
    engine_id, _ = story.running_engine()
    jobs = [story.submit(engine_id, loras=(LoraUse(model_id=ModelId(f"lora-{x}")),)) for x in "abababab"]
    for job_id in jobs:
        story.make(job_id)
    assert list(story.gives) == jobs
