"""`?wait=` over real sockets: hundreds of requests wait, and the server hears everybody else."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.http.app import make_app
from api.http.framework.server import HttpServer
from api.hub import Hub
from conf.settings import Images, Server, Settings
from kernel.protocol.client import Changed, EngineAccepted, StartEngine, StopEngine, SubmitJob
from kernel.protocol.enums import ChangeKind, EngineState
from kernel.protocol.ids import EngineId, EventSeq
from kernel.views.reader import Reader
from tests.unit.api.fake_bus import FakeBus, accepted
from tests.unit.views.database import SampleDatabase

WAITS = 200
THREADS = 8


@dataclass
class Running:
    server: HttpServer
    thread: threading.Thread
    bus: FakeBus
    database: SampleDatabase
    hub: Hub
    seq: int = 0

    def connect(self) -> http.client.HTTPConnection:
        host, _, port = self.server.url.removeprefix("http://").partition(":")
        return http.client.HTTPConnection(host, int(port), timeout=30)

    def get(self, path: str, method: str = "GET") -> tuple[int, dict[str, object]]:
        with closing(self.connect()) as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def waits(self) -> int:
        with closing(self.connect()) as connection:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        return int(float(next(line.split()[1] for line in lines if line.startswith("spoon_api_waits "))))

    def until_wait(self, count: int) -> None:
        end = time.monotonic() + 60
        while self.waits() != count:
            assert time.monotonic() < end, f"{self.waits()} requests wait"
            time.sleep(0.02)

    def move(self, table: str, thing_id: str, **values: object) -> None:
        """A change in the database, and its notice."""
        self.database.set(table, f"{table}_id", thing_id, **values)
        self.seq += 1
        state = str(values.get("status", ""))
        kind = ChangeKind(table)
        self.hub.publish(Changed(seq=EventSeq(self.seq), kind=kind, id=thing_id, state=state, at_ms=1))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    images = tmp_path / "images"
    images.mkdir()
    settings = Settings(
        images=Images(folder=images), server=Server(port=0, threads=THREADS, max_waits=WAITS, max_streams=1)
    )
    database, bus, hub = SampleDatabase(tmp_path / "spoon.sqlite3"), FakeBus(), Hub()
    reader = Reader(database.file)
    app = make_app(settings, bus, reader, hub, lambda: 10_000)
    server = HttpServer(app, settings.server, deferral=app.deferral)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield Running(server, thread, bus, database, hub)
    server.stop()
    thread.join()
    hub.close()
    server.finish(2.0)
    reader.close()
    database.close()


def test_hundreds_of_waits_hold_no_thread_and_all_are_answered_when_the_job_ends(running: Running) -> None:
    running.database.add_engine("e1")
    running.database.add_job(1, "j1")
    running.bus.reactions[SubmitJob] = accepted()
    with ExitStack() as stack:
        waiting = [stack.enter_context(closing(running.connect())) for _ in range(WAITS)]
        for connection in waiting:
            connection.request("GET", "/v1/jobs/j1?wait=60")
        running.until_wait(WAITS)
        threads = sum(thread.name == "request" for thread in threading.enumerate())
        assert threads <= 3 * THREADS
        assert running.get("/v1/health/live")[0] == 200
        assert running.get("/v1/jobs/j1")[1]["status"] == "waiting"
        asked = len(running.bus.asked)
        for method, path in (("GET", "/v1/jobs/j1?wait=1"), ("POST", "/v1/jobs?wait=1")):
            status, problem = running.get(path, method)
            assert (status, problem["code"]) == (429, "too_many_waits")
        assert len(running.bus.asked) == asked, "a refused request has changed something"
        running.move("job", "j1", status="finished", finished_at_ms=9)
        answers = [connection.getresponse() for connection in waiting]
        assert {(one.status, json.loads(one.read())["status"]) for one in answers} == {(200, "finished")}
        running.until_wait(0)
        waiting[0].request("GET", "/v1/jobs/j1")
        assert waiting[0].getresponse().status == 200, "the connection cannot be used again"


def test_a_client_that_leaves_gives_its_place_to_others(running: Running) -> None:
    running.database.add_job(1, "j1")
    with closing(running.connect()) as connection:
        connection.request("GET", "/v1/jobs/j1?wait=300")
        running.until_wait(1)
    running.until_wait(0)


def test_a_request_that_comes_behind_one_that_waits_is_answered_after_it(running: Running) -> None:
    running.database.add_job(1, "j1")
    with closing(running.connect()) as unused:
        address = (unused.host, unused.port)
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(b"GET /v1/jobs/j1?wait=300 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        running.until_wait(1)
        last = b"GET /v1/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(last)
        running.move("job", "j1", status="failed", error_code="c", error="d", finished_at_ms=9)
        answers = b""
        while data := connection.recv(65_536):
            answers += data
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.index(b'"status":"failed"') < answers.rindex(b"HTTP/1.1")


def test_after_the_time_the_answer_is_what_is_true_then(running: Running) -> None:
    running.database.add_engine("e1")
    running.database.add_job(1, "j1")
    running.bus.reactions[SubmitJob] = accepted()
    assert running.get("/v1/jobs/j1?wait=0.05")[1]["status"] == "waiting"
    with closing(running.connect()) as connection:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/jobs?wait=0.05", b'{"engine_id": "e1"}', headers)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Location"]) == (202, "/v1/jobs/j1")
        assert json.loads(answer.read())["status"] == "waiting"


def test_a_model_is_awaited_until_it_is_ready(running: Running) -> None:
    running.database.add_model("m1", status="downloading")
    with closing(running.connect()) as connection:
        connection.request("GET", "/v1/models/m1?wait=60")
        running.until_wait(1)
        running.move("model", "m1", status="ready")
        assert json.loads(connection.getresponse().read())["status"] == "ready"


@pytest.mark.parametrize("end", ["ready", "working", "error", "closed"])
def test_a_start_is_awaited_through_the_queue_for_memory_and_the_loading(running: Running, end: str) -> None:
    running.database.add_engine("e1", status="closed", waits_since_ms=5)
    running.bus.reactions[StartEngine] = EngineAccepted(engine_id=EngineId("e1"), status=EngineState.CLOSED)
    with closing(running.connect()) as connection:
        connection.request("PATCH", "/v1/engines/e1/start?wait=60")
        running.until_wait(1)
        running.move("engine", "e1", status="starting", waits_since_ms=None)
        running.until_wait(1)
        running.move("engine", "e1", status=end)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["status"]) == (200, end)


def test_a_stop_is_awaited_until_the_engine_is_closed_and_a_short_wait_says_that_it_is_not(
    running: Running,
) -> None:
    running.database.add_engine("e1", status="stopping")
    running.bus.reactions[StopEngine] = EngineAccepted(engine_id=EngineId("e1"), status=EngineState.STOPPING)
    assert running.get("/v1/engines/e1/stop?wait=0.05", "PATCH")[0] == 202
    with closing(running.connect()) as connection:
        connection.request("PATCH", "/v1/engines/e1/stop?wait=60&now=true")
        running.until_wait(1)
        running.move("engine", "e1", status="closed")
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["status"]) == (200, "closed")
