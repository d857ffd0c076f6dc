"""Engines that cannot be loaded: they are left alone, and their jobs wait for a person."""

from msgspec.structs import replace

from kernel.core.actions import LaunchWorker, SaveJob, TerminateWorker
from kernel.core.events import ModelMoved
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState, ModelState, ModelType, WaitsFor
from tests.unit.core.samples import checkpoint, downloading, fingerprint, spec, submit
from tests.unit.core.story import Story, only

LONG_S = 2_000.0


def fail_to_load(story, code="model_unreadable"):
    """The newest worker cannot load its engine."""
    worker_id = story.newcomers[0]
    story.hello(worker_id)
    engine_id = story.engine_of[worker_id]
    report = wire.EngineFailed(engine_id=engine_id, code=code, text="the header is damaged")
    return worker_id, story.say(worker_id, report)


def broken_engine(jobs=1, **fields):
    """An engine that could not be loaded, whose worker is gone, and the jobs that wait for it."""
    story = Story()
    engine_id = story.engine(**fields)
    waiting = [story.submit(engine_id) for _ in range(jobs)]
    worker_id, _ = fail_to_load(story)
    story.exits(worker_id, "signal SIGTERM")
    return story, engine_id, waiting


def test_jobs_wait_for_an_engine_that_cannot_be_loaded_and_it_is_not_tried_again():
    story = Story()
    engine_id = story.engine()
    jobs = [story.submit(engine_id) for _ in range(3)]
    worker_id, found = fail_to_load(story)
    assert TerminateWorker(worker_id) in found
    assert not only(found, SaveJob)
    story.exits(worker_id, "signal SIGTERM")
    assert not only(story.wait(LONG_S), LaunchWorker)
    row = story.engine_row(engine_id)
    assert (row.status, row.error_code, row.error, row.retry_at_ms) == (
        EngineState.ERROR,
        "model_unreadable",
        "the header is damaged",
        None,
    )
    assert [story.job_state(job_id) for job_id in jobs] == [JobState.WAITING] * 3


def test_person_who_has_put_it_right_starts_the_engine_and_its_jobs_are_made():
    story, engine_id, (job_id,) = broken_engine()
    story.ask(client.StartEngine(engine_id=engine_id))
    row = story.engine_row(engine_id)
    assert (row.status, row.error) == (EngineState.STARTING, "the header is damaged")
    story.up()
    row = story.engine_row(engine_id)
    assert (row.status, row.error, row.error_code, row.failing_since_ms) == (
        EngineState.WORKING,
        None,
        None,
        None,
    )
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED


def test_start_while_the_failed_worker_still_ends_is_heeded_once_it_is_gone():
    story = Story()
    engine_id = story.engine()
    story.submit(engine_id)
    worker_id, _ = fail_to_load(story)
    story.ask(client.StartEngine(engine_id=engine_id))
    assert not story.newcomers
    assert only(story.exits(worker_id), LaunchWorker)


def test_new_job_is_taken_and_says_what_it_waits_for_and_starts_nothing():
    story, engine_id, _ = broken_engine()
    reply = story.ask(submit(engine_id))
    assert isinstance(reply, client.JobAccepted)
    assert (reply.waits_for, reply.error_code, reply.error) == (
        WaitsFor.REPAIR,
        "model_unreadable",
        "the header is damaged",
    )
    assert story.job_state(reply.job_id) is JobState.WAITING
    assert not story.newcomers
    assert not only(story.wait(LONG_S), LaunchWorker)


def test_engine_in_error_is_deleted_with_its_jobs():
    story, engine_id, _ = broken_engine(jobs=2)
    assert story.ask(client.DeleteEngine(engine_id=engine_id)) == client.Done()
    assert not story.database.engines
    assert not story.database.jobs


def test_model_that_is_ready_again_lets_its_engines_try_again():
    story, engine_id, (job_id,) = broken_engine()
    row = story.database.models["checkpoint"]
    broken = replace(row, status=ModelState.ERROR, error_code="model_lost", error="it is gone")
    story.database.models["checkpoint"] = broken
    story.begin()
    (fetcher,) = story.newcomers
    story.hello(fetcher)
    report = wire.ModelInspected(model_id="checkpoint", fingerprint=fingerprint())
    assert len(only(story.say(fetcher, report), LaunchWorker)) == 1
    assert story.engine_state(engine_id) is EngineState.STARTING
    story.up()
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED


def test_model_whose_kept_files_are_there_again_lets_its_engines_try_again():
    story, engine_id, _ = broken_engine()
    row = replace(story.database.models["checkpoint"], stored="sha256-1.safetensors")
    broken = replace(row, status=ModelState.ERROR, error_code="model_lost", error="it is gone")
    story.database.models["checkpoint"] = broken
    story.begin()
    assert story.engine_state(engine_id) is EngineState.ERROR
    assert len(only(story.tell(ModelMoved("checkpoint")), LaunchWorker)) == 1
    assert story.engine_state(engine_id) is EngineState.STARTING


def test_stopping_an_engine_in_error_leaves_the_error_readable():
    story = Story()
    engine_id = story.engine(start=True)
    worker_id, _ = fail_to_load(story)
    story.ask(client.StopEngine(engine_id=engine_id))
    story.exits(worker_id)
    story.ask(client.StopEngine(engine_id=engine_id))
    assert story.engine_state(engine_id) is EngineState.ERROR


def test_jobs_that_other_replicas_hold_wait_again_without_blame():
    story = Story()
    engine_id = story.engine(start=True, replicas=2)
    first = story.up()
    job_id = story.submit(engine_id)
    second, found = fail_to_load(story)
    assert {only(found, TerminateWorker)[n].worker_id for n in range(2)} == {first, second}
    assert (story.job_state(job_id), story.job(job_id).crashes) == (JobState.WAITING, 0)
    story.exits(first)
    story.exits(second)
    assert story.engine_state(engine_id) is EngineState.ERROR
    assert not only(story.wait(LONG_S), LaunchWorker)


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
    story.exits(slow)
    story.exits(broken)
    row = story.engine_row(engine_id)
    assert (row.status, row.error) == (EngineState.ERROR, "bad")


def test_at_a_restart_it_is_left_alone_and_its_reason_stays():
    story, engine_id, (job_id,) = broken_engine()
    before = story.engine_row(engine_id)
    assert not only(story.begin(), LaunchWorker)
    assert not only(story.wait(LONG_S), LaunchWorker)
    assert story.engine_row(engine_id) == before
    assert story.job_state(job_id) is JobState.WAITING


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
