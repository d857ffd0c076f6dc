"""The log of a session: one line each, always with the job, and nothing of heartbeats."""

import logging

import pytest

from engine_worker.session.actions import Cancel, Exit, ExitCode, Send
from engine_worker.session_log import log_action, log_order
from kernel.protocol.ids import JobId, Lease
from kernel.protocol.worker import (
    FileScanned,
    JobFailed,
    Ping,
    Pong,
    Progress,
    ScanBegun,
    ScanFolders,
    ScanProgress,
)
from tests.unit.worker.orders import hello, run


@pytest.fixture(autouse=True)
def _all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="engine_worker")


def test_orders_reports_and_the_end_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    log_order(run())
    log_action(Send(JobFailed(job_id=JobId("job-1"), lease=Lease(1), code="c", text="t")))
    log_action(Exit(ExitCode.LEFT, "drained", 0, 0))
    assert caplog.messages == [
        "action=run_job job_id=job-1 lease=1",
        "action=job_failed job_id=job-1 lease=1 code=c text=t",
        "action=exit code=0 reason=drained",
    ]


def test_heartbeats_progress_and_tasks_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    log_order(Pong())
    log_action(Send(Ping()))
    log_action(Send(Progress(job_id=JobId("j"), lease=Lease(1), step=1, steps=2)))
    log_action(Cancel(JobId("j")))
    log_action(Send(ScanProgress(path="/a", stamp=1)))
    log_action(Send(FileScanned(path="/a", stamp=1)))
    assert caplog.messages == []


def test_a_scan_is_logged_by_its_numbers(caplog: pytest.LogCaptureFixture) -> None:
    log_order(ScanFolders(folders=("/a", "/b"), known=(1, 2, 3)))
    log_action(Send(ScanBegun(files=4, unknown=1, gone=(3,), absent=("/b",))))
    assert caplog.messages == [
        "action=scan_folders job_id=- folders=2 known=3",
        "action=scan_begun job_id=- files=4 unknown=1 gone=1 absent=1",
    ]


def test_the_token_in_hello_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    log_action(Send(hello()))
    (written,) = caplog.messages
    assert written.startswith("action=hello ")
    assert "secret" not in written
