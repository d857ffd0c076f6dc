"""Log lines say what happened to whom, and never what must stay secret."""

import logging

import pytest

from api.main import LOG_FORMAT
from kernel.core.actions import LaunchWorker
from kernel.core.events import Reported
from kernel.protocol import worker
from kernel.protocol.enums import WorkerRole
from kernel.protocol.ids import WorkerId
from kernel.shell import journal

SECRET = "a-token-that-nobody-may-read"


def test_a_line_quotes_what_has_blanks():
    assert (
        journal.line("exited", status="exit code 1", name="w1")
        == "action=exited status='exit code 1' name=w1"
    )


def test_the_line_of_an_event_names_it_and_its_ids_but_no_token(caplog: pytest.LogCaptureFixture):
    hello = worker.Hello(
        role=WorkerRole.ENGINE, worker_id=WorkerId("w1-1"), token=SECRET, version="1", pid=1, host="here"
    )
    with caplog.at_level(logging.DEBUG):
        journal.debug(logging.getLogger("test"), Reported(WorkerId("w1-1"), hello))
        journal.debug(logging.getLogger("test"), LaunchWorker(WorkerId("w1-2"), WorkerRole.FETCH, SECRET))
    assert caplog.messages == ["action=Reported.Hello worker_id=w1-1", "action=LaunchWorker worker_id=w1-2"]


def test_the_apis_lines_look_as_the_managers_do():
    assert journal.FORMAT == LOG_FORMAT


def test_nothing_is_put_together_for_a_line_that_is_not_wanted(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        journal.debug(logging.getLogger("test"), object())
    assert caplog.messages == []
