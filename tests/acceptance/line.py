"""The bus as a test speaks it: every command bears a key, and is sent again until it is answered."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import zmq
import zmq.auth

from kernel.protocol import codec
from kernel.protocol.client import (
    Ask,
    BrokerReply,
    Changed,
    ClientMessage,
    Command,
    GetStatus,
    Refused,
    Watch,
    Watching,
)
from kernel.protocol.codec import Received
from kernel.protocol.endpoints import ClientRole, front_endpoint, secret_key_file, server_key_file
from kernel.protocol.status import Status
from kernel.protocol.uuid7 import Uuid7
from tests.acceptance.patience import PATIENCE_S

RESEND_S: Final = 0.5
Answer = TypeVar("Answer", bound=msgspec.Struct)


def command(ask: Ask, key: str) -> Command:
    """An ask with its key and its digest."""
    return Command(key=key, digest=hashlib.sha256(msgspec.msgpack.encode(ask)).digest(), ask=ask)


class Line:
    """A DEALER with the key of the role `admin`, for one thread. It outlives Managers."""

    def __init__(self, bus_folder: Path) -> None:
        self.ids = Uuid7()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.immediate = True
        self._socket.reconnect_ivl, self._socket.reconnect_ivl_max = 10, 50
        server_key, _ = zmq.auth.load_certificate(server_key_file(bus_folder))
        public_key, secret_key = zmq.auth.load_certificate(secret_key_file(bus_folder, ClientRole.ADMIN))
        self._socket.curve_serverkey = server_key
        self._socket.curve_publickey, self._socket.curve_secretkey = public_key, secret_key or b""
        self._socket.connect(front_endpoint(bus_folder))
        self._replies = codec.reply_decoder()

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def ask(
        self, ask: Ask, expected: type[Answer], key: str | None = None, blobs: Sequence[bytes] = ()
    ) -> Answer:
        """Have something done once; the answer must be of this type."""
        answer = self.tell(ask, key or self.ids.text(), blobs)
        assert isinstance(answer, expected), f"{answer} instead of {expected.__name__}"
        return answer

    def tell(self, ask: Ask, key: str, blobs: Sequence[bytes] = ()) -> BrokerReply:
        """Have something done once, whatever the answer is."""
        return self._exchange(command(ask, key), blobs)

    def refusal(self, ask: Ask, key: str | None = None, blobs: Sequence[bytes] = ()) -> str:
        """The code with which something is refused that must be."""
        return self.ask(ask, Refused, key, blobs).code

    def status(self) -> Status:
        answer = self._exchange(GetStatus())
        assert isinstance(answer, Status)
        return answer

    def watch(self) -> None:
        """Subscribe to the changes."""
        assert isinstance(self._exchange(Watch()), Watching)

    def changes(self) -> Iterator[tuple[float, Changed]]:
        """The changes as they come, each with the time of its arrival (seconds, monotonic)."""
        while (received := self.hear(PATIENCE_S)) is not None:
            if isinstance(received.body, Changed):
                yield time.monotonic(), received.body

    def _exchange(self, message: ClientMessage, blobs: Sequence[bytes] = ()) -> BrokerReply:
        correlation, end_s = self.ids.bytes(), time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            self.say(message, correlation, blobs)
            if (reply := self._reply_to(correlation)) is not None:
                return reply
        raise AssertionError(f"no answer to {message} within {PATIENCE_S:g} s")

    def say(
        self, message: ClientMessage, correlation: bytes | None = None, blobs: Sequence[bytes] = ()
    ) -> None:
        """Send a message once, and do not wait for an answer."""
        correlation = correlation or self.ids.bytes()
        try:
            self._socket.send_multipart(codec.encode(message, correlation, blobs=blobs), zmq.NOBLOCK)
        except zmq.Again:
            """No Manager is there now; it is said again."""

    def hear(self, timeout_s: float) -> Received[BrokerReply] | None:
        """The next message, whatever it is; None, if none comes in this time."""
        if not self._socket.poll(max(0, int(timeout_s * 1000))):
            return None
        return self._replies.decode(self._socket.recv_multipart())

    def _reply_to(self, correlation: bytes) -> BrokerReply | None:
        end_s = time.monotonic() + RESEND_S
        while (received := self.hear(end_s - time.monotonic())) is not None:
            if received.head.correlation == correlation:
                return received.body
        return None
