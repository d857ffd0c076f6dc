"""A hundred kill -9 under load: what was acknowledged is there, once and whole, and everything ends.

`KILLS=3000 KILL_SEED=7` in the environment make it more of them, at other moments.
"""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from kernel.protocol.enums import InputKind, JobState, ModelState
from kernel.protocol.ids import EngineId
from tests.acceptance.checks import assert_whole
from tests.acceptance.killer import Killer
from tests.acceptance.load import BusClient, Ledger, WebClient
from tests.acceptance.orders import MODELS, PLAIN, create_engine, echo_of
from tests.acceptance.patience import wait_for
from tests.acceptance.server import Server

BUS_CLIENTS = 3
WEB_CLIENTS = 2
ENGINES = 2
BLAMELESS = {"worker_crashed"}
"""Why a job or a model may fail here: its workers were killed again and again."""


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_nothing_acknowledged_is_lost_doubled_or_stuck_however_often_processes_are_killed(
    server_with_api: Server, kills: int, kill_seed: int
) -> None:
    server = server_with_api
    server.start()
    model_id = server.records.model_named(PLAIN)
    engines = [create_engine(server.line, model_id) for _ in range(ENGINES)]

    ledgers = kill_under_load(server, engines, kills, kill_seed)

    wait_until_quiet(server)
    assert_promises_kept(server, ledgers)
    assert server.stop() == 0
    assert server.processes() == []
    server.start()
    assert_whole(server)


def kill_under_load(server: Server, engines: list[EngineId], kills: int, seed: int) -> list[Ledger]:
    """Kill so often while clients ask. Returns: what each client was promised."""
    checkpoint = server.folder / "checkpoint.safetensors"
    bus = [
        BusClient(server.new_line(), checkpoint, engines, random.Random(f"{seed} bus {n}"))
        for n in range(BUS_CLIENTS)
    ]
    url = f"http://127.0.0.1:{server.port}"
    web = [WebClient(url, engines, random.Random(f"{seed} web {n}")) for n in range(WEB_CLIENTS)]
    killer, is_over = Killer(server, random.Random(f"{seed} kills")), Event()
    with ThreadPoolExecutor(BUS_CLIENTS + WEB_CLIENTS) as pool:
        futures = [pool.submit(client.run, is_over) for client in (*bus, *web)]
        try:
            while killer.kills.total() < kills:
                killer.kill_one()
        finally:
            is_over.set()
        ledgers = [future.result() for future in futures]
    print(f"seed {seed}: {dict(killer.kills)}, {sum(len(ledger.jobs) for ledger in ledgers)} jobs")
    return ledgers


def wait_until_quiet(server: Server) -> None:
    """Wait until every job has ended and every model is inspected."""

    def are_ended() -> bool:
        status = server.line.status()
        return status.jobs_waiting == status.jobs_processing == 0

    wait_for("the end of every job", are_ended, patience_s=120)
    wait_for("the end of every inspection", lambda: ModelState.DOWNLOADING not in model_states(server))


def model_states(server: Server) -> set[ModelState]:
    return {model.status for model in server.records.models()}


def assert_promises_kept(server: Server, ledgers: list[Ledger]) -> None:
    """Everything acknowledged is there once, as it was acknowledged, and nothing else is there."""
    jobs = server.records.jobs()
    promised = {job_id: ids for ledger in ledgers for job_id, ids in ledger.jobs.items()}
    cancelled = {job_id for ledger in ledgers for job_id in ledger.cancelled}
    deleted = {job_id for ledger in ledgers for job_id in ledger.deleted}
    models = {model_id for ledger in ledgers for model_id in ledger.models}
    assert {job.job_id for job in jobs} == promised.keys() - deleted
    for job in jobs:
        ids = promised[job.job_id]
        assert job.image_ids == ids or (
            job.status is not JobState.FINISHED and set(job.image_ids) <= set(ids)
        )
    ends = {job.job_id: job.status for job in jobs}
    assert {ends[job_id] for job_id in cancelled - deleted} <= {JobState.CANCELLED}
    assert {job.error_code for job in jobs if job.status is JobState.FAILED} <= BLAMELESS
    pictures = {job_id: data for ledger in ledgers for job_id, data in ledger.pictures.items()}
    for job in jobs:
        if job.status is JobState.FINISHED and job.job_id in pictures:
            # A job that was finished by its last picture alone, its worker being dead, has no warnings.
            assert job.warnings in ((), echo_of({InputKind.REFERENCE: pictures[job.job_id]}))
    tally = Counter(ends.values())
    assert tally[JobState.FINISHED] > len(jobs) / 2, tally
    found = {model.model_id: model for model in server.records.models()}
    assert set(found) >= models
    assert len(found) == len(models) + len(MODELS)
    assert {found[model_id].error_code for model_id in models} <= BLAMELESS | {None}
