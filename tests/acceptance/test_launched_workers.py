"""Workers of a pool that the server launches: with jobs, a killed worker and server, and down to zero."""

import signal
from pathlib import Path

import httpx
import pytest

from kernel.protocol.enums import EngineState, JobState
from kernel.protocol.ids import ModelId
from tests.acceptance.launching import (
    SUPERVISOR,
    add_pool,
    create_token,
    engine_in_pool,
    in_toml,
    worker_command,
)
from tests.acceptance.orders import submit
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.processes import WORKER
from tests.acceptance.server import Server

LAUNCHED = in_toml(worker_command())


@pytest.fixture
def launching(server: Server) -> Server:
    """A running server with a pool of one worker, launched by a command that ends with it."""
    add_pool(server, launcher='"command"', start=LAUNCHED)
    server.start()
    create_token(server)
    return server


def test_a_job_has_a_worker_launched_which_leaves_when_its_engine_has_been_idle(
    launching: Server, plain: ModelId
) -> None:
    server = launching
    engine_id = engine_in_pool(server.line, plain, keep_alive_s=0.2)
    assert server.processes(SUPERVISOR) == []
    accepted = submit(server.line, engine_id, "a fox")
    server.records.wait_for_job(accepted.job_id, JobState.FINISHED)
    server.records.wait_for_engine(engine_id, EngineState.CLOSED)
    wait_for("the worker and its launcher's command have ended", lambda: not server.processes(SUPERVISOR))
    again = submit(server.line, engine_id, "a fox again")
    server.records.wait_for_job(again.job_id, JobState.FINISHED)
    assert len(server.worker_logs) == 2, "one for each launch"


def test_a_killed_worker_costs_its_job_one_attempt_and_another_one_is_launched(
    launching: Server, plain: ModelId, go: Path
) -> None:
    server = launching
    engine_id = engine_in_pool(server.line, plain)
    accepted = submit(server.line, engine_id, f"[until {go}]")
    server.records.wait_for_job(accepted.job_id, JobState.PROCESSING)
    (worker,) = server.processes(WORKER)
    worker.send(signal.SIGKILL)
    go.touch()
    job = server.records.wait_for_job(accepted.job_id, JobState.FINISHED)
    assert job.attempts == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_launched_worker_outlives_the_server(
    launching: Server, plain: ModelId, number: signal.Signals
) -> None:
    server = launching
    engine_id = engine_in_pool(server.line, plain)
    accepted = submit(server.line, engine_id, "a fox")
    server.records.wait_for_job(accepted.job_id, JobState.FINISHED)
    assert len(server.processes(WORKER)) == 1
    server.signal(number)
    server.exit_code()
    wait_for("all its processes have ended", lambda: not server.processes())


def test_a_launch_that_fails_puts_the_engine_into_error_with_the_words_of_the_command(
    server: Server, plain: ModelId
) -> None:
    refused = ["sh", "-c", "echo {name} at gpu1: Connection refused >&2; exit 255"]
    add_pool(server, launcher='"command"', start=in_toml(refused))
    server.start()
    engine_id = engine_in_pool(server.line, plain)
    submit(server.line, engine_id, "a fox")
    row = server.records.wait_for_engine(engine_id, EngineState.ERROR)
    assert row.error is not None
    assert row.error.startswith("3 workers crashed in a row; last error: the worker ended before it joined;")
    assert "exit code 255; w" in row.error
    assert row.error.endswith("at gpu1: Connection refused")


def test_an_engine_shows_why_its_worker_waits_for_capacity(server_with_api: Server, folder: Path) -> None:
    server = server_with_api
    state = folder / "state"
    state.write_text("PENDING: Priority\n")
    started = [
        "sh",
        "-c",
        f"while grep -q PENDING {state}; do sleep 0.05; done; exec {' '.join(worker_command())}",
    ]
    add_pool(
        server, launcher='"command"', start=in_toml(started), poll=f'["cat", "{state}"]', poll_every='"100ms"'
    )
    server.start()
    create_token(server)
    engine_id = engine_in_pool(server.line, server.records.model_named("plain"), name="portraits")
    accepted = submit(server.line, engine_id, "a fox")
    url = f"http://127.0.0.1:{server.port}/v1"
    shown = f"{url}/engines/{engine_id}"
    wait_for(
        "the reason",
        lambda: httpx.get(shown, timeout=PATIENCE_S).json()["waiting_for_capacity"] == "Priority",
    )
    waiting = httpx.get(f"{url}/jobs/{accepted.job_id}", timeout=PATIENCE_S).json()
    assert waiting["waits_for"] == "worker"
    state.write_text("RUNNING: None\n")
    server.records.wait_for_job(accepted.job_id, JobState.FINISHED)
