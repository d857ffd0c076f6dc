"""What the Manager's log says of engines, models and its own end."""

import logging

import pytest

from kernel.core import actions
from kernel.core.actions import LaunchWorker
from kernel.core.events import NO_FACTS, Asked, Facts, Peer, Reported, StoredReply
from kernel.protocol import client, worker
from kernel.protocol.api_keys import CreateKey, KeyIssued, RevokeKey
from kernel.protocol.enums import ChangeKind, EngineState, JobState, Phase, Role, WorkerRole
from kernel.protocol.ids import EngineId, EventSeq, JobId, KeyId, Lease, ModelId, TokenId, WorkerId
from kernel.protocol.rows import ChangeRow, EngineRow, JobRow
from kernel.protocol.specs import EngineSpec
from kernel.protocol.worker_tokens import CreateWorkerToken, DrainWorker, WorkerTokenIssued
from kernel.shell.event_log import EventLog, log_debug

LOG = logging.getLogger("test")
SECRET = "a-token-that-nobody-may-read"


def change(kind: ChangeKind, subject: str, state: str) -> actions.RecordChange:
    return actions.RecordChange(ChangeRow(EventSeq(1), kind, subject, state, at_ms=0))


def lines_of(caplog: pytest.LogCaptureFixture, event_log: EventLog) -> list[str]:
    with caplog.at_level(logging.INFO, logger="test"):
        event_log.tell()
    return caplog.messages


def test_nothing_is_written_before_the_batch_is_told(caplog: pytest.LogCaptureFixture) -> None:
    event_log = EventLog(LOG)
    with caplog.at_level(logging.INFO, logger="test"):
        event_log.saved(change(ChangeKind.ENGINE, "e", "ready"))
        assert caplog.messages == []
    assert lines_of(caplog, event_log) == ["action=changed kind=engine id=e state=ready"]


def test_a_failed_engine_is_told_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    event_log = EventLog(LOG)
    row = EngineRow(
        engine_id=EngineId("e"),
        name=None,
        spec=EngineSpec(checkpoint=ModelId("m")),
        status=EngineState.ERROR,
        error_code="model_unreadable",
        error="the file is truncated",
        created_at_ms=0,
    )
    event_log.saved(actions.SaveEngine(row))
    event_log.saved(change(ChangeKind.ENGINE, "e", "error"))
    (line,) = lines_of(caplog, event_log)
    assert line.endswith('state=error reason="the file is truncated"')


def test_jobs_and_images_are_too_many_to_be_told(caplog: pytest.LogCaptureFixture) -> None:
    event_log = EventLog(LOG)
    event_log.saved(change(ChangeKind.JOB, "j", "waiting"))
    assert lines_of(caplog, event_log) == []


def job(status: JobState, code: str | None = None) -> actions.SaveJob:
    row = JobRow(
        job_id=JobId("j"),
        seq=1,
        engine_id=EngineId("e"),
        status=status,
        priority=0,
        seed=1,
        image_ids=(),
        attempts=1,
        crashes=0,
        created_at_ms=0,
        error_code=code,
        error="the reason may quote the prompt",
    )
    return actions.SaveJob(row)


GIVEN = actions.GiveJob(
    worker_id=WorkerId("w1-1"),
    job_id=JobId("j"),
    attempt=1,
    lease=Lease(1),
    image_ids=(),
    positions=(),
    models=(),
)


@pytest.mark.parametrize(
    ("status", "action"), [(JobState.FAILED, "job_failed"), (JobState.WAITING, "job_given_back")]
)
def test_a_job_that_fails_or_comes_back_is_told_with_its_worker_and_its_code(
    caplog: pytest.LogCaptureFixture, status: JobState, action: str
) -> None:
    event_log = EventLog(LOG)
    event_log.saved(job(JobState.PROCESSING))
    event_log.gave(GIVEN)
    event_log.saved(job(status, "worker_crashed"))
    assert lines_of(caplog, event_log) == [f"action={action} job_id=j worker_id=w1-1 code=worker_crashed"]


