"""Commands are done once, answered durably, or refused with nothing changed."""

import pytest
from msgspec.structs import replace

from kernel.core.actions import Reply, Save, SaveReply
from kernel.core.events import DiskSwept, StatusAsked
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol.endpoints import MAX_UNANSWERED
from kernel.protocol.enums import JobState, Phase
from kernel.protocol.status import EngineFigures, Status
from tests.unit.core.samples import register, spec, submit
from tests.unit.core.story import CORRELATION, PEER, Story, only


def test_command_that_comes_again_is_answered_as_the_first_time_and_not_done_again():
    story = Story()
    engine_id = story.engine()
    first = story.ask(submit(engine_id), key="mine")
    assert story.ask_actions(submit(engine_id), key="mine") == [Reply(PEER, CORRELATION, first)]
    assert len(story.database.jobs) == 1


def test_command_that_comes_again_after_a_restart_is_answered_as_the_first_time():
    story = Story()
    engine_id = story.engine()
    first = story.ask(submit(engine_id), key="mine")
    story.begin()
    assert story.ask(submit(engine_id), key="mine") == first
    assert len(story.database.jobs) == 1


def test_key_that_was_used_for_another_command_is_refused():
    story = Story()
    engine_id = story.engine()
    story.ask(submit(engine_id), key="mine", digest=b"one")
    assert story.refusal(submit(engine_id), key="mine", digest=b"two").code == "idempotency_key_reused"
    assert len(story.database.jobs) == 1


def test_key_that_another_version_answered_has_its_answer_whatever_the_digest():
    story = Story()
    engine_id = story.engine()
    first = story.ask(submit(engine_id), key="mine", digest=b"as the version before encoded it")
    story.database.replies["mine"] = replace(story.database.replies["mine"], digest=b"")
    assert story.ask(submit(engine_id), key="mine", digest=b"as this one does") == first
    assert len(story.database.jobs) == 1


def test_refusal_is_not_remembered_so_that_the_command_can_succeed_later():
    story = Story()
    engine_id = story.engine()
    story.tell(DiskSwept(free_bytes=0))
    assert isinstance(story.ask(submit(engine_id), key="mine"), client.Refused)
    story.tell(DiskSwept(free_bytes=1 << 40))
    assert isinstance(story.ask(submit(engine_id), key="mine"), client.JobAccepted)


@pytest.mark.parametrize(
    "ask",
    [
        submit("none"),
        client.CancelJob(job_id="none"),
        client.DeleteJob(job_id="none"),
        client.StartEngine(engine_id="none"),
        client.StopEngine(engine_id="none"),
        client.DeleteEngine(engine_id="none"),
        client.RetryModel(model_id="none"),
        client.DeleteModel(model_id="none"),
        client.ClaimDownload(image_id="none"),
        client.DeleteImage(image_id="none"),
        client.CreateEngine(spec=spec(checkpoint="none")),
    ],
    ids=lambda ask: type(ask).__name__,
)
def test_refusal_changes_nothing(ask):
    story = Story()
    (reply,) = story.ask_actions(ask)
    assert isinstance(reply, Reply)
    assert isinstance(reply.message, client.Refused)
    assert reply.message.code.endswith("_not_found") or reply.message.code == "model_missing"


def test_answer_is_saved_with_what_it_answers():
    story = Story()
    found = story.ask_actions(submit(story.engine()), key="mine", digest=b"one")
    saved = only(found, SaveReply)[0]
    reply = only(found, Reply)[0]
    assert (saved.key, saved.digest, saved.reply) == ("mine", b"one", reply.message)
    assert found.index(saved) < found.index(reply)


def test_client_with_too_many_unanswered_commands_is_refused_before_anything_else():
    story = Story()
    engine_id = story.engine()
    found = story.ask_actions(submit(engine_id), unanswered=MAX_UNANSWERED + 1)
    (reply,) = only(found, Reply)
    assert isinstance(reply.message, client.Refused)
    assert (reply.message.code, reply.message.retry_after_s) == ("too_many_requests", 1.0)
    assert not only(found, Save)
    found = story.ask_actions(submit(engine_id), unanswered=MAX_UNANSWERED)
    assert isinstance(only(found, Reply)[0].message, client.JobAccepted)


