"""A stranger at the port makes the API neither deaf nor full: a real process, real sockets."""

import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.http.contract.validation_errors import MAX_FAULTS
from api.http.framework.bodies import BODIES_AT_ONCE
from kernel.protocol.client import ApiAsk, BrokerReply, Done, SubmitJob
from tests.integration.api import attacks
from tests.integration.api.attacks import Address, Answer
from tests.integration.api.fake_manager import FakeManager
from tests.unit.api.fake_bus import accepted
from tests.unit.views.database import SampleDatabase

ROOT = Path(__file__).parents[3]
MOST_MEMORY_KB = 400_000
MAX_BODY = 1 << 20
CRAMPED = f"max_body = {MAX_BODY}"
"""Then there is room for 16 MiB of bodies."""
HEALTH_TIMEOUT_S = 20.0
"""It answers within a second; a busy machine is given more."""


def willing(ask: ApiAsk) -> BrokerReply:
    return accepted() if isinstance(ask, SubmitJob) else Done()


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

    @property
    def temporary_bytes(self) -> int:
        """What its files without a name hold."""
        size = 0
        for file in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                size += file.stat().st_size if "/temporary/" in str(file.readlink()) else 0
        return size

    def is_alive(self) -> bool:
        connection = http.client.HTTPConnection(*self.address, timeout=HEALTH_TIMEOUT_S)
        connection.request("GET", "/v1/health/live", headers={"Host": "localhost"})
        status = connection.getresponse().status
        connection.close()
        return status == 200


@contextmanager
def running(bus_folder: Path, more: str = "") -> Iterator[Attacked]:
    """The API as it is by default, but for `more`, with a Manager that takes every job."""
    for folder in ("models/uploads", "images", "temporary"):
        (bus_folder / folder).mkdir(parents=True)
    file = bus_folder / "spoon.toml"
    (bus_folder / "database").mkdir()
    SampleDatabase(bus_folder / "database" / "spoon.sqlite3").close()
    file.write_text(
        f'[database]\nfolder = "{bus_folder}/database"\n'
        f'[bus]\nfolder = "{bus_folder}"\n[server]\nport = 0\n{more}\n'
        f'[models]\nfolder = "{bus_folder}/models"\n'
        f'[images]\nfolder = "{bus_folder}/images"\nmin_free = 0\n'
    )
    command = [sys.executable, "-m", "api.main", "--config", str(file)]
    environment = os.environ | {"TMPDIR": str(bus_folder / "temporary")}
    with (
        FakeManager(bus_folder, say=willing),
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment) as process,
    ):
        assert process.stderr is not None
        host, _, port = process.stderr.readline().strip().rpartition("http://")[2].partition(":")
        yield Attacked(process, (host, int(port)), bus_folder)
        process.kill()


@pytest.fixture
def attacked(bus_folder: Path, request: pytest.FixtureRequest) -> Iterator[Attacked]:
    with running(bus_folder, getattr(request, "param", "")) as api:
        yield api


@pytest.fixture
def health(attacked: Attacked) -> Iterator[list[bool]]:
    """Whether the server was alive, asked again and again while the test runs."""
    answers: list[bool] = []
    is_over = threading.Event()

    def ask() -> None:
        answers.append(attacked.is_alive())
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
    assert max(answer.size_bytes for answer in answers) < 1_000 * MAX_FAULTS
    assert attacked.most_memory_kb < MOST_MEMORY_KB


def test_heads_of_parts_are_short_and_taken_apart_beside_the_sockets(
    attacked: Attacked, health: list[bool]
) -> None:
    answers = attacks.long_heads(attacked.address)
    assert statuses(answers) <= {400, 429, None}
    assert 400 in statuses(answers)
    assert list((attacked.folder / "models/uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("length", "path", "more", "answer"),
    [
        (1_000, "/v1/jobs", "", "HTTP/1.1 100 Continue"),
        (1 << 30, "/v1/jobs", "", "HTTP/1.1 413 "),
        (2 << 20, "/v1/models", "", "HTTP/1.1 413 "),
        (1_000, "/v1/jobs", "Origin: https://evil.example\r\n", "HTTP/1.1 403 "),
        (1_000, "/v1/models/upload", "", "HTTP/1.1 400 "),
        (0, "/v1/jobs", "", "HTTP/1.1 400 "),
    ],
)
def test_a_body_is_asked_for_only_when_its_head_is_right(
    attacked: Attacked, length: int, path: str, more: str, answer: str
) -> None:
    found = attacks.expecting(attacked.address, length, path, more)
    assert found.decode().startswith(answer)


@pytest.mark.parametrize("attacked", [CRAMPED], indirect=True)
def test_unfinished_bodies_fill_no_disk_and_go_with_their_connections(
    attacked: Attacked, health: list[bool]
) -> None:
    with attacks.unfinished(attacked.address, 40, MAX_BODY - 2):
        until(lambda: attacked.temporary_bytes >= (BODIES_AT_ONCE - 1) * (MAX_BODY - 2))
        assert attacked.temporary_bytes <= BODIES_AT_ONCE * MAX_BODY
        short = attacks.post(attacked.address, "/v1/jobs", b'{"engine_id":"e1"}')
        assert short.status == 202
    until(lambda: attacked.temporary_bytes == 0)


def test_unfinished_uploads_are_few_and_leave_nothing(attacked: Attacked, health: list[bool]) -> None:
    with attacks.unfinished(attacked.address, 30, 100_000, is_upload=True):
        pass
    until(lambda: list((attacked.folder / "models/uploads").iterdir()) == [])
    assert attacked.most_memory_kb < MOST_MEMORY_KB


def until(look: Callable[[], bool]) -> None:
    end = time.monotonic() + HEALTH_TIMEOUT_S
    while not look():
        assert time.monotonic() < end
        time.sleep(0.02)
