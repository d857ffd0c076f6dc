"""Many HTTP clients in one thread: each keeps its connection and has one request under way at a time."""

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

RECEIVE_BYTES: Final = 65_536
WAIT_S: Final = 30.0
_LENGTH: Final = b"content-length:"


@dataclass(slots=True)
class Visitor:
    """One connection."""

    connection: socket.socket
    received: bytes = b""
    began_s: float = 0.0


@dataclass(slots=True)
class Visit:
    """What all visitors together saw."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)


def post_many(
    address: tuple[str, int], path: str, body: bytes, *, requests: int, clients: int, api_key: str = ""
) -> Visit:
    """POST the same JSON body many times over `clients` connections at once.

    Raises: SystemExit, if the server hangs up or falls silent.
    """
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: {}:{}".format(*address),
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([f"Authorization: Bearer {api_key}"] if api_key else []),
    ]
    head = "".join(f"{line}\r\n" for line in (*lines, ""))
    request = head.encode() + body
    visit = Visit()
    with selectors.DefaultSelector() as selector:
        for _ in range(clients):
            connection = socket.create_connection(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(connection, selectors.EVENT_READ, Visitor(connection))
        left = iter(range(requests))
        begin_s = time.perf_counter()
        for key in selector.get_map().values():
            _send(key.data, request, left)
        while len(visit.latencies_s) < requests:
            ready = selector.select(WAIT_S)
            if not ready:
                raise SystemExit("gate failed: the server fell silent")
            for key, _ in ready:
                if _receive(key.data, visit):
                    _send(key.data, request, left)
        visit.seconds = time.perf_counter() - begin_s
        for key in selector.get_map().values():
            key.data.connection.close()
    return visit


def _send(visitor: Visitor, request: bytes, left: Iterator[int]) -> None:
    if next(left, None) is not None:
        visitor.began_s = time.perf_counter()
        visitor.connection.sendall(request)


def _receive(visitor: Visitor, visit: Visit) -> bool:
    """Take what has come. True, when the answer is whole."""
    data = visitor.connection.recv(RECEIVE_BYTES)
    if not data:
        raise SystemExit("gate failed: the server hung up")
    visitor.received += data
    head, gap, body = visitor.received.partition(b"\r\n\r\n")
    if not gap or len(body) < _length(head):
        return False
    visit.latencies_s.append(time.perf_counter() - visitor.began_s)
    status = int(head[9:12])
    visit.statuses[status] = visit.statuses.get(status, 0) + 1
    visit.bodies.append(body)
    visitor.received = b""
    return True


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            return int(line[len(_LENGTH) :])
    raise SystemExit("gate failed: an answer without Content-Length")
