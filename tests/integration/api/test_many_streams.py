"""Hundreds of event streams over real sockets: they hold no thread, miss nothing, and stop nobody."""

import ctypes
import http.client
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.http.app import make_app
from api.http.framework.connection_limits import Deadlines
from api.http.framework.server import HttpServer
from api.http.framework.sse import PART_BYTES
from api.hub import Hub
from conf.settings import Images, Server, Settings
from kernel.protocol.client import Changed
from kernel.protocol.enums import ChangeKind
from kernel.protocol.ids import EventSeq
from kernel.views.reader import Reader
from tests.unit.api.fake_bus import FakeBus
from tests.unit.views.database import SampleDatabase

TIMEOUT_S = 30.0
OF_ALL, OF_JOBS = 200, 60
PLACES = 400
SHARE = 300
CHANGES = 40
SO_ATTACH_FILTER = 26  # socket(7); not in Python's module


@dataclass
class Running:
    server: HttpServer
    database: SampleDatabase
    hub: Hub
    seq: int = 0

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.server.url.removeprefix("http://").partition(":")
        return host, int(port)

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        with closing(http.client.HTTPConnection(*self.address, timeout=TIMEOUT_S)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def streams(self) -> int:
        lines = self.get("/metrics")[2].decode().splitlines()
        return int(float(next(one.split()[1] for one in lines if one.startswith("spoon_api_streams "))))

    def change(self, kind: ChangeKind, thing_id: str, state: str) -> int:
        """A change in the database, and its notice."""
        self.seq += 1
        with self.database.connection:  # one transaction, as of the Manager
            if kind is ChangeKind.JOB:
                self.database.set("job", "job_id", thing_id, status=state, finished_at_ms=9)
            self.database.add_event(self.seq, kind, thing_id, state)
        notice = Changed(seq=EventSeq(self.seq), kind=kind, id=thing_id, state=state, at_ms=1)
        self.hub.publish(notice)
        return self.seq

    def most_unsent_bytes(self) -> int:
        """Of all connections, what the server keeps for the client that is most behind."""
        channels = list(self.server._server.active_channels.values())
        return max((channel.total_outbufs_len for channel in channels), default=0)


@pytest.fixture
def patience_s() -> float:
    return 30.0


impatient = pytest.mark.parametrize("patience_s", [1.0])


@pytest.fixture
def running(tmp_path: Path, patience_s: float) -> Iterator[Running]:
    settings = Settings(images=Images(folder=tmp_path), server=Server(port=0, threads=8, max_streams=PLACES))
    database, hub = SampleDatabase(tmp_path / "spoon.sqlite3"), Hub()
    reader = Reader(database.file)
    app = make_app(settings, FakeBus(), reader, hub, lambda: 10_000)
    deadlines = Deadlines(grace_s=patience_s, bytes_per_s=1e6)
    server = HttpServer(app, settings.server, deferral=app.deferral, deadlines=deadlines)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield Running(server, database, hub)
    server.stop()
    thread.join()
    hub.close()
    server.finish(2.0)
    reader.close()
    database.close()


class Follower:
    """A stream, as a client sees it that reads when it is told to."""

    def __init__(
        self, running: Running, path: str, seen: int | None = None, receive_bytes: int | None = None
    ) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(TIMEOUT_S)
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(running.address)
        last = "" if seen is None else f"Last-Event-ID: {seen}\r\n"
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n".encode())
        self.received = b""

    def read_until(self, is_there: Callable[[bytes], bool]) -> bytes:
        """Read until then. Raises: EOFError, if it ends before."""
        while not is_there(self.received):
            data = self.socket.recv(1 << 20)
            if not data:
                raise EOFError(self.received[-500:])
            self.received += data
        return self.received

    def begin(self) -> None:
        self.read_until(lambda received: b"retry: " in received)

    def numbers(self, last: int) -> list[int]:
        """The numbers of the events up to this one."""
        told = self.read_until(lambda received: b"\nid: %d\n" % last in received)
        return [int(number) for number in re.findall(rb"\nid: (\d+)\n", told)]

    def read_to_the_end(self) -> bytes:
        while data := self.socket.recv(1 << 20):
            self.received += data
        return self.received

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def follow(running: Running) -> Iterator[Callable[..., Follower]]:
    with ExitStack() as stack:

        def opened(path: str, seen: int | None = None, receive_bytes: int | None = None) -> Follower:
            return stack.enter_context(closing(Follower(running, path, seen, receive_bytes)))

        yield opened


Follow = Callable[..., Follower]


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_hundreds_of_streams_hold_no_thread_and_each_tells_everything_once_and_in_order(
    running: Running, follow: Follow
) -> None:
    for number in range(OF_JOBS):
        running.database.add_job(number + 1, f"j{number}")
        running.change(ChangeKind.JOB, f"j{number}", "waiting")
    known = running.seq
    of_all = [follow("/v1/events") for _ in range(OF_ALL)]
    of_jobs = [follow(f"/v1/jobs/j{number}/events") for number in range(OF_JOBS)]
    for follower in (*of_all, *of_jobs):
        follower.begin()
    assert sum(thread.name == "request" for thread in threading.enumerate()) <= 8
    for number in range(CHANGES):
        running.change(ChangeKind.ENGINE, f"e{number}", "ready")
    assert running.get("/v1/jobs")[0] == 200
    for number in range(OF_JOBS):
        running.change(ChangeKind.JOB, f"j{number}", "finished")
    everything = list(range(known + 1, running.seq + 1))
    assert all(follower.numbers(running.seq) == everything for follower in of_all)
    for number, follower in enumerate(of_jobs):
        told = follower.read_to_the_end()
        assert re.findall(rb'"status":"(\w+)"', told) == [b"waiting", b"finished"], number
        assert told.endswith(b"\r\n0\r\n\r\n"), "the end is not that of a whole response"
    until(lambda: running.streams() == OF_ALL)


def test_beyond_its_share_one_address_gets_429_and_others_would_find_room(
    running: Running, follow: Follow
) -> None:
    for _ in range(SHARE):
        follow("/v1/events")
    until(lambda: running.streams() == SHARE)
    status, headers, body = running.get("/v1/events")
    assert (status, headers["Retry-After"], json.loads(body)["code"]) == (429, "5", "too_many_streams")
    assert SHARE < PLACES


def test_a_sleeping_reader_costs_little_stops_nobody_and_misses_nothing(
    running: Running, follow: Follow
) -> None:
    sleeper, other = follow("/v1/events", receive_bytes=4_096), follow("/v1/events")
    sleeper.begin()
    other.begin()
    until(lambda: _is_behind(running, sleeper))
    last = running.seq
    assert other.numbers(last) == list(range(1, last + 1))
    assert running.most_unsent_bytes() <= 2 * PART_BYTES
    assert sleeper.numbers(last) == list(range(1, last + 1))


def _is_behind(running: Running, sleeper: Follower) -> bool:
    """Many changes; is any connection's buffer in the server used now?"""
    for _ in range(500):
        running.change(ChangeKind.MODEL, "m" * 200, "ready")
    return running.most_unsent_bytes() > 0


@impatient
def test_who_reads_a_byte_a_second_is_cut_off_and_goes_on_from_what_it_has_seen(
    running: Running, follow: Follow
) -> None:
    slow = follow("/v1/events", receive_bytes=4_096)
    slow.begin()
    until(lambda: _is_behind(running, slow))
    end = time.monotonic() + TIMEOUT_S
    while running.streams() and time.monotonic() < end:
        slow.received += slow.socket.recv(1)
        time.sleep(0.2)
    assert running.streams() == 0, "it keeps its place"
    seen = int(re.findall(rb"\nid: (\d+)\n", b"\nid: 0\n" + slow.received)[-1])
    again = follow("/v1/events", seen)
    assert again.numbers(running.seq) == list(range(seen + 1, running.seq + 1))


@impatient
def test_a_client_whose_network_is_gone_gives_its_place_back(running: Running, follow: Follow) -> None:
    gone = follow("/v1/events")
    gone.begin()
    _drop_all_packets(gone.socket)
    running.change(ChangeKind.ENGINE, "e1", "ready")
    until(lambda: running.streams() == 0)


def _drop_all_packets(connection: socket.socket) -> None:
    """Have the system drop what comes for this socket before TCP sees it: nothing is confirmed."""
    code = bytearray(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET: keep no byte
    held = (ctypes.c_char * len(code)).from_buffer(code)
    program = struct.pack("HP", 1, ctypes.addressof(held))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
