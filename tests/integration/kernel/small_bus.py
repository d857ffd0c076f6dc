"""One ROUTER behind the real gate, pumped by the test itself, and clients with or without a key."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from kernel.shell.bus import WIDEST, Allowance, Gate, Incoming, Router, private_folder

FRONT: Final = "front"
PATIENCE_S: Final = 20.0
GLANCE_S: Final = 0.01


@dataclass
class Caller:
    """A DEALER, and what became of its handshakes."""

    socket: "zmq.Socket[bytes]"
    monitor: "zmq.Socket[bytes]"

    def is_turned_away(self) -> bool:
        """True once after the router refused this caller's key, or hung up on it."""
        if not self.monitor.poll(0):
            return False
        recv_monitor_message(self.monitor)
        return True

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)


@dataclass
class SmallBus:
    """The router, its gate, and a loop of one turn that plays both."""

    context: "zmq.Context[zmq.Socket[bytes]]"
    gate: Gate
    router: Router
    server_public_key: bytes
    domain: str
    callers: list[Caller] = field(default_factory=list)

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, domain: str = FRONT, allowance: Allowance = WIDEST) -> "Iterator[SmallBus]":
        """On an ipc socket in a private folder; everything is closed in the end."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        public, secret = zmq.curve_keypair()
        gate = Gate(context)
        router = Router(context, domain, secret, [f"ipc://{private_folder(folder)}/front.ipc"], allowance)
        bus = cls(context, gate, router, public, domain)
        try:
            yield bus
        finally:
            for caller in bus.callers:
                caller.close()
            router.close()
            gate.socket.close()
            context.term()

    def admit(self, name: str) -> Caller:
        """A caller whose key the gate knows under this name."""
        public, secret = zmq.curve_keypair()
        self.gate.allow(self.domain, public, name)
        return self.call(public, secret)

    def call(self, public: bytes, secret: bytes) -> Caller:
        """A caller with this key, known or not."""
        socket = self.context.socket(zmq.DEALER)
        socket.linger = 0
        socket.curve_publickey, socket.curve_secretkey = public, secret
        socket.curve_serverkey = self.server_public_key
        monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_DISCONNECTED)
        socket.connect(self.router.endpoints[0])
        self.callers.append(Caller(socket, monitor))
        return self.callers[-1]

    def turn(self) -> Incoming | None:
        """Answer the gate's questions and take one message, if there is one within a glance."""
        poller = zmq.Poller()
        poller.register(self.gate.socket, zmq.POLLIN)
        poller.register(self.router.socket, zmq.POLLIN)
        poller.poll(GLANCE_S * 1000)
        self.gate.answer()
        return self.router.receive()

    def expect(self) -> Incoming:
        """The next message."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            if (incoming := self.turn()) is not None:
                return incoming
        raise AssertionError("no message came")

    def expect_no_entry(self, caller: Caller) -> None:
        """Turn until the caller was refused; no message of anybody may come meanwhile."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not caller.is_turned_away():
            assert time.monotonic() < deadline_s, "the caller was neither refused nor hung up on"
            assert self.turn() is None

    def hear(self, caller: Caller) -> Sequence[bytes]:
        """What the caller is told next."""
        assert caller.socket.poll(int(PATIENCE_S * 1000)), "the caller was told nothing"
        return caller.socket.recv_multipart()
