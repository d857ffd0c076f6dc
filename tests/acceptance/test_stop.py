"""The end of the Manager: running jobs are waited for, waiting ones stay, and nothing is lost on the way."""

import signal
import time
from pathlib import Path

import pytest

from kernel.protocol.client import Done, Shutdown
from kernel.protocol.enums import EngineState, JobState, Phase
from kernel.protocol.ids import EngineId, ModelId
from tests.acceptance.checks import assert_whole
from tests.acceptance.orders import LOADS_FOR_7_S, a_job, create_engine, submit
from tests.acceptance.patience import wait_for
from tests.acceptance.server import Server


@pytest.fixture
def narrow_engine(server: Server, plain: ModelId) -> EngineId:
    """An engine whose worker holds two jobs: the one that it steps, and the next one."""
    server.start()
    return create_engine(server.line, plain, max_batch=1)


def wait_until_draining(server: Server) -> None:
    wait_for("the Manager to drain", lambda: server.line.status().phase is Phase.DRAINING)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_jobs_finish_and_keeps_their_images_and_the_waiting_jobs(
    server: Server, narrow_engine: EngineId, go: Path, number: signal.Signals
) -> None:
    jobs = [submit(server.line, narrow_engine, f"[until {go}]", count=2) for _ in range(3)]
    for running in jobs[:2]:
        server.records.wait_for_job(running.job_id, JobState.PROCESSING)

    server.signal(number)
    wait_until_draining(server)
    assert server.line.refusal(a_job(narrow_engine)) == "shutting_down"
    go.touch()

    assert server.exit_code() == 0
    states = [server.records.job(one.job_id).status for one in jobs]
    assert states == [JobState.FINISHED, JobState.FINISHED, JobState.WAITING]
    assert server.records.engine(narrow_engine).status is EngineState.CLOSED
    assert server.processes() == []
    assert_whole(server)

    server.start()
    server.records.wait_for_job(jobs[2].job_id, JobState.FINISHED)


def test_stopping_over_the_bus_drains_like_a_signal(server: Server, engine: EngineId, go: Path) -> None:
    accepted = submit(server.line, engine, f"[until {go}]")
    server.records.wait_for_job(accepted.job_id, JobState.PROCESSING)

    server.line.ask(Shutdown(), Done)
    go.touch()

    assert server.exit_code() == 0
    assert server.records.job(accepted.job_id).status is JobState.FINISHED


def test_a_second_signal_puts_running_jobs_back_and_leaves_at_once(
    server: Server, engine: EngineId, go: Path
) -> None:
    accepted = submit(server.line, engine, f"[until {go}]")
    server.records.wait_for_job(accepted.job_id, JobState.PROCESSING)

    server.signal(signal.SIGTERM)
    wait_until_draining(server)
    server.signal(signal.SIGTERM)

    assert server.exit_code() == 0
    assert server.processes() == []
    assert server.records.job(accepted.job_id).status is JobState.WAITING

    go.touch()
    server.start()
    assert server.records.wait_for_job(accepted.job_id).status is JobState.FINISHED


def test_stopping_now_over_the_bus_is_like_two_signals(server: Server, engine: EngineId) -> None:
    accepted = submit(server.line, engine, "[hang]")
    server.records.wait_for_job(accepted.job_id, JobState.PROCESSING)

    server.line.ask(Shutdown(now=True), Done)

    assert server.exit_code() == 0
    assert server.records.job(accepted.job_id).status is JobState.WAITING


def test_when_the_grace_is_over_running_jobs_are_put_back(server: Server, plain: ModelId) -> None:
    grace_s = 1.0
    server.configure(shutdown=f"grace = {grace_s}")
    server.start()
    accepted = submit(server.line, create_engine(server.line, plain), "[hang]")
    server.records.wait_for_job(accepted.job_id, JobState.PROCESSING)

    asked_at_s = time.monotonic()
    assert server.stop() == 0

    assert time.monotonic() - asked_at_s >= grace_s
    assert server.records.job(accepted.job_id).status is JobState.WAITING


def test_a_stop_waits_for_no_engine_that_is_still_loading(server: Server) -> None:
    server.start()
    engine = create_engine(server.line, server.records.model_named(LOADS_FOR_7_S))
    accepted = submit(server.line, engine)
    server.records.wait_for_engine(engine, EngineState.STARTING)

    assert server.stop() == 0

    assert server.records.engine(engine).status is EngineState.CLOSED
    assert server.records.job(accepted.job_id).status is JobState.WAITING


def test_an_idle_server_stops_with_nothing_left_behind(server: Server) -> None:
    server.start()
    assert server.stop() == 0
    assert server.processes() == []
    assert "action=" in server.log_tail()
