"""SIGSTOP, which no process can catch, for each kind of process, while jobs and models are asked for.

The Manager and the API are woken again, as after a suspended machine; workers never are. `FREEZES=3` in the
environment does it three times.
"""

import os
import signal
import time
from collections import Counter
from typing import Final

import httpx
import pytest

from kernel.protocol.client import JobAccepted, ModelAccepted, RegisterModel
from kernel.protocol.enums import JobState, ModelState, ModelType
from kernel.protocol.ids import EngineId
from tests.acceptance.checks import assert_whole
from tests.acceptance.orders import PLAIN, create_engine, submit
from tests.acceptance.patience import wait_for
from tests.acceptance.processes import API, MANAGER, WORKER, Found
from tests.acceptance.server import Server

TIMES: Final = int(os.environ.get("FREEZES", "1"))
STOPPED_S: Final = 7.0
"""Longer than a worker may be silent (5 s): it must not be blamed for a Manager that did not listen."""
SLOW: Final = "[slow 100ms]"


def stop_and_wake(process: Found) -> None:
    process.send(signal.SIGSTOP)
    time.sleep(STOPPED_S)
    process.send(signal.SIGCONT)


def submit_some(server: Server, engine: EngineId) -> list[JobAccepted]:
    return [submit(server.line, engine, SLOW, count=2) for _ in range(6)]


def wait_for_work(server: Server) -> None:
    wait_for("a job under way", lambda: server.line.status().jobs_processing > 0)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_jobs_outlive_stops_of_every_process(server_with_api: Server) -> None:
    server = server_with_api
    server.start()
    engine = create_engine(server.line, server.records.model_named(PLAIN))
    accepted: list[JobAccepted] = []
    for module in (MANAGER, API):
        for _ in range(TIMES):
            accepted += submit_some(server, engine)
            wait_for_work(server)
            (process,) = server.processes(module)
            stop_and_wake(process)
            wait_for("the API", lambda: is_healthy(server))
    woken = [server.records.wait_for_job(one.job_id) for one in accepted]
    assert {job.attempts for job in woken} == {1}, "no worker is blamed for a Manager that did not listen"
    for _ in range(TIMES):
        accepted += submit_some(server, engine)
        wait_for_work(server)
        for worker in server.processes(WORKER):
            worker.send(signal.SIGSTOP)
        for one in accepted:
            server.records.wait_for_job(one.job_id)
    models = [frozen_fetch_worker(server, number) for number in range(TIMES)]

    jobs = [server.records.wait_for_job(one.job_id) for one in accepted]
    attempts = dict(Counter(job.attempts for job in jobs))
    print(f"{len(jobs)} jobs: {dict(Counter(job.status for job in jobs))}, attempts {attempts}")
    assert {job.status for job in jobs} == {JobState.FINISHED}
    assert {job.job_id: job.image_ids for job in server.records.jobs()} == {
        one.job_id: one.image_ids for one in accepted
    }
    assert models == [ModelState.READY] * TIMES
    assert server.stop() == 0
    server.start()
    assert_whole(server)


def is_healthy(server: Server) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{server.port}/v1/health/live", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def frozen_fetch_worker(server: Server, number: int) -> ModelState:
    """A model that is given to a fetch worker which was stopped for ever after its last one."""
    engines = set(server.processes(WORKER))
    register(server, f"before-{number}")
    for worker in set(server.processes(WORKER)) - engines:
        worker.send(signal.SIGSTOP)
    return register(server, f"frozen-{number}")


def register(server: Server, name: str) -> ModelState:
    uri = f"file://{server.folder / 'checkpoint.safetensors'}"
    ask = RegisterModel(name=name, uri=uri, model_type=ModelType.CHECKPOINT)
    return server.records.wait_for_model(server.line.ask(ask, ModelAccepted).model_id).status