def test_a_job_that_fails_without_a_worker_names_none(caplog: pytest.LogCaptureFixture) -> None:
    event_log = EventLog(LOG)
    event_log.gave(GIVEN)
    event_log.saved(job(JobState.FINISHED))
    event_log.saved(job(JobState.FAILED, "not_enough_memory"))
    assert lines_of(caplog, event_log) == ["action=job_failed job_id=j code=not_enough_memory"]


def test_a_drain_says_what_it_waits_for_and_the_way_out_once(caplog: pytest.LogCaptureFixture) -> None:
    event_log = EventLog(LOG)
    event_log.phase(Phase.RUNNING, 2)
    event_log.phase(Phase.DRAINING, 2)
    event_log.phase(Phase.DRAINING, 1)
    (line,) = lines_of(caplog, event_log)
    assert line.startswith('action=draining jobs_processing=2 hint="send a second signal')


def test_a_drain_without_jobs_needs_no_way_out(caplog: pytest.LogCaptureFixture) -> None:
    event_log = EventLog(LOG)
    event_log.phase(Phase.DRAINING, 0)
    assert lines_of(caplog, event_log) == ["action=draining jobs_processing=0"]


def test_the_line_of_an_event_names_it_and_its_ids_but_no_token(caplog: pytest.LogCaptureFixture) -> None:
    hello = worker.Hello(
        role=WorkerRole.ENGINE, worker_id=WorkerId("w1-1"), token=SECRET, version="1", pid=1, host="here"
    )
    with caplog.at_level(logging.DEBUG):
        log_debug(LOG, Reported(WorkerId("w1-1"), hello))
        log_debug(LOG, LaunchWorker(WorkerId("w1-2"), WorkerRole.FETCH, SECRET))
    assert caplog.messages == [
        "action=Reported.Hello worker_id=w1-1",
        "action=LaunchWorker worker_id=w1-2 engine_id=-",
    ]


def test_nothing_is_put_together_for_a_line_that_is_not_wanted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        log_debug(LOG, object())
    assert caplog.messages == []


def command(ask: client.Ask, facts: Facts = NO_FACTS) -> Asked:
    return Asked(Peer(b"p"), b"c", "admin:1", b"d", ask, facts, is_of_admin=True)


def reply(message: client.SingleReply, correlation: bytes = b"c") -> actions.Reply:
    return actions.Reply(Peer(b"p"), correlation, message)


ISSUED = KeyIssued(key_id=KeyId("k-1"), text=SECRET)
TOKEN = WorkerTokenIssued(token_id=TokenId("t-1"), text=SECRET)


@pytest.mark.parametrize(
    ("ask", "effect", "said"),
    [
        (client.Shutdown(now=True), reply(client.Done()), "operation=shutdown path=bus"),
        (CreateWorkerToken(pool="lab"), reply(TOKEN), "operation=create_worker_token path=bus/t-1"),
        (
            DrainWorker(worker_id=WorkerId("w1-1")),
            reply(client.Done()),
            "operation=drain_worker path=bus/w1-1",
        ),
        (CreateKey(name=SECRET, role=Role.USER), reply(ISSUED), "operation=create_key path=bus/k-1"),
        (RevokeKey(key_id=KeyId("k-1")), reply(client.Done()), "operation=revoke_key path=bus/k-1"),
    ],
)
def test_what_an_admin_does_over_the_bus_has_one_line(
    caplog: pytest.LogCaptureFixture, ask: client.Ask, effect: actions.Effect, said: str
) -> None:
    event_log = EventLog(LOG)
    event_log.acted(command(ask), [reply(client.Done(), b"another"), effect])
    assert lines_of(caplog, event_log) == [f'action=admin_act {said} address=local key_id=""']


@pytest.mark.parametrize(
    ("facts", "effects"),
    [
        (NO_FACTS, []),
        (NO_FACTS, [reply(client.Refused(code="engine_not_found", detail="no such engine"))]),
        (NO_FACTS, [reply(client.Done(), b"another")]),
        (Facts(stored_reply=StoredReply(b"d", client.Done())), [reply(client.Done())]),
    ],
)
def test_what_was_refused_or_done_before_has_none(
    caplog: pytest.LogCaptureFixture, facts: Facts, effects: list[actions.Effect]
) -> None:
    event_log = EventLog(LOG)
    event_log.acted(command(client.Shutdown(), facts), effects)
    assert lines_of(caplog, event_log) == []
