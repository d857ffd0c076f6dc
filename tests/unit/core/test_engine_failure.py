"""Engines that cannot be loaded: what becomes of them and of the jobs that wait."""

from msgspec.structs import replace

from kernel.core.actions import LaunchWorker, SaveJob, TerminateWorker
from kernel.core.engines import FAILED_AT_ONCE, PAUSE_S
from kernel.core.events import DeadlinePassed
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.vocabulary import EngineState, JobState, ModelState, ModelType
from tests.unit.core.samples import checkpoint, downloading, spec
from tests.unit.core.story import Story, only


def fail_to_load(story, code="model_unreadable"):
    """The newest worker cannot load its engine."""
    worker_id = story.newcomers[0]
    story.hello(worker_id)
    engine_id = story.engine_of[worker_id]
    report = wire.EngineFailed(engine_id=engine_id, code=code, text="the header is damaged")
    return worker_id, story.say(worker_id, report)


def test_engine_that_cannot_be_loaded_fails_with_its_jobs_and_is_not_tried_again():
    story = Story()
    engine_id = story.engine()
    jobs = [story.submit(engine_id) for _ in range(3)]
    worker_id, found = fail_to_load(story)
    assert TerminateWorker(worker_id) in found
    story.exits(worker_id, "signal SIGTERM")
    assert not only(story.wait(1000.0), LaunchWorker)
    row = story.engine_row(engine_id)
    assert (row.status, row.error_code, row.error) == (
        EngineState.ERROR,
        "model_unreadable",
        "the header is damaged",
    )
    for job_id in jobs:
        job = story.job(job_id)
        assert (job.status, job.error_code, job.error) == (JobState.FAILED, row.error_code, row.error)


def test_many_waiting_jobs_are_failed_in_slices():
    story = Story()
    engine_id = story.engine()
    jobs = [story.submit(engine_id) for _ in range(FAILED_AT_ONCE * 2 + 50)]
    _, found = fail_to_load(story)
    assert len(only(found, SaveJob)) == FAILED_AT_ONCE
    states = [story.job_state(job_id) for job_id in jobs]
    assert states == [JobState.FAILED] * FAILED_AT_ONCE + [JobState.WAITING] * (FAILED_AT_ONCE + 50)
    slices = []
    for _ in range(2):
        story.now_s += PAUSE_S
        slices.append(len(only(story.tell(DeadlinePassed()), SaveJob)))
    assert slices == [FAILED_AT_ONCE, 50]


def test_engine_in_error_starts_again_by_a_new_job_once_its_worker_is_gone():
    story = Story()
    engine_id = story.engine()
    story.submit(engine_id)
    worker_id, _ = fail_to_load(story)
    job_id = story.submit(engine_id)
    assert story.engine_state(engine_id) is EngineState.ERROR
    assert only(story.exits(worker_id), LaunchWorker)
    row = story.engine_row(engine_id)
    assert (row.status, row.error, row.error_code) == (EngineState.STARTING, None, None)
    story.up()
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED


def test_engine_in_error_starts_again_by_a_person():
    story = Story()
    engine_id = story.engine(start=True)
    worker_id, _ = fail_to_load(story)
    story.exits(worker_id)
    story.ask(client.StartEngine(engine_id=engine_id))
    assert story.engine_state(engine_id) is EngineState.STARTING


def test_stopping_an_engine_in_error_leaves_the_error_readable():
    story = Story()
    engine_id = story.engine(start=True)
    worker_id, _ = fail_to_load(story)
    story.ask(client.StopEngine(engine_id=engine_id))
    story.exits(worker_id)
    story.ask(client.StopEngine(engine_id=engine_id))
    assert story.engine_state(engine_id) is EngineState.ERROR


def test_jobs_that_other_replicas_hold_fail_with_the_engine():
    story = Story()
    engine_id = story.engine(start=True, replicas=2)
    first = story.up()
    job_id = story.submit(engine_id)
    second, found = fail_to_load(story)
    assert {only(found, TerminateWorker)[n].worker_id for n in range(2)} == {first, second}
    assert story.job_state(job_id) is JobState.FAILED
    story.exits(first)
    story.exits(second)
    assert story.engine_state(engine_id) is EngineState.ERROR
    assert not only(story.wait(1000.0), LaunchWorker)


def test_worker_that_dies_in_an_engine_that_has_failed_does_not_fail_it_again():
    story = Story(limits=Limits(load_timeout_s=30.0))
    engine_id = story.engine(start=True, replicas=2)
    for worker_id in list(story.newcomers):
        story.exits(worker_id)
    story.wait(10.0)
    slow, broken = story.newcomers
    story.hello(slow)
    story.wait(5.0)
    story.hello(broken)
    assert TerminateWorker(slow) in story.wait(25.1)
    story.say(broken, wire.EngineFailed(engine_id=engine_id, code="bad", text="bad"))
    story.submit(engine_id)
    story.exits(slow)
    story.exits(broken)
    assert story.engine_state(engine_id) is EngineState.STARTING


def test_job_that_comes_while_the_waiting_ones_are_failed_fails_with_them():
    story = Story()
    engine_id = story.engine()
    for _ in range(FAILED_AT_ONCE + 1):
        story.submit(engine_id)
    worker_id, _ = fail_to_load(story)
    late = story.submit(engine_id)
    story.exits(worker_id)
    assert not story.newcomers
    story.wait(1.0)
    assert story.job_state(late) is JobState.FAILED
    assert story.engine_state(engine_id) is EngineState.ERROR


def test_engine_is_created_only_on_a_checkpoint_that_is_ready():
    lora = replace(checkpoint("lora"), model_type=ModelType.LORA)
    broken = replace(checkpoint("broken"), status=ModelState.ERROR, error="no header")
    story = Story(downloading("new"), lora, broken)

    def refusal(model_id: str) -> client.Refused:
        return story.refusal(client.CreateEngine(spec=spec(checkpoint=model_id)))

    assert refusal("new").code == "model_not_ready"
    assert "no header" in refusal("broken").detail
    assert (refusal("none").code, refusal("lora").code) == ("model_missing", "wrong_model_type")
    assert refusal("none").fields[0].field == refusal("lora").fields[0].field == "checkpoint"
    assert not story.database.engines
