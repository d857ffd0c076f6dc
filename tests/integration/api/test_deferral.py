"""Plain jobs hold no thread while the Manager works on them: real sockets, a real bus, a slow Manager."""

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from api.bus import Bus
from api.http.app import make_app
from api.http.framework.server import HttpServer
from api.hub import Hub
from conf.settings import Server, Settings
from kernel.protocol.client import ApiAsk, BrokerReply, Refused, SubmitJob
from kernel.views.reader import Reader
from tests.integration.api.fake_manager import FakeManager
from tests.unit.api.fake_bus import accepted
from tests.unit.views.database import SampleDatabase

TIMEOUT_S = 20.0
MANY = 40


@dataclass
class Hesitant:
    """Answers when it may: a job is called after its seed, and one with the seed 0 is refused."""

    may_answer: threading.Event = field(default_factory=threading.Event)

    def say(self, ask: ApiAsk) -> BrokerReply:
        assert isinstance(ask, SubmitJob)
        assert self.may_answer.wait(TIMEOUT_S)
        seed = ask.request.seed
        if seed == 0:
            return Refused(code="queue_full", detail="full")
        return accepted(f"j{seed}")


@dataclass
class Running:
    """A server before a Manager that hesitates."""

    server: HttpServer
    bus: Bus
    manager: FakeManager
    may_answer: threading.Event

    def connect(self) -> socket.socket:
        host, _, port = self.server.url.removeprefix("http://").partition(":")
        return socket.create_connection((host, int(port)), timeout=TIMEOUT_S)


@pytest.fixture
def running(bus_folder: Path, tmp_path: Path) -> Iterator[Running]:
    manager, hub, database = Hesitant(), Hub(), SampleDatabase(tmp_path / "spoon.sqlite3")
    bus, reader = Bus(bus_folder, hub), Reader(database.file)
    settings = Settings(server=Server(port=0, threads=4))
    with FakeManager(bus_folder, say=manager.say, is_bundling=True) as fake:
        bus.open()
        app = make_app(settings, bus, reader, hub, lambda: 10_000)
        server = HttpServer(app, settings.server, is_silent=lambda: bus.is_silent, deferral=app.deferral)

        def serve() -> None:  # as the API's own main function does
            server.run()
            server.finish(TIMEOUT_S)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Running(server, bus, fake, manager.may_answer)
        manager.may_answer.set()
        server.stop()
        thread.join()
        bus.close()
    reader.close()
    database.close()


def job(seed: int, more: str = "") -> bytes:
    body = json.dumps({"engine_id": "e1", "seed": seed}).encode()
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def answer_on(connection: socket.socket) -> tuple[int, str]:
    """The status, and the id of the job or the code of the problem."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    told = json.loads(answer.read())
    return answer.status, told.get("job_id") or told["code"]


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def request_threads() -> int:
    return sum(thread.name == "request" for thread in threading.enumerate())


def test_jobs_that_wait_for_the_manager_hold_no_thread(running: Running) -> None:
    before = request_threads()
    connections = [running.connect() for _ in range(MANY)]
    for seed, connection in enumerate(connections, 1):
        connection.sendall(job(seed))
    until(lambda: running.bus.figures().unanswered == MANY)
    assert request_threads() == before
    running.may_answer.set()
    assert [answer_on(one) for one in connections] == [(202, f"j{seed}") for seed in range(1, MANY + 1)]
    for connection in connections:
        connection.close()


def test_jobs_in_a_row_are_answered_in_a_row_whatever_becomes_of_them(running: Running) -> None:
    running.may_answer.set()
    seeds = [3, 0, 1, 2, 0, 5]
    with running.connect() as connection:
        connection.sendall(b"".join(job(seed) for seed in seeds[:-1]) + job(5, "Connection: close\r\n"))
        with connection.makefile("rb") as stream:
            told = stream.read()
    found = [part for part in told.split(b'"') if part in (b"queue_full", b"j1", b"j2", b"j3", b"j5")]
    assert found == [b"queue_full" if seed == 0 else b"j%d" % seed for seed in seeds]
    assert told.count(b"HTTP/1.1 202 Accepted") == 4
    assert told.count(b"\r\nConnection: close\r\n") == 1


def test_between_two_jobs_other_requests_have_their_turn(running: Running) -> None:
    running.may_answer.set()
    live = b"GET /v1/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    long = job(1, "X: " + "x" * 20_000 + "\r\n")
    with running.connect() as connection:
        connection.sendall(job(1) + live + long + live + job(2, "Connection: close\r\n"))
        with connection.makefile("rb") as stream:
            told = stream.read()
    assert re.findall(rb"HTTP/1.1 (\d+)", told) == [b"202", b"200", b"202", b"200", b"202"]


def test_a_client_that_leaves_before_the_answer_is_missed_by_nobody(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    gone, patient = running.connect(), running.connect()
    gone.sendall(job(1))
    patient.sendall(job(2))
    until(lambda: running.bus.figures().unanswered == 2)
    gone.close()
    running.may_answer.set()
    assert answer_on(patient) == (202, "j2")
    patient.sendall(job(3))
    assert answer_on(patient) == (202, "j3")
    patient.close()
    assert caplog.records == []


def test_a_stopping_server_waits_for_the_answers_that_are_out(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(job(7))
        until(lambda: running.bus.figures().unanswered == 1)
        running.server.stop()
        running.may_answer.set()
        assert answer_on(connection) == (202, "j7")
