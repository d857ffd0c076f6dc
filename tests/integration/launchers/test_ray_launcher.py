"""Workers of a pool in a real Ray cluster of three nodes: their ends, and what is left behind (nothing)."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conf.pools import LauncherKind, Pool
from kernel.protocol.ids import WorkerId
from kernel.shell.ports import Exited, LaunchRuns, LaunchWaits
from tests.acceptance.patience import wait_for
from tests.integration.launchers.pools import POOL, Launching, is_alive, launching, python
from tests.integration.launchers.ray_cluster import RayCluster, ray_cluster

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ALL = os.environ.get("HOSTS") == "1"
"""A node takes seconds to start, and its death a quarter of a minute to be noticed by Ray."""
thorough = pytest.mark.skipif(not ALL, reason="takes a minute; HOSTS=1 runs it")

SAY = """
import json, os, signal, sys, time
told = dict(pid=os.getpid(), actor=os.getppid(), argv=sys.argv[2:], environ=dict(os.environ))
with open(sys.argv[1] + '.new', 'w') as out:
    json.dump(told, out)
os.rename(sys.argv[1] + '.new', sys.argv[1])
"""
LIVE = SAY + "signal.signal(signal.SIGTERM, lambda *_: sys.exit('left in order')); time.sleep(600)"
SECRET = "not for Ray"


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as opened:
        yield opened


def pool(address: str, folder: Path, program: str = LIVE, **keys: object) -> Pool:
    given = {"num_gpus": 0.0, "resources": ("steady=1",)} | keys
    worker = python(program, str(folder / "{name}"), "{name}", "{pool}", "{manager}", "{token_file}")
    return Pool(
        launcher=LauncherKind.RAY, address=address, token_file="/etc/spoon/token", worker=worker, **given
    )


@pytest.fixture(scope="module")
def steady(cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launching]:
    """Launchers whose workers live until they are asked to leave; `logs` is where these say who they are."""
    folder = tmp_path_factory.mktemp("steady")
    os.environ["SPOON_TEST_SECRET"] = SECRET
    with launching(folder, pool(cluster.address, folder)) as opened:
        del os.environ["SPOON_TEST_SECRET"]
        yield opened


class Told:
    """What a worker has said of itself."""

    def __init__(self, folder: Path, name: WorkerId) -> None:
        file = folder / name
        told = json.loads(wait_for("the worker says who it is", lambda: file.exists() and file.read_text()))
        self.pid, self.actor, self.argv, self.environ = (
            told["pid"],
            told["actor"],
            told["argv"],
            told["environ"],
        )

    def has_ended(self) -> bool:
        return not is_alive(self.pid)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> WorkerId:
    return WorkerId(f"w-{abs(hash(request.node.name))}")


def running(lab: Launching, name: WorkerId) -> Told:
    lab.launch(name)
    while (news := lab.next()) != LaunchRuns(name):
        assert isinstance(news, LaunchWaits), news
    return Told(lab.logs, name)


def test_the_actor_runs_the_workers_command_and_nothing_secret_goes_to_it(steady, name) -> None:
    worker = running(steady, name)
    assert worker.argv == [name, POOL, "tcp://10.0.0.1:7871", "/etc/spoon/token"]
    assert SECRET not in worker.environ.values()
    steady.launchers.terminate(name)
    exited = steady.end(name)
    assert (exited.status, exited.exit_code) == ("exit code 1", 1)
    assert exited.last_words.endswith("left in order\n")
    assert "left in order" in (steady.logs / f"{name}.log").read_text()
    wait_for("its actor has ended", lambda: not is_alive(worker.actor))


def test_a_killed_worker_is_gone_with_its_process(steady, name) -> None:
    worker = running(steady, name)
    steady.launchers.kill(name)
    assert steady.end(name).status.startswith("Ray: ")
    wait_for("the worker has ended", worker.has_ended)


def test_the_death_of_its_actor_is_its_end_and_it_is_not_started_again(steady, name) -> None:
    worker = running(steady, name)
    os.kill(worker.actor, signal.SIGKILL)
    exited = steady.end(name)
    assert exited.status.startswith("Ray: ")
    assert "died" in exited.status
    wait_for("the worker has ended", worker.has_ended)


@thorough
def test_a_worker_that_dies_by_a_signal_is_told_as_such(steady, name) -> None:
    worker = running(steady, name)
    os.kill(worker.pid, signal.SIGKILL)
    exited = steady.end(name)
    assert (exited.status, exited.exit_code) == ("signal SIGKILL", None)


@thorough
def test_the_death_of_its_node_is_its_end(cluster, tmp_path, name) -> None:
    brittle = pool(cluster.address, tmp_path, resources=("brittle=1",))
    with launching(tmp_path, brittle) as lab:
        worker = running(lab, name)
        cluster.remove("brittle")
        exited = lab.end(name)
        assert exited.status.startswith("Ray: ")
        assert "node" in exited.status
        wait_for("the worker has ended", worker.has_ended)


@thorough
def test_a_worker_waits_for_capacity_with_rays_reason_until_there_is_a_node(cluster, tmp_path, name) -> None:
    late = pool(cluster.address, tmp_path, resources=("late=1",))
    with launching(tmp_path, late) as lab:
        lab.launch(name)
        assert lab.next() == LaunchWaits(name, "no node of the Ray cluster has late for CPU 1, late 1")
        cluster.add("late")
        assert lab.next() == LaunchRuns(name)
        other = WorkerId(f"{name}-2")
        lab.launch(other)
        assert lab.next() == LaunchWaits(other, "all nodes of the Ray cluster with CPU 1, late 1 are busy")
        lab.launchers.terminate(other)
        assert isinstance(lab.end(other), Exited)
        worker = Told(lab.logs, name)
    assert worker.has_ended()


@thorough
def test_a_command_that_is_not_on_the_node_is_an_end_with_its_name(cluster, tmp_path, name) -> None:
    lacking = Pool(
        launcher=LauncherKind.RAY, address=cluster.address, num_gpus=0.0, worker=("no-spoon", "{name}")
    )
    with launching(tmp_path, lacking) as lab:
        lab.launch(name)
        exited = lab.end(name)
        assert (exited.exit_code, exited.last_words) == (1, "no-spoon: No such file or directory\n")


@thorough
@pytest.mark.parametrize("look", [os.getpid, None], ids=["driver", "close"])
def test_no_worker_outlives_its_driver(cluster, tmp_path, name, look: Callable[[], int] | None) -> None:
    with launching(tmp_path, pool(cluster.address, tmp_path)) as lab:
        worker = running(lab, name)
        if look is not None:
            os.kill(lab.launchers.pids()[POOL], signal.SIGKILL)
            assert lab.end(name).status == "the launcher of pool lab ended: signal SIGKILL"
    wait_for("the worker has ended", worker.has_ended)


def test_without_a_cluster_the_launch_fails_and_says_so(tmp_path, name) -> None:
    with launching(tmp_path, pool("127.0.0.1:1", tmp_path)) as lab:
        lab.launch(name)
        assert lab.end(name).status.startswith(("Ray: ", "the launcher of pool lab ended"))
