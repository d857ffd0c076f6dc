"""The application on waitress, with real sockets: what the application alone cannot show."""

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
from kernel.protocol.client import (
    Changed,
    ClaimDownload,
    DownloadGranted,
    FinishDownload,
    SubmitJob,
)
from kernel.protocol.enums import ChangeKind
from kernel.protocol.ids import EventSeq, ImageId, Ticket
from kernel.views.reader import Reader
from tests.unit.api.fake_bus import FakeBus, accepted
from tests.unit.views.database import SampleDatabase

FILE_BYTES = 20 << 20
"""More than the buffers of a connection on this machine hold."""


@dataclass
class Running:
    server: HttpServer
    thread: threading.Thread
    bus: FakeBus
    database: SampleDatabase
    hub: Hub
    folder: Path

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.server.url.removeprefix("http://").partition(":")
        return host, int(port)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self.address, timeout=10)

    def stop(self, grace_s: float = 2.0) -> None:
        self.server.stop()
        self.thread.join()
        self.hub.close()
        self.server.finish(grace_s)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    images = tmp_path / "images"
    images.mkdir()
    settings = Settings(
        images=Images(folder=images), server=Server(port=0, threads=8, max_streams=2, max_body_bytes=4096)
    )
    database, bus, hub = SampleDatabase(tmp_path / "spoon.sqlite3"), FakeBus(), Hub()
    reader = Reader(database.file)
    app = make_app(settings, bus, reader, hub, lambda: 10_000)
    server = HttpServer(app, settings.server, deferral=app.deferral)
    thread = threading.Thread(target=server.run)
    thread.start()
    found = Running(server, thread, bus, database, hub, images)
    yield found
    if thread.is_alive():
        found.stop()
    reader.close()
    database.close()


