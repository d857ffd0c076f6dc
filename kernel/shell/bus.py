"""The Manager's two sockets, and the gate that lets in only peers whose keys it knows."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zmq
from msgspec import Struct
from zmq.utils import z85

from kernel.protocol.codec import MAX_BODY_BYTES, MAX_FRAME_BYTES, MAX_FRAMES, MAX_MESSAGE_BYTES, Frame
from kernel.protocol.endpoints import MAX_IPC_PATH_BYTES
from kernel.protocol.errors import BadConfiguration, unusable_folder

HIGH_WATER_MARK: Final = 10_000
"""Messages queued for one peer before sending to it is refused."""
GOODBYE_LINGER_MS: Final = 500
TCP_HEARTBEAT_MS: Final = 2_000
TCP_HEARTBEAT_TIMEOUT_MS: Final = 10_000
STRANGER: Final = "?"
"""How the name of a key begins that is not known: the key itself follows, in Z85."""
STRANGERS_AT_ONCE: Final = 1_024.0
STRANGERS_PER_S: Final = 200.0
_ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
_READABLE: Final = int(zmq.POLLIN)
_PRIVATE: Final = 0o177
"""The umask under which ipc sockets are bound: only the owner may connect."""


class Gate:
    """Answers libzmq's requests to authenticate a CURVE key. Source: ZMQ RFC 27, ZAP.

    CURVE alone accepts any key; only with this allow-list does it authenticate peers.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(_ZAP_ENDPOINT)
        self._names: dict[tuple[bytes, bytes], bytes] = {}
        self._strangers: Strangers | None = None

    def let_strangers_in(self, strangers: "Strangers") -> None:
        """Accept unknown keys in a domain, too, as strangers, each named by its key."""
        self._strangers = strangers

    def allow(self, domain: str, public_key: bytes, name: str) -> None:
        """Accept a key (Z85), and name its messages with this name."""
        self._names[domain.encode(), z85.decode(public_key)] = name.encode()

    def revoke(self, domain: str, name: str) -> None:
        """Accept the key of this name no more."""
        gone = [
            key for key, value in self._names.items() if key[0] == domain.encode() and value == name.encode()
        ]
        for key in gone:
            del self._names[key]

    def answer(self) -> None:
        """Answer all pending requests."""
        while self.socket.poll(0):
            version, request, domain, _address, _identity, _mechanism, *keys = self.socket.recv_multipart()
            status = self._judge(domain, keys[0]) if keys else (b"400", b"no key", b"")
            self.socket.send_multipart((version, request, *status, b""))

    def _judge(self, domain: bytes, key: bytes) -> tuple[bytes, bytes, bytes]:
        """The status code, its text and the name. 300 makes libzmq connect again later."""
        name = self._names.get((domain, key))
        if name is not None:
            return b"200", b"OK", name
        strangers = self._strangers
        if strangers is None or domain != strangers.domain.encode() or not strangers.are_expected():
            return b"400", b"unknown key", b""
        if not strangers.take_turn():
            return b"300", b"too many strangers", b""
        return b"200", b"OK", (STRANGER + z85.encode(key).decode()).encode()


@dataclass(slots=True)
class Strangers:
    """Which unknown keys the gate lets in, and how many: a burst, then so many a second.

    Source: the token bucket of RFC 2697.
    """

    domain: str
    are_expected: Callable[[], bool]
    """True if there are enrollment tokens, with which a stranger may join."""
    clock: Callable[[], float] = time.monotonic
    _left: float = STRANGERS_AT_ONCE
    _at_s: float = 0.0

    def take_turn(self) -> bool:
        """True if one more may come in now."""
        now_s = self.clock()
        self._left = min(self._left + (now_s - self._at_s) * STRANGERS_PER_S, STRANGERS_AT_ONCE)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Incoming(Struct, frozen=True):
    """An undecoded message: the connection that it came from, the name of the peer's key, and its frames."""

    peer: bytes
    name: str
    frames: tuple[Frame, ...]


class Allowance(Struct, frozen=True):
    """What one peer may send before it has to be held in memory."""

    frame_bytes: int = MAX_FRAME_BYTES
    """libzmq disconnects a peer that announces a longer frame, before it is received."""
    messages: int = HIGH_WATER_MARK
    """Messages that wait in memory for the Manager; further ones wait at the sender."""


