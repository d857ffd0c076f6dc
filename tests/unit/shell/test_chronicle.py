"""What the Manager's log says of engines, models and its own end."""

import logging

import pytest

from kernel.core import actions
from kernel.core.rows import ChangeRow, EngineRow
from kernel.protocol.ids import EngineId, EventSeq, ModelId
from kernel.protocol.specs import EngineSpec
from kernel.protocol.vocabulary import ChangeKind, EngineState, Phase
from kernel.shell.chronicle import Chronicle

LOG = logging.getLogger("test")


def change(kind: ChangeKind, subject: str, state: str) -> actions.RecordChange:
    return actions.RecordChange(ChangeRow(EventSeq(1), kind, subject, state, at_ms=0))


def lines_of(caplog: pytest.LogCaptureFixture, chronicle: Chronicle) -> list[str]:
    with caplog.at_level(logging.INFO, logger="test"):
        chronicle.tell()
    return caplog.messages


def test_nothing_is_written_before_the_batch_is_told(caplog: pytest.LogCaptureFixture) -> None:
    chronicle = Chronicle(LOG)
    with caplog.at_level(logging.INFO, logger="test"):
        chronicle.saved(change(ChangeKind.ENGINE, "e", "ready"))
        assert caplog.messages == []
    assert lines_of(caplog, chronicle) == ["action=changed kind=engine id=e state=ready"]


def test_a_failed_engine_is_told_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    chronicle = Chronicle(LOG)
    row = EngineRow(
        engine_id=EngineId("e"),
        name=None,
        spec=EngineSpec(checkpoint=ModelId("m")),
        status=EngineState.ERROR,
        error_code="model_unreadable",
        error="the file is truncated",
        created_at_ms=0,
    )
    chronicle.saved(actions.SaveEngine(row))
    chronicle.saved(change(ChangeKind.ENGINE, "e", "error"))
    (line,) = lines_of(caplog, chronicle)
    assert line.endswith("state=error reason='the file is truncated'")


def test_jobs_and_images_are_too_many_to_be_told(caplog: pytest.LogCaptureFixture) -> None:
    chronicle = Chronicle(LOG)
    chronicle.saved(change(ChangeKind.JOB, "j", "waiting"))
    assert lines_of(caplog, chronicle) == []


def test_a_drain_says_what_it_waits_for_and_the_way_out_once(caplog: pytest.LogCaptureFixture) -> None:
    chronicle = Chronicle(LOG)
    chronicle.phase(Phase.RUNNING, 2)
    chronicle.phase(Phase.DRAINING, 2)
    chronicle.phase(Phase.DRAINING, 1)
    (line,) = lines_of(caplog, chronicle)
    assert line.startswith("action=draining jobs_processing=2 hint='a second signal")


def test_a_drain_without_jobs_needs_no_way_out(caplog: pytest.LogCaptureFixture) -> None:
    chronicle = Chronicle(LOG)
    chronicle.phase(Phase.DRAINING, 0)
    assert lines_of(caplog, chronicle) == ["action=draining jobs_processing=0"]
