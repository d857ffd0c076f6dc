"""The worker's one socket: a CURVE client that never blocks and never loses what it was given to send."""

from collections import deque
from collections.abc import Sequence
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from kernel.protocol.codec import MAX_FRAME_BYTES, Frame
from kernel.protocol.errors import BadConfiguration
from kernel.protocol.join import Join

HIGH_WATER_MARK: Final = 256
"""Messages that libzmq queues each way; what is beyond waits in `Dealer`."""
MAX_RECEIVED_AT_ONCE: Final = 256
"""So that a talkative peer cannot keep the deadlines from being looked at."""
TCP_HEARTBEAT_MS: Final = 2_000
TCP_TIMEOUT_MS: Final = 6_000


class Dealer:
    """Belongs to one thread."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", join: Join) -> None:
        """Connect, which is done in the background.

        Raises: BadConfiguration, if the endpoint or a key is malformed.
        """
        self._socket = context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._unsent: deque[Sequence[Frame]] = deque()
        try:
            _set_options(self._socket, join)
            self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
            self._socket.connect(join.endpoint)
        except (zmq.ZMQError, ValueError) as error:
            self._socket.close()
            raise BadConfiguration("the ticket has an invalid endpoint or invalid keys") from error

    def register(self, poller: zmq.Poller) -> None:
        """Say what the thread should be woken for now."""
        wants = zmq.POLLIN | (zmq.POLLOUT if self._unsent else 0)
        poller.register(self._socket, wants)
        poller.register(self._monitor, zmq.POLLIN)

    def send(self, frames: Sequence[Frame]) -> None:
        """Send in order, with the next `flush`: what leaves together costs both sides one wake-up."""
        self._unsent.append(frames)

    def flush(self) -> None:
        """Give the socket as much as it takes; the rest leaves with a later one."""
        while self._unsent:
            try:
                self._socket.send_multipart(self._unsent[0], flags=zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._unsent.popleft()

    def receive(self) -> list[list[bytes]]:
        """The messages that are here."""
        messages: list[list[bytes]] = []
        while len(messages) < MAX_RECEIVED_AT_ONCE:
            try:
                messages.append(self._socket.recv_multipart(flags=zmq.NOBLOCK))
            except zmq.Again:
                break
        return messages

    def is_key_refused(self) -> bool:
        """True once after the Manager's socket has turned our key away."""
        if not self._monitor.poll(0):
            return False
        recv_monitor_message(self._monitor)
        return True

    def linger(self, linger_s: float) -> None:
        """Let what was sent have that long to leave after `close`; the context's end waits for it."""
        self.flush()
        self._socket.linger = round(linger_s * 1000)

    def close(self) -> None:
        """Close, at once unless `linger` was called."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close()


def _set_options(socket: "zmq.Socket[bytes]", join: Join) -> None:
    socket.curve_serverkey = join.server_public_key.encode("ascii")
    socket.curve_publickey = join.public_key.encode("ascii")
    socket.curve_secretkey = join.secret_key.encode("ascii")
    socket.sndhwm = socket.rcvhwm = HIGH_WATER_MARK
    socket.maxmsgsize = MAX_FRAME_BYTES
    if join.endpoint.startswith("tcp://"):
        socket.heartbeat_ivl = TCP_HEARTBEAT_MS
        socket.heartbeat_timeout = socket.heartbeat_ttl = TCP_TIMEOUT_MS
