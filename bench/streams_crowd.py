"""The clients of `bench.streams`: event streams, waiting requests and slow downloads, in one thread by epoll.

python -m bench.streams_crowd jobs|crowd HOST PORT ENGINE_ID IMAGE_ID

Jobs are submitted all the time. A line says when everybody is there; when the standard input ends, no more
jobs are submitted, and after the end of the last one everything is checked.
"""

import http.client
import json
import re
import select
import selectors
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Final

OF_ALL: Final = 100
OF_JOBS: Final = 100
WAITING: Final = 200
DOWNLOADS: Final = 20
OPEN_JOBS: Final = 8
JOB: Final = {"prompt": "[slow 250ms] a fox", "steps": 20, "width": 64, "height": 64}
"""Five seconds for each image, several at once: what a GPU needs for a large one."""
SETTLE_S: Final = 2.0
AGAIN_EVERY_S: Final = 0.01
DOWNLOAD_EVERY_S: Final = 0.1
DOWNLOAD_BYTES: Final = 8_192
RECEIVE_BYTES: Final = 1 << 16
PATIENCE_S: Final = 60.0
_ID: Final = re.compile(rb"\nid: (\d+)\n")
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: (\d+)")
_STATUS: Final = re.compile(rb'"status":"(\w+)"')


@dataclass(slots=True)
class Client:
    """One connection, and what it has received."""

    path: str
    connection: socket.socket
    received: bytearray = field(default_factory=bytearray)
    is_over: bool = False
    """It got a whole answer, or the connection has ended."""


