"""Uploads on waitress, with real sockets: on the disk as they come, and gone with a client that leaves."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.http.app import make_app
from api.http.framework.body_intake import BodyTerms
from api.http.framework.server import HttpServer
from api.http.framework.uploads import upload_limits
from api.hub import Hub
from conf.settings import Images, Models, Server, Settings
from kernel.protocol.client import ModelAccepted, RegisterModel
from kernel.protocol.enums import ModelState
from kernel.protocol.ids import ModelId
from kernel.views.reader import Reader
from tests.unit.api.fake_bus import FakeBus
from tests.unit.views.database import SampleDatabase

BIG = 8 << 20
HEAD = b'--b\r\nContent-Disposition: form-data; name="model_type"\r\n\r\nlora\r\n'
FILE_HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"


@dataclass
class Running:
    address: tuple[str, int]
    folder: Path
    bus: FakeBus

    @property
    def uploads(self) -> list[Path]:
        return list((self.folder / "uploads").iterdir())

    def connect(self, length: int | None, more: str = "") -> socket.socket:
        """A connection that has sent the head of an upload."""
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        connection = socket.create_connection(self.address, timeout=10)
        head = f"POST /v1/models/upload HTTP/1.1\r\nHost: localhost\r\n{size}\r\n{more}"
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
        return connection


def answer(connection: socket.socket) -> tuple[int, dict[str, object]]:
    with connection, connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        length = 0
        while line := stream.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return status, json.loads(stream.read(length))


def until(look: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not look():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "images").mkdir()
    (tmp_path / "models/uploads").mkdir(parents=True)
    settings = Settings(
        images=Images(folder=tmp_path / "images", min_free_bytes=0),
        server=Server(port=0, threads=8, max_streams=2, max_body_bytes=4096),
        models=Models(folder=tmp_path / "models", max_size_bytes=BIG),
    )
    database, bus, hub = SampleDatabase(tmp_path / "spoon.sqlite3"), FakeBus(), Hub()
    database.add_model("m1", status="downloading")
    bus.reactions[RegisterModel] = ModelAccepted(model_id=ModelId("m1"), status=ModelState.DOWNLOADING)
    reader = Reader(database.file)
    app = make_app(settings, bus, reader, hub, lambda: 10_000)
    server = HttpServer(app, settings.server, BodyTerms(upload_limits(settings), app.access))
    thread = threading.Thread(target=server.run)
    thread.start()
    host, _, port = server.url.removeprefix("http://").partition(":")
    yield Running((host, int(port)), tmp_path / "models", bus)
    server.stop()
    thread.join()
    hub.close()
    server.finish(2.0)
    reader.close()
    database.close()


def test_a_file_far_beyond_the_usual_limit_comes_in(running: Running) -> None:
    data = bytes(range(256)) * (BIG // 256)
    body = HEAD + FILE_HEAD + data + TAIL
    connection = running.connect(len(body))
    connection.sendall(body)
    assert answer(connection)[0] == 202
    (upload,) = running.uploads
    assert upload.read_bytes() == data


def test_a_file_of_unknown_length_comes_in(running: Running) -> None:
    connection = running.connect(None)
    for piece in (HEAD, FILE_HEAD, b"x" * 100_000, TAIL):
        connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    connection.sendall(b"0\r\n\r\n")
    assert answer(connection)[0] == 202
    assert running.uploads[0].stat().st_size == 100_000


def test_a_file_is_on_the_disk_while_it_comes(running: Running) -> None:
    connection = running.connect(BIG)
    connection.sendall(HEAD + FILE_HEAD + bytes(3 << 20))
    until(lambda: bool(running.uploads) and running.uploads[0].stat().st_size >= 2 << 20)
    assert running.uploads[0].suffix == ".part"
    connection.close()


def test_a_client_that_leaves_in_the_middle_leaves_nothing(running: Running) -> None:
    connection = running.connect(BIG)
    connection.sendall(HEAD + FILE_HEAD + bytes(2 << 20))
    until(lambda: bool(running.uploads))
    connection.close()
    until(lambda: not running.uploads)
    assert running.bus.asked == []


@pytest.mark.parametrize("length", [BIG + (3 << 20), None])
def test_a_file_beyond_the_limit_is_refused_before_the_end_of_it(
    running: Running, length: int | None
) -> None:
    connection = running.connect(length)
    if length is None:
        piece = HEAD + FILE_HEAD + bytes(BIG + 100)
        connection.sendall(f"{len(piece):x}\r\n".encode() + piece)
    status, problem = answer(connection)
    assert (status, problem["code"]) == (413, "too_large")
    assert running.uploads == []


def test_a_foreign_page_cannot_even_begin(running: Running) -> None:
    connection = running.connect(BIG, "Origin: https://evil.example\r\n")
    status, problem = answer(connection)
    assert (status, problem["code"]) == (403, "forbidden_origin")
    assert running.uploads == []


def test_a_full_disk_is_said_before_the_file_comes(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        free = 1000

    monkeypatch.setattr("api.http.framework.uploads.shutil.disk_usage", lambda folder: Full)
    status, problem = answer(running.connect(BIG))
    assert (status, problem["code"]) == (507, "disk_full")


def test_what_is_no_form_is_refused_at_once(running: Running) -> None:
    connection = running.connect(BIG)
    connection.sendall(b"no form at all" * 1000)
    status, problem = answer(connection)
    assert (status, problem["code"]) == (400, "malformed")


def test_other_paths_keep_their_limit(running: Running) -> None:
    with socket.create_connection(running.address, timeout=10) as connection:
        connection.sendall(b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
