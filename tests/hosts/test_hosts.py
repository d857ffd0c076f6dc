"""Workers on other hosts, whose network and Manager fail: nothing is lost, nothing is there twice."""

import shutil
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine_worker.session.actions import ExitCode
from kernel.protocol.client import Done
from kernel.protocol.enums import JobState
from kernel.protocol.ids import JobId
from kernel.protocol.worker_tokens import RevokeWorkerToken
from tests.acceptance.conftest import cleaned_up
from tests.acceptance.orders import submit
from tests.acceptance.patience import wait_for
from tests.acceptance.server import Server
from tests.hosts.conftest import ENDPOINT, SERVICE, Lab
from tests.hosts.network import NotPermitted
from tests.sampling import IS_EXHAUSTIVE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

JOBS = 6
SLOW = "[slow 300ms]"
"""Each of the two steps of each image."""
CUTS_S = (1.0, 10.0, 60.0) if IS_EXHAUSTIVE else (1.0,)


def begin_work(lab: Lab, prompt: str = SLOW) -> list[JobId]:
    """Jobs, of which some are being made on both hosts."""
    jobs = [submit(lab.server.line, lab.engine_id, prompt, count=2).job_id for _ in range(JOBS)]
    wait_for("both workers", lambda: all(host.count("load_engine") for host in lab.workers.values()))
    wait_for("work", lambda: working(lab, jobs) >= 2)
    return jobs


def working(lab: Lab, jobs: list[JobId]) -> int:
    return sum(lab.server.records.job(job).status is JobState.PROCESSING for job in jobs)


def check_all_is_there_once(lab: Lab, jobs: list[JobId]) -> None:
    """Every job finishes, with each of its images once, as a row and as a file."""
    for job in jobs:
        assert lab.server.records.wait_for_job(job).status is JobState.FINISHED
    images = lab.server.records.images()
    places = [(image.job_id, image.position) for image in images]
    assert sorted(places) == sorted((job, position) for job in jobs for position in range(2))
    assert {image.file_name for image in images} == {file.name for file in lab.server.images.glob("*.png")}


def test_far_workers_share_the_work(lab: Lab) -> None:
    jobs = begin_work(lab)
    check_all_is_there_once(lab, jobs)
    assert lab.server.worker_logs == [], "the Manager started a worker of its own"


@pytest.mark.parametrize("seconds", CUTS_S)
def test_pulling_a_cable_loses_nothing(lab: Lab, seconds: float) -> None:
    """For a second nobody notices. For longer the jobs go to the other host, and the worker comes back."""
    jobs = begin_work(lab)
    before = lab.workers["one"].workers()
    lab.hosts["one"].pull_cable()
    time.sleep(seconds)
    lab.hosts["one"].plug_in()
    check_all_is_there_once(lab, jobs)
    assert lab.workers["one"].workers() == before, "it has waited, with its model"
    again = [submit(lab.server.line, lab.engine_id, SLOW).job_id for _ in range(JOBS)]
    wait_for("the worker that was away", lambda: lab.workers["one"].count("run_job") > 0)
    for job in again:
        assert lab.server.records.wait_for_job(job).status is JobState.FINISHED
    assert lab.workers["one"].count("load_engine") == 1


def test_a_slow_and_lossy_network_loses_nothing(lab: Lab) -> None:
    try:
        for name in lab.workers:
            lab.hosts[name].worsen(delay_ms=80, loss_percent=2.0)
    except NotPermitted as error:
        pytest.skip(f"the kernel has no netem: {error}")
    check_all_is_there_once(lab, begin_work(lab))


def test_a_host_that_dies_leaves_its_jobs_to_the_others(lab: Lab) -> None:
    jobs = begin_work(lab)
    lab.hosts["one"].pull_cable()  # as a host without power: nothing says goodbye
    lab.workers["one"].close()
    check_all_is_there_once(lab, jobs)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_follow_a_manager_that_is_started_again(lab: Lab, number: signal.Signals) -> None:
    jobs = begin_work(lab)
    pids = {name: host.workers() for name, host in lab.workers.items()}
    if number is signal.SIGKILL:
        lab.server.kill()
    else:
        assert lab.server.stop() == 0
    lab.server.start()
    check_all_is_there_once(lab, jobs)
    assert {name: host.workers() for name, host in lab.workers.items()} == pids
    assert all(host.count("load_engine") == 1 for host in lab.workers.values()), "a model was loaded again"


def test_workers_follow_a_manager_to_another_host(lab: Lab) -> None:
    """From a backup, as docs/operations.md says: with its keys, and an address that moves with it. What was
    stored after the backup is made again."""
    with tempfile.TemporaryDirectory(prefix="spoon-") as name:
        folder, go, backup = Path(name), Path(name) / "go", Path(name) / "backup.sqlite3"
        jobs = begin_work(lab, f"[until {go}] {SLOW}")
        pids = {name: host.workers() for name, host in lab.workers.items()}
        assert lab.server.spoon("db", "backup", str(backup)).returncode == 0
        go.touch()
        lab.server.records.wait_for_job(jobs[0])
        shutil.copytree(lab.server.folder / "bus", folder / "bus", ignore=shutil.ignore_patterns("*.ipc"))
        lab.hosts["manager"].pull_cable()
        lab.server.kill()

        with cleaned_up(Server(folder)) as moved:
            moved.configure(bus=f'endpoint = "{ENDPOINT}"')
            restored = moved.spoon("db", "restore", str(backup), "--yes")
            assert restored.returncode == 0, restored.stderr
            moved.before = lab.hosts["spare"].command()
            lab.hosts["spare"].take_address(SERVICE)
            moved.start()
            check_all_is_there_once(replace(lab, server=moved), jobs)
            assert {name: host.workers() for name, host in lab.workers.items()} == pids
            assert all(host.count("load_engine") == 1 for host in lab.workers.values())


def test_a_revoked_token_ends_its_workers_and_their_jobs_wait(lab: Lab) -> None:
    jobs = begin_work(lab)
    (token_id,) = lab.server.records.token_ids()
    lab.server.line.ask(RevokeWorkerToken(token_id=token_id), Done)
    for host in lab.workers.values():
        assert host.exit_code() == ExitCode.REFUSED
        assert host.workers() == []
    assert {lab.server.records.job(job).status for job in jobs} <= {JobState.WAITING, JobState.FINISHED}
