"""A worker that a person starts with a ticket: it works like any other, and its ticket is good once."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_worker.session.actions import ExitCode
from kernel.protocol.client import EngineAccepted, InviteWorker, StopEngine, WorkerInvited
from kernel.protocol.enums import EngineState, JobState, WorkerRole
from kernel.protocol.ids import EngineId
from kernel.protocol.join import Join, write_join
from tests.acceptance.orders import submit
from tests.acceptance.patience import PATIENCE_S
from tests.acceptance.processes import WORKER, environment
from tests.acceptance.server import Server

Process = subprocess.Popen[bytes]


def ticket_of(invited: WorkerInvited, folder: Path) -> Path:
    """What `spoon engines invite` writes, for a fake engine."""
    file = folder / "ticket.json"
    join = Join(
        role=WorkerRole.ENGINE,
        worker_id=invited.worker_id,
        endpoint=invited.endpoint,
        server_public_key=invited.server_public_key,
        public_key=invited.public_key,
        secret_key=invited.secret_key,
        token=invited.token,
        is_fake=True,
    )
    file.touch(0o600)
    file.write_bytes(write_join(join))
    return file


def start_by_hand(server: Server, ticket: Path) -> Process:
    command = [sys.executable, "-m", WORKER, "--join-file", str(ticket)]
    with (server.folder / "by-hand.log").open("ab") as log:
        return subprocess.Popen(command, stderr=log, env=environment(server.folder))


@pytest.fixture
def ticket(server: Server, engine: EngineId) -> Path:
    return ticket_of(server.line.ask(InviteWorker(engine_id=engine), WorkerInvited), server.folder)


@pytest.fixture
def guest(server: Server, ticket: Path) -> Iterator[Process]:
    process = start_by_hand(server, ticket)
    yield process
    process.kill()
    process.wait(PATIENCE_S)


def test_an_invited_worker_makes_the_jobs_and_leaves_when_the_engine_is_stopped(
    server: Server, engine: EngineId, guest: Process
) -> None:
    server.records.wait_for_engine(engine, EngineState.READY)
    accepted = submit(server.line, engine, count=2)

    assert server.records.wait_for_job(accepted.job_id).status is JobState.FINISHED
    assert server.worker_logs == [], "the Manager started a worker of its own"

    server.line.ask(StopEngine(engine_id=engine), EngineAccepted)
    assert guest.wait(PATIENCE_S) == ExitCode.LEFT
    server.records.wait_for_engine(engine, EngineState.CLOSED)


def test_the_job_of_an_invited_worker_that_was_killed_is_made_by_another(
    server: Server, engine: EngineId, guest: Process, go: Path
) -> None:
    server.records.wait_for_engine(engine, EngineState.READY)
    accepted = submit(server.line, engine, f"[until {go}]")
    server.records.wait_for_job(accepted.job_id, JobState.PROCESSING)

    guest.kill()
    go.touch()

    job = server.records.wait_for_job(accepted.job_id)
    assert (job.status, job.attempts) == (JobState.FINISHED, 2)


def test_a_ticket_is_of_no_use_once_its_worker_has_left(
    server: Server, engine: EngineId, guest: Process, ticket: Path
) -> None:
    server.records.wait_for_engine(engine, EngineState.READY)
    guest.terminate()
    assert guest.wait(PATIENCE_S) == ExitCode.LEFT
    server.records.wait_for_engine(engine, EngineState.CLOSED)

    assert start_by_hand(server, ticket).wait(PATIENCE_S) == ExitCode.REFUSED
