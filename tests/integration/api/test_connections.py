"""Crowds of connections over real sockets: silent ones, dribbling ones, more than there may be."""

import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from api.http.app import make_app
from api.http.framework.server import HttpServer
from api.hub import Hub
from conf.settings import Images, Server, Settings
from kernel.views.reader import Reader
from tests.unit.api.fake_bus import FakeBus
from tests.unit.views.database import SampleDatabase

PATIENCE_S = 15.0
LIVE = b"GET /v1/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@contextmanager
def serving(folder: Path, server: Server) -> Iterator[tuple[str, int]]:
    settings = Settings(images=Images(folder=folder), server=server)
    database, hub = SampleDatabase(folder / "spoon.sqlite3"), Hub()
    reader = Reader(database.file)
    http = HttpServer(make_app(settings, FakeBus(), reader, hub, lambda: 10_000), settings.server)
    thread = threading.Thread(target=http.run)
    thread.start()
    host, _, port = http.url.removeprefix("http://").rpartition(":")
    try:
        yield host, int(port)
    finally:
        http.stop()
        thread.join()
        hub.close()
        http.finish(0.5)
        reader.close()
        database.close()


def ask(address: tuple[str, int], request: bytes = LIVE) -> bytes:
    """The answer to one request over a connection of its own."""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        connection.sendall(request)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    connection.settimeout(PATIENCE_S)
    while data := connection.recv(65_536):
        answer += data
    return answer


def send_on(connection: socket.socket, data: bytes, pause_s: float) -> None:
    """Send it over and over, as long as one is let, but for no longer than patience lasts."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        connection.sendall(data)
        time.sleep(pause_s)


def is_open(connection: socket.socket) -> bool:
    readable, _, _ = select.select([connection], [], [], 0)
    return not readable


@contextmanager
def connected(address: tuple[str, int], count: int, begin: bytes = b"") -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        made = [stack.enter_context(socket.create_connection(address, PATIENCE_S)) for _ in range(count)]
        for connection in made:
            if begin:
                connection.sendall(begin)
        yield made


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nX: ", b"POST /v1/jobs HTTP/1.1\r\n"])
def test_more_connections_than_there_may_be_keep_nobody_out(tmp_path: Path, begin: bytes) -> None:
    server = Server(port=0, threads=2, max_connections=16, max_connections_per_address=16)
    with serving(tmp_path, server) as address, connected(address, 200, begin) as crowd:
        assert ask(address).startswith(b"HTTP/1.1 200")
        assert sum(map(is_open, crowd)) <= 16
        assert is_open(crowd[-1]), "those that came first go first"


def test_one_address_has_at_most_its_share(tmp_path: Path) -> None:
    server = Server(port=0, max_connections=64, max_connections_per_address=8)
    with serving(tmp_path, server) as address, connected(address, 40) as crowd:
        assert ask(address).startswith(b"HTTP/1.1 200")
        assert 4 <= sum(map(is_open, crowd)) <= 8


def test_a_head_that_does_not_come_in_time_ends_with_408(tmp_path: Path) -> None:
    with (
        serving(tmp_path, Server(port=0, request_timeout_s=1.0)) as address,
        socket.create_connection(address, PATIENCE_S) as dribbling,
        socket.create_connection(address, PATIENCE_S) as silent,
    ):
        dribbling.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        until = time.monotonic() + PATIENCE_S
        while is_open(dribbling) and time.monotonic() < until:
            dribbling.sendall(b"x")
            time.sleep(0.05)
        head, _, body = read_all(dribbling).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 408")
        assert json.loads(body)["code"] == "request_timeout"
        assert read_all(silent) == b"", "who has said nothing is told nothing"


def test_who_is_refused_and_goes_on_sending_can_read_why(tmp_path: Path) -> None:
    server = Server(port=0, max_body_bytes=1 << 20)
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n"
    with serving(tmp_path, server) as address, socket.create_connection(address, PATIENCE_S) as rash:
        rash.sendall(head)
        select.select([rash], [], [], PATIENCE_S)  # the answer is here
        for _ in range(8):
            rash.sendall(bytes(1_000_000))
        head, _, body = read_all(rash).partition(b"\r\n\r\n")
        assert b" 413 " in head
        assert json.loads(body)["status"] == 413


def test_who_is_refused_and_never_stops_sending_is_hung_up_on(tmp_path: Path) -> None:
    with serving(tmp_path, Server(port=0)) as address, socket.create_connection(address, PATIENCE_S) as rash:
        rash.sendall(b"nonsense\r\n\r\n")
        with pytest.raises(ConnectionError):
            send_on(rash, bytes(1 << 20), 0.0)
        assert ask(address).startswith(b"HTTP/1.1 200")


def test_who_is_refused_and_stays_is_hung_up_on(tmp_path: Path) -> None:
    with serving(tmp_path, Server(port=0)) as address, socket.create_connection(address, PATIENCE_S) as rash:
        rash.sendall(b"nonsense\r\n\r\n")
        assert b" 400 " in read_all(rash)
        with pytest.raises(ConnectionError):
            send_on(rash, b"x", 0.1)


def test_a_request_in_several_pieces_is_read_all_the_same(tmp_path: Path) -> None:
    with serving(tmp_path, Server(port=0)) as address, socket.create_connection(address, PATIENCE_S) as slow:
        for at in range(0, len(LIVE), 5):
            slow.sendall(LIVE[at : at + 5])
            time.sleep(0.002)
        assert read_all(slow).startswith(b"HTTP/1.1 200")


def test_connections_that_end_leave_room_for_others(tmp_path: Path) -> None:
    with serving(tmp_path, Server(port=0, max_connections=16)) as address:
        for _ in range(100):
            assert ask(address).startswith(b"HTTP/1.1 200")


def test_who_hangs_up_in_the_middle_is_forgotten(tmp_path: Path) -> None:
    with serving(tmp_path, Server(port=0, max_connections=16)) as address:
        for begin in (b"", b"GET", b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"):
            with connected(address, 12, begin):
                assert ask(address).startswith(b"HTTP/1.1 200")
        assert ask(address).startswith(b"HTTP/1.1 200")


def test_all_descriptors_taken_is_told_in_a_line_and_nothing_spins() -> None:
    """In a process of its own, which has taken all of its descriptors before anybody connects."""
    program = Path(__file__).with_name("without_descriptors.py")
    ended = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    answered, cpu_s = ended.stdout.split()
    assert answered == "200"
    assert float(cpu_s) < 1.0
    assert ended.stderr.count("action=accept_failed") == 1
    assert "Traceback" not in ended.stderr
