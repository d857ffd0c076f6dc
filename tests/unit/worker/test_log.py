"""The log: one line each, always with worker and job, and nothing of heartbeats."""

import io
from datetime import UTC, datetime

import pytest

from engine_worker.exits import ExitCode
from engine_worker.log import KeyValueLog
from engine_worker.session.actions import Cancel, Exit, Send
from engine_worker.session_log import log_action, log_order
from kernel.protocol.ids import JobId, Lease
from kernel.protocol.worker import JobFailed, Ping, Pong, Progress
from tests.unit.worker.orders import hello, run


class Lines:
    """A logbook that keeps its lines."""

    def __init__(self, worker_id: str | None = "w") -> None:
        self.stream = io.StringIO()
        self.log = KeyValueLog(self.stream, worker_id, lambda: datetime(2030, 1, 2, 3, 4, 5, 6000, UTC))

    def written(self) -> str:
        return self.stream.getvalue()


def test_a_line_bears_time_action_worker_and_job() -> None:
    lines = Lines()
    lines.log.write("action_name", "job-1", count=3, path="/a/b")
    assert lines.written() == (
        "at=2030-01-02T03:04:05.006Z action=action_name worker_id=w job_id=job-1 count=3 path=/a/b\n"
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "-"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a\nb=c", '"a\\nb=c"'),
        ('say "hi"', '"say \\"hi\\""'),
        (0, "0"),
    ],
)
def test_a_value_never_breaks_its_line(value: str | int | None, written: str) -> None:
    lines = Lines()
    lines.log.write("x", text=value)
    assert lines.written().endswith(f" text={written}\n")


def test_orders_reports_and_the_end_are_logged() -> None:
    lines = Lines()
    log_order(lines.log, run())
    log_action(lines.log, Send(JobFailed(job_id=JobId("job-1"), lease=Lease(1), code="c", text="t")))
    log_action(lines.log, Exit(ExitCode.LEFT, "drained", 0, 0))
    actions = [line.partition(" ")[2] for line in lines.written().splitlines()]
    assert actions == [
        "action=run_job worker_id=w job_id=job-1 lease=1",
        "action=job_failed worker_id=w job_id=job-1 lease=1 code=c text=t",
        "action=exit worker_id=w job_id=- code=0 reason=drained",
    ]


def test_heartbeats_progress_and_tasks_are_not_logged() -> None:
    lines = Lines()
    log_order(lines.log, Pong())
    log_action(lines.log, Send(Ping()))
    log_action(lines.log, Send(Progress(job_id=JobId("j"), lease=Lease(1), step=1, steps=2)))
    log_action(lines.log, Cancel(JobId("j")))
    assert lines.written() == ""


def test_the_token_in_hello_is_not_logged() -> None:
    lines = Lines()
    log_action(lines.log, Send(hello()))
    assert "action=hello" in lines.written()
    assert "secret" not in lines.written()