def test_queue_has_a_bound_that_jobs_at_work_do_not_count_for():
    story = Story(limits=Limits(max_queue=2))
    engine_id, _ = story.running_engine()
    made = story.submit(engine_id)
    for _ in range(3):
        story.submit(engine_id)
    refused = story.refusal(submit(engine_id))
    assert (refused.code, refused.retry_after_s) == ("queue_full", 5.0)
    story.make(made)
    assert isinstance(story.ask(submit(engine_id)), client.JobAccepted)


def test_queue_bound_counts_the_jobs_of_a_former_life():
    story = Story(limits=Limits(max_queue=2))
    engine_id = story.engine(autostart=False)
    for _ in range(2):
        story.submit(engine_id)
    story.begin()
    assert isinstance(story.ask(submit(engine_id)), client.Refused)


def test_jobs_are_refused_while_the_disk_is_low_and_taken_again_when_there_is_room():
    story = Story(limits=Limits(min_free_bytes=100))
    engine_id = story.engine()
    story.tell(DiskSwept(free_bytes=99))
    assert story.refusal(submit(engine_id)).code == "disk_full"
    story.tell(DiskSwept(free_bytes=100))
    assert isinstance(story.ask(submit(engine_id)), client.JobAccepted)


def test_shutdown_command_that_comes_again_does_not_hurry_the_manager():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    for _ in range(3):
        assert story.ask(client.Shutdown(), key="stop") == client.Done()
    assert story.job_state(job_id) is JobState.PROCESSING
    story.ask(client.Shutdown(now=True), key="now")
    assert story.job_state(job_id) is JobState.WAITING


def test_status_says_what_there_is():
    story = Story()
    engine_id, worker_id = story.running_engine()
    jobs = [story.submit(engine_id) for _ in range(3)]
    story.wait(2.5)
    story.tell(DiskSwept(free_bytes=0))
    (reply,) = story.tell(StatusAsked(PEER, CORRELATION, version="1.2", pid=7))
    assert reply.message == Status(
        version="1.2",
        pid=7,
        phase=Phase.RUNNING,
        uptime_s=2.5,
        jobs_waiting=1,
        jobs_processing=2,
        engines_running=1,
        is_disk_low=True,
        devices=(),
        engines=(
            EngineFigures(
                engine_id=engine_id,
                name=engine_id,
                workers=1,
                batch=1,
                max_batch=1,
                step_s=None,
                workers_lost=0,
            ),
        ),
        workers=reply.message.workers,
    )
    (found,) = reply.message.workers
    assert (found.worker_id, found.state, found.host, found.pool) == (worker_id, "ready", "here", None)
    assert found.jobs == tuple(jobs[:2])


def test_status_counts_the_workers_that_an_engine_has_lost_and_times_its_steps():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    for step in range(4):
        story.wait(0.5)
        story.progress(job_id, step)
    (reply,) = story.tell(StatusAsked(PEER, CORRELATION, version="1.2", pid=7))
    assert reply.message.engines[0].step_s == 0.5
    story.exits(worker_id)
    (reply,) = story.tell(StatusAsked(PEER, CORRELATION, version="1.2", pid=7))
    assert reply.message.engines[0].workers_lost == 1


def test_limits_hold_for_what_the_engine_adds_too():
    story = Story(limits=Limits(max_steps=50, max_count=4))
    engine_id = story.engine(steps=51)
    assert "steps" in story.refusal(submit(engine_id)).detail
    assert story.refusal(submit(engine_id, steps=50, count=10**9)).fields[0].field == "count"
    assert story.submit(engine_id, steps=50, count=4)


def test_status_counts_a_job_as_running_only_while_it_runs():
    story = Story()
    engine_id, _worker_id = story.running_engine()
    jobs = [story.submit(engine_id) for _ in range(4)]

    def counts() -> tuple[int, int]:
        (reply,) = story.tell(StatusAsked(PEER, CORRELATION, version="1", pid=1))
        return reply.message.jobs_waiting, reply.message.jobs_processing

    assert counts() == (2, 2)
    story.make(jobs[0])
    assert counts() == (1, 2)
    story.ask(client.StopEngine(engine_id=engine_id, now=True))
    assert counts() == (3, 0)
    story.ask(client.CancelJob(job_id=jobs[1]))
    assert counts() == (2, 0)


def test_model_can_be_registered_while_an_engine_runs():
    story = Story()
    story.running_engine()
    assert isinstance(story.ask(register()), client.ModelAccepted)
