"""A Manager small enough for a test: a ROUTER with CURVE and an allow-list, and workers that it starts."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
import zmq
from zmq.auth.thread import ThreadAuthenticator

from kernel.protocol import codec
from kernel.protocol.codec import Received
from kernel.protocol.enums import WorkerRole
from kernel.protocol.ids import Epoch, WorkerId
from kernel.protocol.join import Join, write_join
from kernel.protocol.worker import Hello, Ping, Pong, Welcome, WorkerOrder, WorkerReport

EPOCH = Epoch(3)
PATIENCE_S = 20.0

Report = TypeVar("Report", bound=msgspec.Struct)


class AllowList:
    """The keys that may connect, as pyzmq's authenticator asks for them."""

    def __init__(self) -> None:
        self.keys: set[bytes] = set()

    def callback(self, domain: str, key: bytes) -> bool:
        return key in self.keys


@dataclass
class SmallManager:
    """Talks to one worker at a time. It answers pings unless told to be silent."""

    socket: "zmq.Socket[bytes]"
    endpoint: str
    server_public_key: str
    allowed: AllowList
    silence_s: float = 5.0
    is_silent: bool = False
    peer: bytes = b""
    heard: list[Received[WorkerReport]] = field(default_factory=list)
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)
    decoder: codec.Decoder[WorkerReport] = field(default_factory=lambda: codec.Decoder(WorkerReport))

    def ticket(self, role: WorkerRole = WorkerRole.ENGINE, roots: tuple[Path, ...] = ()) -> Join:
        """A ticket whose key may connect."""
        public, secret = zmq.curve_keypair()
        self.allowed.keys.add(public)
        return Join(
            role=role,
            worker_id=WorkerId("worker-1"),
            endpoint=self.endpoint,
            server_public_key=self.server_public_key,
            public_key=public.decode(),
            secret_key=secret.decode(),
            token="the token",
            file_roots=tuple(map(str, roots)),
            is_fake=True,
            manager_pid=os.getpid(),
        )

    def start(self, join: Join, stderr: Path) -> "subprocess.Popen[str]":
        """Start a worker as the Manager does: with its ticket in a pipe."""
        reader, writer = os.pipe()
        with stderr.open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "engine_worker.main", "--join-fd", str(reader)],
                pass_fds=[reader],
                stderr=log,
                text=True,
            )
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(write_join(join))
        self.processes.append(process)
        return process

    def welcome(self) -> Hello:
        """Wait for Hello and answer it."""
        hello = self.expect(Hello)
        self.order(Welcome(epoch=EPOCH, heartbeat_s=0.2, silence_s=self.silence_s))
        return hello

    def order(self, order: WorkerOrder) -> None:
        self.socket.send_multipart([self.peer, *codec.encode(order, epoch=EPOCH)])

    def expect(self, kind: type[Report]) -> Report:
        """The next report of this type; those before it are kept in `heard`."""
        return self.expect_whole(kind)[0]

    def expect_whole(self, kind: type[Report]) -> tuple[Report, Received[WorkerReport]]:
        """The next report of this type, and the message that bore it."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            received = self.hear(deadline - time.monotonic())
            if received is not None and isinstance(received.body, kind):
                return received.body, received
        raise AssertionError(
            f"no {kind.__name__} came, only {[type(one.body).__name__ for one in self.heard]}"
        )

    def hear(self, timeout_s: float) -> Received[WorkerReport] | None:
        """The next message, if one comes in time."""
        if not self.socket.poll(max(0, round(timeout_s * 1000))):
            return None
        self.peer, *frames = self.socket.recv_multipart()
        received = self.decoder.decode(frames)
        self.heard.append(received)
        if isinstance(received.body, Ping) and not self.is_silent:
            self.order(Pong())
        return received

    def exit_code(self, process: "subprocess.Popen[str]") -> int:
        """Wait for the worker's end, and go on listening meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            self.hear(0.05)
        while self.hear(0.05):
            pass
        return process.wait(0)


@contextmanager
def small_manager(folder: Path) -> Iterator[SmallManager]:
    """A Manager on an ipc socket in this folder; what it started is gone afterwards."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    allowed = AllowList()
    guard = ThreadAuthenticator(context)
    guard.start()
    guard.configure_curve_callback(credentials_provider=allowed)
    socket = context.socket(zmq.ROUTER)
    public, secret = zmq.curve_keypair()
    socket.linger = 0
    socket.curve_server = True
    socket.curve_secretkey = secret
    socket.router_mandatory = True
    endpoint = f"ipc://{folder}/workers"
    socket.bind(endpoint)
    manager = SmallManager(socket, endpoint, public.decode(), allowed)
    try:
        yield manager
    finally:
        for process in manager.processes:
            process.kill()
            process.wait()
        socket.close()
        guard.stop()
        context.destroy(linger=0)
