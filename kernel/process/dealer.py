"""The socket of a process that talks to the Manager: a DEALER with CURVE that never blocks.

The Manager may be down, slow, or back with other keys: a message that cannot leave now stays with the caller,
and a monitor reports the one event that the caller waits for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import zmq

from kernel.protocol.codec import MAX_FRAME_BYTES, Frame

# Plain numbers: pyzmq's enums cost more than the messages do.
_NOW: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.SNDMORE) | _NOW

DealerContext = zmq.Context[zmq.Socket[bytes]]


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """The Manager's public key and the caller's own key pair, in Z85."""

    server: bytes
    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return "CurveKeys(<keys>)"


@dataclass(frozen=True, slots=True)
class DealerOptions:
    """Socket options. Source: zmq_setsockopt(3)."""

    high_water_mark: int = 1_000
    """Messages that libzmq queues in each direction."""
    is_immediate: bool = False
    """True: without a connection a send fails, instead of being queued for the first one."""
    reconnect_ms: tuple[int, int] = (100, 0)
    """Milliseconds before the first and the longest reconnect; 0: all intervals are equal."""
    heartbeat_ms: tuple[int, int] | None = None
    """The interval between heartbeats, and the silence after which the connection is closed, in ms."""
    watched: int | None = None
    """The event that `monitor` reports (zmq_socket_monitor(3))."""


class Dealer:
    """A DEALER that belongs to one thread."""

    def __init__(
        self, context: DealerContext, endpoint: str, keys: CurveKeys, options: DealerOptions
    ) -> None:
        """Connect in the background.

        Raises: ZMQError, if the endpoint or a key is malformed.
        """
        self.socket = context.socket(zmq.DEALER)
        self.monitor: zmq.Socket[bytes] | None = None
        """Readable when the watched event has happened."""
        try:
            _set_options(self.socket, keys, options)
            if options.watched is not None:
                self.monitor = self.socket.get_monitor_socket(options.watched)
            self.socket.connect(endpoint)
        except zmq.ZMQError:
            self.close()
            raise

    def send(self, frames: Sequence[Frame], *, copy: bool = True) -> bool:
        """Send one message; False, if it cannot leave now.

        `copy`: False saves copying long frames, which then must not change any more.
        """
        try:
            for frame in frames[:-1]:
                self.socket.send(frame, _MORE, copy=copy)
            self.socket.send(frames[-1], _NOW, copy=copy)
        except zmq.Again:  # only at the first frame: once begun, a message is taken whole
            return False
        return True

    def received(self, limit: int) -> Iterator[list[bytes]]:
        """The messages that are there now, at most `limit`."""
        for _ in range(limit):
            try:
                part = self.socket.recv(_NOW, copy=False)
            except zmq.Again:
                return
            frames = [part.bytes]
            while part.more:
                part = self.socket.recv(_NOW, copy=False)
                frames.append(part.bytes)
            yield frames

    def has_happened(self) -> bool:
        """True once after the watched event, however often it has happened since the last call."""
        found = False
        while self.monitor is not None and self.monitor.poll(0):
            self.monitor.recv_multipart(_NOW)  # only one kind of event is watched
            found = True
        return found

    def close(self, linger_s: float = 0.0) -> None:
        """Close. Sent messages have `linger_s` seconds to leave; ending the context waits for them."""
        if self.monitor is not None:
            self.socket.disable_monitor()
            self.monitor.close(linger=0)
        self.socket.close(linger=round(linger_s * 1000))


def _set_options(socket: "zmq.Socket[bytes]", keys: CurveKeys, options: DealerOptions) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
    socket.setsockopt(zmq.SNDHWM, options.high_water_mark)
    socket.setsockopt(zmq.RCVHWM, options.high_water_mark)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    socket.setsockopt(zmq.IMMEDIATE, int(options.is_immediate))
    first_ms, longest_ms = options.reconnect_ms
    socket.setsockopt(zmq.RECONNECT_IVL, first_ms)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, longest_ms)
    if options.heartbeat_ms is not None:
        pause_ms, silence_ms = options.heartbeat_ms
        socket.setsockopt(zmq.HEARTBEAT_IVL, pause_ms)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, silence_ms)
        socket.setsockopt(zmq.HEARTBEAT_TTL, silence_ms)
        # The system would try for two minutes, with ever longer pauses, while the host may be there again.
        socket.setsockopt(zmq.CONNECT_TIMEOUT, pause_ms)