def say(running: Running, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """What the server answers to these bytes before it hangs up."""
    with socket.create_connection(running.address, timeout=10) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


def test_an_answer_leaves_in_one_piece_and_a_head_alone_leaves_too(running: Running) -> None:
    sent: list[bytes] = []
    plain = running.server._server.channel_class

    class Counting(plain):  # type: ignore[misc,valid-type]  # made for each server
        def send(self, data: bytes, do_close: bool = True) -> int:
            sent.append(bytes(data))
            count: int = super().send(data, do_close)
            return count

    running.server._server.channel_class = Counting
    connection = running.connect()
    for method in ("GET", "HEAD", "GET"):
        connection.request(method, "/v1/health/live")
        answer = connection.getresponse()
        body = answer.read()
        assert (answer.status, bool(body)) == (200, method == "GET")
    connection.close()
    assert [piece.startswith(b"HTTP/1.1 200") for piece in sent] == [True] * 3
    assert [piece.endswith(b"}") for piece in sent] == [True, False, True]


def add_image(running: Running) -> None:
    running.database.add_job(1, "j1")
    running.database.add_image("i1", "j1", size_bytes=FILE_BYTES)
    with (running.folder / "i1.png").open("wb") as file:
        file.truncate(FILE_BYTES)
    running.bus.reactions[ClaimDownload] = DownloadGranted(
        ticket=Ticket("t1"), file_name="i1.png", is_limited=False
    )


def wait_for_word(running: Running, timeout_s: float = 10.0) -> FinishDownload:
    until = time.monotonic() + timeout_s
    while not running.bus.told and time.monotonic() < until:
        time.sleep(0.01)
    (told,) = running.bus.told
    assert isinstance(told, FinishDownload)
    return told


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400, "malformed"),
        (b"GET /v1/jobs HTTP/1.1\r\nno header at all\r\n\r\n", 400, "malformed"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n", 413, "too_large"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431, "too_large"),
    ],
)  # fmt: skip
def test_what_waitress_refuses_is_a_problem_document_too(
    running: Running, request_bytes: bytes, status: int, code: str
) -> None:
    found, headers, body = say(running, request_bytes)
    assert (found, headers["content-type"]) == (status, "application/problem+json")
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"]


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
         b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "malformed"),
        (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501,
         "coding_not_supported"),
        (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
         400, "malformed"),
        (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400,
         "malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/1.1\r\nHost: a@localhost\r\n\r\n", 400, "malformed"),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 403,
         "forbidden_host"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/2.0\r\n", 505, "version_not_supported"),
        (b"GET /\r\n", 400, "malformed"),
        (b"\x16\x03\x01\x02\x00", 400, "malformed"),
        (b"G@T / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/1.1\nHost: localhost\n\n", 400, "malformed"),
        (b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed"),
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_refused_and_closes_the_connection(
    running: Running, request_bytes: bytes, status: int, code: str
) -> None:
    """A request behind it, which a proxy may have taken for its body, is not answered."""
    behind = b"GET /v1/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(running.address, timeout=10) as connection:
        connection.sendall(request_bytes + (behind if request_bytes.endswith(b"\r\n") else b""))
        answers = b""
        while data := connection.recv(65_536):
            answers += data
    assert answers.startswith(b"HTTP/1.")
    assert answers[9:12] == b"%d" % status
    assert answers.count(b"\r\nConnection: close") == 1
    assert json.loads(answers.partition(b"\r\n\r\n")[2])["code"] == code


def test_requests_in_a_row_are_answered_in_a_row(running: Running) -> None:
    one = b"GET /v1/health/live HTTP/1.1\r\nHost: localhost\r\n"
    with socket.create_connection(running.address, timeout=10) as connection:
        connection.sendall(b"\r\n" + (one + b"\r\n") * 3 + one + b"Connection: close\r\n\r\n")
        answers = b""
        while data := connection.recv(65_536):
            answers += data
    assert answers.count(b"HTTP/1.1 200 OK") == 4


def test_no_answer_tells_what_software_serves_it(running: Running) -> None:
    for path in (b"/v1/health/live", b"/nowhere"):
        _, headers, _ = say(
            running, b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path
        )
        assert "server" not in headers
        assert "via" not in headers


def test_a_job_that_is_answered_at_once_is_answered_by_a_thread(running: Running) -> None:
    running.bus.reactions[SubmitJob] = accepted()
    connection = running.connect()
    for _ in range(3):
        connection.request("POST", "/v1/jobs", b'{"engine_id": "e1"}', {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["job_id"]) == (202, "j1")
    connection.close()
    assert len(running.bus.asked) == 3


def test_a_chunked_body_is_read(running: Running) -> None:
    running.bus.reactions[SubmitJob] = accepted()
    connection = running.connect()
    body = [b'{"engine_id"', b': "e1"}']
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/jobs", iter(body), headers, encode_chunked=True)
    assert connection.getresponse().status == 202
    connection.close()


def test_a_large_file_that_is_read_to_its_end_counts(running: Running) -> None:
    add_image(running)
    connection = running.connect()
    connection.request("GET", "/v1/images/i1/download")
    answer = connection.getresponse()
    assert answer.headers["Content-Length"] == str(FILE_BYTES)
    assert len(answer.read()) == FILE_BYTES
    connection.close()
    assert wait_for_word(running) == FinishDownload(image_id=ImageId("i1"), ticket=Ticket("t1"), whole=True)


def test_a_client_that_hangs_up_half_way_does_not_count(running: Running) -> None:
    add_image(running)
    with socket.create_connection(running.address, timeout=10) as connection:
        connection.sendall(b"GET /v1/images/i1/download HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.recv(100_000)
    assert not wait_for_word(running).whole


def test_a_slow_client_holds_no_thread(running: Running) -> None:
    add_image(running)
    slow = [socket.create_connection(running.address, timeout=10) for _ in range(12)]
    for connection in slow:
        connection.sendall(b"GET /v1/images/i1/download HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.recv(1)
    status, _, _ = say(
        running, b"GET /v1/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert status == 200
    for connection in slow:
        connection.close()


def test_a_stream_sends_what_happens_while_it_is_open(running: Running) -> None:
    running.database.add_job(1, "j1")
    running.database.add_event(1, "job", "j1", "waiting")
    connection = running.connect()
    connection.request("GET", "/v1/jobs/j1/events")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert read_event(answer)["id"] == "1"
    running.database.set("job", "job_id", "j1", status="finished", finished_at_ms=9)
    running.database.add_event(2, "job", "j1", "finished")
    running.hub.publish(Changed(seq=EventSeq(2), kind=ChangeKind.JOB, id="j1", state="finished", at_ms=1))
    assert json.loads(read_event(answer)["data"])["status"] == "finished"
    assert answer.read() == b""
    connection.close()


def test_streams_are_counted_and_a_client_that_leaves_gives_its_place_back_at_once(running: Running) -> None:
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(closing(running.connect())) for _ in range(3))
        streams = []
        for connection in (first, second):
            connection.request("GET", "/v1/events")
            streams.append(connection.getresponse())
        assert [stream.status for stream in streams] == [200, 200]
        third.request("GET", "/v1/events")
        answer = third.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (429, "too_many_streams")
        assert answer.headers["Retry-After"]
        streams[0].close()
        until = time.monotonic() + 4.0  # less than a keep-alive takes
        while answer.status != 200 and time.monotonic() < until:
            third.request("GET", "/v1/events")
            answer = third.getresponse()
            if answer.status != 200:
                answer.read()
        assert answer.status == 200
        answer.close()
        streams[1].close()


def test_waiting_ends_when_the_job_does(running: Running) -> None:
    running.bus.reactions[SubmitJob] = accepted()
    running.database.add_job(1, "j1")
    connection = running.connect()
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/jobs?wait=30", b'{"engine_id": "e1"}', headers)
    while not running.bus.asked:
        time.sleep(0.01)
    other = threading.Timer(0.1, finish_job, (running,))
    other.start()
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["status"]) == (200, "finished")
    other.join()
    connection.close()


def finish_job(running: Running) -> None:
    running.database.set("job", "job_id", "j1", status="finished", finished_at_ms=9)
    running.hub.publish(Changed(seq=EventSeq(1), kind=ChangeKind.JOB, id="j1", state="finished", at_ms=1))


def test_a_stopping_server_ends_streams_and_waits_and_finishes_the_rest(running: Running) -> None:
    running.database.add_job(1, "j1")
    running.bus.reactions[SubmitJob] = accepted()
    stream, waiting = running.connect(), running.connect()
    stream.request("GET", "/v1/events")
    streaming = stream.getresponse()
    waiting.request("POST", "/v1/jobs?wait=60", b'{"engine_id": "e1"}', {"Content-Type": "application/json"})
    while not running.bus.asked:
        time.sleep(0.01)
    began = time.monotonic()
    running.stop(grace_s=60.0)
    assert time.monotonic() - began < 30.0, "the grace was used up"
    assert streaming.read().startswith(b"retry:")
    assert waiting.getresponse().status == 202
    with pytest.raises(ConnectionRefusedError):
        running.connect().connect()
    stream.close()
    waiting.close()


def read_event(answer: http.client.HTTPResponse) -> dict[str, str]:
    """The next event; comments and the retry time are skipped."""
    found: dict[str, str] = {}
    while True:
        line = answer.readline().decode().rstrip("\n")
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            found[name] = value
        elif "data" in found:
            return found