class Crowd:
    """All clients."""

    def __init__(self, host: str, port: int, engine_id: str, image_id: str) -> None:
        self._address = host, port
        self._engine_id = engine_id
        self._selector = selectors.EpollSelector()
        self._jobs: dict[str, Client] = {}
        self._ended = 0
        self._image_path = f"/v1/images/{image_id}/download"
        self.of_all: list[Client] = []
        self.of_jobs: list[Client] = []
        self.waits: list[Client] = []
        self.downloads: list[Client] = []
        self._took_at = self._again_at = 0.0
        self.told_jobs = self.answered = 0

    def come(self) -> None:
        """Open everything."""
        self.of_all = [self._open("/v1/events") for _ in range(OF_ALL)]
        self._until(lambda: all(b"retry:" in one.received for one in self.of_all))
        self.keep_drawing()
        self.downloads = [self._open(self._image_path, is_slow=True) for _ in range(DOWNLOADS)]
        for number in range(OF_JOBS):
            self.of_jobs.append(self._open(f"/v1/jobs/{self._some_job(number)}/events"))
        for number in range(WAITING):
            self.waits.append(self._open(f"/v1/jobs/{self._some_job(number)}?wait=60"))

    def settle(self) -> None:
        """Draw, until all have been let in."""
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until or not all(b"retry:" in one.received for one in self.of_jobs):
            self.look()

    def keep_drawing(self) -> None:
        """Submit jobs until as many as wanted are open. Each has a request that waits for its end."""
        while len(self._jobs) < OPEN_JOBS:
            with closing(http.client.HTTPConnection(*self._address, timeout=PATIENCE_S)) as connection:
                body = json.dumps({**JOB, "engine_id": self._engine_id})
                connection.request("POST", "/v1/jobs", body, {"Content-Type": "application/json"})
                job_id = json.loads(connection.getresponse().read())["job_id"]
            self._jobs[job_id] = self._open(f"/v1/jobs/{job_id}?wait=300")

    def look(self, *, is_ending: bool = False) -> None:
        """Take what has come; who has got all comes again."""
        for key, _ in self._selector.select(0.05):
            self._receive(key.data)
        self._download()
        for job_id in [job_id for job_id, one in self._jobs.items() if one.is_over]:
            del self._jobs[job_id]
        if is_ending:
            return
        self.keep_drawing()
        self._again()

    def end(self) -> None:
        """Wait for the last job, and for what everybody hears of it. Raises: SystemExit."""
        self._until(lambda: not self._jobs)
        self._until(lambda: all(one.is_over for one in (*self.waits, *self.of_jobs)))
        if not self.of_all:
            return
        last = max(max(numbers(one)) for one in self.of_all)
        self._until(lambda: all(last in numbers(one)[-5:] for one in self.of_all))

    def check(self) -> None:
        """The gate. Raises: SystemExit."""
        told = [numbers(one) for one in self.of_all]
        if any(one != list(range(one[0], one[-1] + 1)) or one != told[0] for one in told):
            raise SystemExit("gate failed: a stream lacks an event, or has one twice")
        for one in self.of_jobs:
            self._check_job(one)
        for one in self.waits:
            self._check_wait(one)
        if any(one.received.count(b"HTTP/1.1 200 OK") != 1 or one.is_over for one in self.downloads):
            raise SystemExit("gate failed: a download was refused or cut off")

    def _again(self) -> None:
        """One client that was told the end of a job takes another one. People do not do so all at once."""
        now = time.monotonic()
        if now < self._again_at:
            return
        self._again_at = now + AGAIN_EVERY_S
        for number, one in enumerate(self.of_jobs):
            if one.is_over:
                self._check_job(one)
                self.of_jobs[number] = self._open(f"/v1/jobs/{self._some_job(number)}/events")
                return
        for number, one in enumerate(self.waits):
            if one.is_over:
                self._check_wait(one)
                self.waits[number] = self._open(f"/v1/jobs/{self._some_job(number)}?wait=60")
                return

    def _check_job(self, one: Client) -> None:
        states, told = _STATUS.findall(one.received), numbers(one)
        if states != [b"waiting", b"processing", b"finished"] or told != sorted(set(told)):
            raise SystemExit(f"gate failed: {one.path} told {states} {told}")
        if one.received.count(b"event: image\n") != 1:
            raise SystemExit(f"gate failed: {one.path} told of no image, or of several")
        self.told_jobs += 1

    def _check_wait(self, one: Client) -> None:
        if not one.received.startswith(b"HTTP/1.1 200") or b'"status":"finished"' not in one.received:
            raise SystemExit(f"gate failed: {one.path} was answered {bytes(one.received[:200])!r}")
        self.answered += 1

    def _some_job(self, number: int) -> str:
        return list(self._jobs)[-1 - number % (OPEN_JOBS // 2)]

    def _download(self) -> None:
        """Slow clients take a little now and then."""
        now = time.monotonic()
        if now < self._took_at + DOWNLOAD_EVERY_S:
            return
        self._took_at = now
        for one in self.downloads:
            with suppress(BlockingIOError):
                self._take(one, DOWNLOAD_BYTES)

    def _until(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not is_so():
            if time.monotonic() > end:
                raise SystemExit("gate failed: something did not come")
            self.look(is_ending=True)

    def _open(self, path: str, *, is_slow: bool = False) -> Client:
        connection = socket.socket()
        if is_slow:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DOWNLOAD_BYTES)
        connection.connect(self._address)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        connection.setblocking(False)
        client = Client(path, connection)
        if not is_slow:
            self._selector.register(connection, selectors.EVENT_READ, client)
        return client

    def _receive(self, client: Client) -> None:
        self._take(client, RECEIVE_BYTES)
        if client.is_over:
            self._close(client)

    def _take(self, client: Client, size_bytes: int) -> None:
        data = client.connection.recv(size_bytes)
        client.received += data
        client.is_over = not data or is_whole(client.received)

    def _close(self, client: Client) -> None:
        if client.connection.fileno() >= 0:
            self._selector.unregister(client.connection)
            client.connection.close()


def numbers(one: Client) -> list[int]:
    """The numbers of the events that it has received, in order."""
    return [int(found) for found in _ID.findall(one.received)]


def is_whole(received: bytearray) -> bool:
    """True if this is a whole response with a length. A large file never is, here."""
    end = received.find(b"\r\n\r\n")
    found = _LENGTH.search(received, 0, end + 1) if end >= 0 else None
    return found is not None and len(received) >= end + 4 + int(found[1])


def main() -> None:
    """Come, stay until the standard input ends, check."""
    kind, host, port, engine_id, image_id = sys.argv[1:]
    crowd = Crowd(host, int(port), engine_id, image_id)
    if kind == "crowd":
        crowd.come()
    crowd.settle()
    print("there", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        crowd.look()
    crowd.end()
    crowd.check()
    told = [numbers(one) for one in crowd.of_all]
    if not told:
        print("{}")
        return
    figures = {"events": float(sum(map(len, told))), "told_jobs": crowd.told_jobs, "answered": crowd.answered}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
