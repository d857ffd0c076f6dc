"""A server whose engine runs in a real Ray cluster of three nodes on this machine: HOSTS=1 runs this.

What the launcher alone does is tested in tests/integration/launchers.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.protocol.client import ModelAccepted, RegisterModel
from kernel.protocol.enums import EngineState, JobState, ModelType
from kernel.protocol.ids import EngineId, ModelId
from tests.acceptance.conftest import cleaned_up
from tests.acceptance.launching import (
    SUPERVISOR,
    add_pool,
    create_token,
    engine_in_pool,
    in_toml,
    worker_command,
)
from tests.acceptance.orders import submit
from tests.acceptance.patience import wait_for
from tests.acceptance.processes import MARK, WORKER
from tests.acceptance.server import Server
from tests.integration.launchers.pools import is_alive
from tests.integration.launchers.ray_cluster import RayCluster, ray_cluster

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.environ.get("HOSTS") != "1", reason="takes two minutes; HOSTS=1 runs it"),
]
SHIPS = Path(__file__).parents[2] / "engine_worker/embedded/models/scenes-sd.safetensors"


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as opened:
        yield opened


def start_with_pool(server: Server, cluster: RayCluster, node: str, *, is_fake: bool = True) -> None:
    worker = ["env", f"{MARK}={server.folder}", "OMP_NUM_THREADS=1", *worker_command(is_fake=is_fake)]
    add_pool(
        server,
        launcher='"ray"',
        address=f'"{cluster.address}"',
        num_gpus=0,
        resources=f'["{node}=1"]',
        worker=in_toml(worker),
    )
    server.start()
    create_token(server)


def reason(server: Server, engine_id: EngineId) -> str:
    return server.records.engine(engine_id).waits_reason or ""


def test_jobs_survive_the_death_of_the_node_of_their_worker_and_wait_for_another_one(
    server: Server, plain: ModelId, cluster: RayCluster, go: Path
) -> None:
    start_with_pool(server, cluster, "brittle")
    engine_id = engine_in_pool(server.line, plain)
    accepted = submit(server.line, engine_id, f"[until {go}]")
    server.records.wait_for_job(accepted.job_id, JobState.PROCESSING)
    assert len(server.processes(WORKER)) == 1
    cluster.remove("brittle")
    server.records.wait_for_job(accepted.job_id, JobState.WAITING)
    wait_for("no process of the worker is left", lambda: not server.processes(SUPERVISOR))
    assert server.processes(WORKER) == []
    wait_for("Ray's reason", lambda: "no node of the Ray cluster has brittle" in reason(server, engine_id))
    go.touch()
    cluster.add("brittle")
    server.records.wait_for_job(accepted.job_id, JobState.FINISHED)


def test_the_death_of_its_actor_costs_a_job_one_attempt_and_the_pool_goes_to_zero(
    server: Server, plain: ModelId, cluster: RayCluster, go: Path
) -> None:
    start_with_pool(server, cluster, "steady")
    engine_id = engine_in_pool(server.line, plain, keep_alive_s=0.5)
    accepted = submit(server.line, engine_id, f"[until {go}]")
    server.records.wait_for_job(accepted.job_id, JobState.PROCESSING)
    (worker,) = server.processes(SUPERVISOR)
    (held,) = server.processes(WORKER)
    os.kill(parent_of(worker.pid), signal.SIGKILL)
    wait_for("the worker has ended", lambda: not is_alive(held.pid))
    go.touch()
    job = server.records.wait_for_job(accepted.job_id, JobState.FINISHED)
    assert job.attempts == 2
    server.records.wait_for_engine(engine_id, EngineState.CLOSED)
    wait_for("no process of a worker is left", lambda: not server.processes(SUPERVISOR))
    assert server.processes(WORKER) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_in_the_cluster_when_the_server_ends(
    server: Server, plain: ModelId, cluster: RayCluster, number: signal.Signals
) -> None:
    start_with_pool(server, cluster, "steady")
    accepted = submit(server.line, engine_in_pool(server.line, plain), "a fox")
    server.records.wait_for_job(accepted.job_id, JobState.FINISHED)
    assert len(server.processes(WORKER)) == 1
    server.signal(number)
    server.exit_code()
    wait_for("all its processes have ended", lambda: not server.processes())


@pytest.mark.torch
def test_the_model_that_ships_makes_an_image_in_the_cluster(folder: Path, cluster: RayCluster) -> None:
    with cleaned_up(Server(folder, has_fakes=False)) as server:
        start_with_pool(server, cluster, "steady", is_fake=False)
        ask = RegisterModel(name="ships", uri=f"file://{SHIPS}", model_type=ModelType.CHECKPOINT)
        model_id = server.line.ask(ask, ModelAccepted).model_id
        server.records.wait_for_model(model_id)
        engine_id = engine_in_pool(server.line, model_id, steps=4, width_px=None, height_px=None)
        accepted = submit(server.line, engine_id, "a fox")
        job = server.records.wait_for_job(accepted.job_id, JobState.FINISHED)
        (image,) = server.records.images()
        assert (server.images / image.file_name).stat().st_size > 10_000
        assert job.attempts == 1


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
