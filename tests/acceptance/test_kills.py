"""A hundred kill -9 under load: what was acknowledged is there, once and whole, and everything ends.

`KILLS=3000 KILL_SEED=7` in the environment make it more of them, at other moments.
"""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from kernel.protocol.ids import EngineId
from kernel.protocol.vocabulary import JobState
from kernel.views.rows import JobRow
from tests.acceptance.checks import assert_whole
from tests.acceptance.killer import Killer
from tests.acceptance.load import BusClient, Ledger, WebClient
from tests.acceptance.orders import PLAIN, create_engine
from tests.acceptance.patience import wait_for
from tests.acceptance.server import Server

BUS_CLIENTS = 3
WEB_CLIENTS = 2
ENGINES = 2
BLAMELESS = ("worker_crashed", "engine_failed")
"""Why a job may fail here: its worker, or its engine's workers, were killed three times in a row."""


@pytest.mark.timeout(0)
def test_nothing_acknowledged_is_lost_doubled_or_stuck_however_often_processes_are_killed(
    server_with_api: Server, kills: int, kill_seed: int
) -> None:
    server = server_with_api
    server.start()
    model_id = server.records.model_named(PLAIN)
    engines = [create_engine(server.line, model_id) for _ in range(ENGINES)]

    ledgers = kill_under_load(server, engines, kills, kill_seed)

    jobs = wait_until_quiet(server)
    promised = {job_id: ids for ledger in ledgers for job_id, ids in ledger.jobs.items()}
    deleted = {job_id for ledger in ledgers for job_id in ledger.deleted}
    assert {job.job_id: job.image_ids for job in jobs} == {
        job_id: ids for job_id, ids in promised.items() if job_id not in deleted
    }
    assert {job.error_code for job in jobs if job.status is JobState.FAILED} <= set(BLAMELESS)
    ends = Counter(job.status for job in jobs)
    assert ends[JobState.FINISHED] > len(jobs) / 2, ends

    assert server.stop() == 0
    assert server.processes() == []
    server.start()
    assert_whole(server)


def kill_under_load(server: Server, engines: list[EngineId], kills: int, seed: int) -> list[Ledger]:
    """Kill so often while clients ask. Returns: what each client was promised."""
    bus = [
        BusClient(server.new_line(), engines, random.Random(f"{seed} bus {n}")) for n in range(BUS_CLIENTS)
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


def wait_until_quiet(server: Server) -> list[JobRow]:
    """Wait until every job has ended. Returns: all of them."""

    def are_ended() -> bool:
        status = server.line.status()
        return status.jobs_waiting == status.jobs_processing == 0

    wait_for("the end of every job", are_ended, patience_s=120)
    return server.records.jobs()
