"""A stranger at the port makes the API neither deaf nor full: a real process, real sockets."""

import http.client
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.http.findings import MAX_FINDINGS
from kernel.protocol.client import ApiAsk, BrokerReply, Done, JobAccepted, SubmitJob
from kernel.protocol.ids import JobId
from tests.integration.api import attacks
from tests.integration.api.attacks import Address, Answer
from tests.integration.api.fake_manager import FakeManager

ROOT = Path(__file__).parents[3]
MOST_MEMORY_KB = 400_000
HEALTH_TIMEOUT_S = 20.0
"""It answers within a second; a busy machine is given more."""


def willing(ask: ApiAsk) -> BrokerReply:
    return (
        JobAccepted(job_id=JobId("j1"), image_ids=(), created_at_ms=1)
        if isinstance(ask, SubmitJob)
        else Done()
    )


@dataclass(frozen=True)
class Attacked:
    """A running API."""

    process: "subprocess.Popen[str]"
    address: Address
    folder: Path

    @property
    def most_memory_kb(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

    def is_alive(self) -> bool:
        connection = http.client.HTTPConnection(*self.address, timeout=HEALTH_TIMEOUT_S)
        connection.request("GET", "/v1/health/live", headers={"Host": "localhost"})
        status = connection.getresponse().status
        connection.close()
        return status == 200


@pytest.fixture
def attacked(bus_folder: Path) -> Iterator[Attacked]:
    """As it is by default, with a Manager that takes every job."""
    for folder in ("models/uploads", "images"):
        (bus_folder / folder).mkdir(parents=True)
    file = bus_folder / "spoon.toml"
    file.write_text(
        f'[bus]\nfolder = "{bus_folder}"\n[server]\nport = 0\n[models]\nfolder = "{bus_folder}/models"\n'
        f'[images]\nfolder = "{bus_folder}/images"\nmin_free = 0\n'
    )
    command = [sys.executable, "-m", "api.main", "--config", str(file)]
    with (
        FakeManager(bus_folder, say=willing),
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process,
    ):
        assert process.stderr is not None
        host, _, port = process.stderr.readline().strip().rpartition("http://")[2].partition(":")
        yield Attacked(process, (host, int(port)), bus_folder)
        process.kill()


@pytest.fixture
def health(attacked: Attacked) -> Iterator[list[bool]]:
    """Whether the server was alive, asked again and again while the test runs."""
    answers: list[bool] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.wait(0.05):
            answers.append(attacked.is_alive())

    thread = threading.Thread(target=ask)
    thread.start()
    yield answers
    is_over.set()
    thread.join()
    assert answers
    assert all(answers)


def statuses(answers: list[Answer]) -> set[int | None]:
    return {answer.status for answer in answers}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "progressive"])
def test_small_files_of_large_pictures_are_unpacked_one_at_a_time(
    attacked: Attacked, health: list[bool], kind: str
) -> None:
    answers = attacks.small_pictures(attacked.address, kind, count=24)
    assert 202 in statuses(answers)
    assert statuses(answers) <= {202, 429}
    assert attacked.most_memory_kb < MOST_MEMORY_KB


def test_large_bodies_take_turns(attacked: Attacked, health: list[bool]) -> None:
    answers = attacks.large_bodies(attacked.address, count=6)
    assert statuses(answers) <= {422, 429}
    assert attacked.most_memory_kb < MOST_MEMORY_KB


def test_names_are_refused_in_little_time_and_few_words(attacked: Attacked, health: list[bool]) -> None:
    answers = attacks.equal_names(attacked.address) + attacks.unknown_names(attacked.address)
    assert statuses(answers) == {413}
    assert max(answer.size_bytes for answer in answers) < 1_000 * MAX_FINDINGS
    assert attacked.most_memory_kb < MOST_MEMORY_KB
