"""A worker on another host, as far as loopback is one: it joins with a token, and outlives the Manager."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_worker.session.actions import ExitCode
from kernel.protocol.client import Done, EngineAccepted, StopEngine
from kernel.protocol.enums import EngineState, JobState
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.worker_tokens import RevokeWorkerToken
from tests.acceptance.far_host import POOL, FarHost, far_host, new_token
from tests.acceptance.orders import create_engine, submit
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.server import Server


@pytest.fixture
def host(server: Server, tmp_path: Path) -> Iterator[FarHost]:
    with far_host(server, tmp_path / "far") as host:
        server.start()
        host.takes(new_token(server))
        yield host


@pytest.fixture
def engine(server: Server, plain: ModelId, host: FarHost) -> EngineId:
    return create_engine(server.line, plain, pool=POOL)


def test_worker_makes_jobs_of_its_pool_and_a_fresh_process_follows_when_the_engine_is_closed(
    server: Server, engine: EngineId, host: FarHost
) -> None:
    accepted = submit(server.line, engine, count=2)
    supervisor = host.starts()
    assert server.records.wait_for_job(accepted.job_id).status is JobState.FINISHED
    assert server.worker_logs == [], "the Manager started a worker of its own"
    (first,) = host.workers()

    server.line.ask(StopEngine(engine_id=engine), EngineAccepted)
    server.records.wait_for_engine(engine, EngineState.CLOSED)
    wait_for("a fresh worker", lambda: host.workers() not in ([], [first]))

    supervisor.terminate()
    assert supervisor.wait(PATIENCE_S) == 0
    assert host.workers() == []


def test_worker_keeps_its_model_and_its_job_when_the_manager_is_killed_and_its_result_counts(
    server: Server, engine: EngineId, host: FarHost, go: Path
) -> None:
    host.starts()
    accepted = submit(server.line, engine, f"[until {go}]", count=2)
    server.records.wait_for_job(accepted.job_id, JobState.PROCESSING)
    (pid,) = host.workers()

    server.kill()
    go.touch()  # it is made while nobody listens
    server.start()

    job = server.records.wait_for_job(accepted.job_id)
    assert (job.status, job.attempts) == (JobState.FINISHED, 1)
    assert host.workers() == [pid]
    assert host.count("load_engine") == 1, "it has loaded its model again"
    assert len(list(server.images.glob("*.png"))) == 2


def test_worker_outlives_an_orderly_restart_and_ends_when_its_token_is_revoked(
    server: Server, engine: EngineId, host: FarHost
) -> None:
    supervisor = host.starts()
    first = submit(server.line, engine)
    server.records.wait_for_job(first.job_id)
    (pid,) = host.workers()

    assert server.stop() == 0
    server.start()
    second = submit(server.line, engine)
    assert server.records.wait_for_job(second.job_id).status is JobState.FINISHED
    assert (host.workers(), host.count("load_engine")) == ([pid], 1)

    (token_id,) = server.records.token_ids()
    server.line.ask(RevokeWorkerToken(token_id=token_id), Done)
    assert supervisor.wait(PATIENCE_S) == ExitCode.REFUSED
    assert "token_revoked" in host.log.read_text()
    assert host.starts().wait(PATIENCE_S) == ExitCode.REFUSED