WIDEST: Final = Allowance()
FRONT_MESSAGES: Final = 256
"""A client session keeps up to 64 commands unanswered, and several sessions may share one connection."""
BACK_MESSAGES: Final = 1_000
"""A worker sends about ten messages a second, so those of a minute's standstill fit."""
CURVE_BYTES: Final = 64
"""More than the bytes that encryption adds to a frame. Source: ZMQ RFC 26, MESSAGE."""
BYTES_PER_PIXEL: Final = 8
"""Twice the size of an uncompressed image."""


def front_allowance(max_body_bytes: int) -> Allowance:
    """For clients: the longest frame is an input image of a job, which the API bounds by max_body_bytes."""
    return Allowance(min(max(MAX_BODY_BYTES, max_body_bytes), MAX_FRAME_BYTES), FRONT_MESSAGES)


def back_allowance(max_pixels: int) -> Allowance:
    """For workers: the longest frame is a finished image with its infotext."""
    return Allowance(min(MAX_BODY_BYTES + BYTES_PER_PIXEL * max_pixels, MAX_FRAME_BYTES), BACK_MESSAGES)


class Router:
    """A ROUTER with CURVE, bounded in both directions."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        domain: str,
        secret_key: bytes,
        endpoints: Sequence[str],
        allowance: Allowance = WIDEST,
    ) -> None:
        """Raises: BadConfiguration, if an endpoint cannot be bound."""
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        self.socket.setsockopt(zmq.RCVHWM, allowance.messages)
        self.socket.setsockopt(zmq.MAXMSGSIZE, allowance.frame_bytes + CURVE_BYTES)
        self.socket.setsockopt(zmq.CURVE_SERVER, 1)
        self.socket.setsockopt(zmq.CURVE_SECRETKEY, secret_key)
        self.socket.setsockopt_string(zmq.ZAP_DOMAIN, domain)
        try:
            self.endpoints = [self._bind(endpoint) for endpoint in endpoints]
        except BadConfiguration:
            self.socket.close()  # an open socket would keep its context from ending
            raise

    def _bind(self, endpoint: str) -> str:
        if endpoint.startswith("ipc://"):
            _check_ipc_path(endpoint.removeprefix("ipc://"))
        else:
            self.socket.setsockopt(zmq.HEARTBEAT_IVL, TCP_HEARTBEAT_MS)
            self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, TCP_HEARTBEAT_TIMEOUT_MS)
        old_umask = os.umask(_PRIVATE)
        try:
            self.socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise BadConfiguration(f"cannot listen on {endpoint}: {error}") from error
        finally:
            os.umask(old_umask)
        return self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def receive(self) -> Incoming | None:
        """The next message; None, if there is none now. Frames beyond the limits are dropped unread."""
        if not int(self.socket.getsockopt(zmq.EVENTS)) & _READABLE:  # an exception costs three times as much
            return None
        first = self.socket.recv(copy=False)
        frames: list[Frame] = []
        total_bytes = 0
        frame = first
        while frame.more:
            frame = self.socket.recv(copy=False)
            total_bytes += len(frame)
            if len(frames) <= MAX_FRAMES and total_bytes <= MAX_MESSAGE_BYTES:
                frames.append(frame.buffer)
        return Incoming(first.bytes, str(first.get("User-Id")), tuple(frames))

    def send(self, peer: bytes, frames: Sequence[Frame]) -> bool:
        """Send to one peer; False, if it is gone or does not read (both are normal)."""
        try:
            self.socket.send_multipart((peer, *frames), zmq.NOBLOCK, copy=True)
        except (zmq.Again, zmq.ZMQError) as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def close(self) -> None:
        """Close, after giving the last messages a moment to leave."""
        self.socket.close(linger=GOODBYE_LINGER_MS)


def _check_ipc_path(path: str) -> None:
    if len(os.fsencode(path)) > MAX_IPC_PATH_BYTES:
        raise BadConfiguration(
            f"the socket path {path} is longer than {MAX_IPC_PATH_BYTES} bytes: "
            "set bus.folder to a shorter path"
        )


def private_folder(folder: Path) -> Path:
    """Create a folder that only its owner may enter.

    Raises: BadConfiguration, if it belongs to another user.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_uid != os.getuid():
            raise BadConfiguration(f"{folder} belongs to another user")
        folder.chmod(0o700)
    except OSError as error:
        raise unusable_folder(folder, error) from error
    return folder
