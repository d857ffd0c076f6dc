"""A ROUTER with the Manager's keys that answers an administrator as a test tells it to."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import zmq
import zmq.auth

from kernel.protocol import codec
from kernel.protocol.client import BrokerReply, Command, Done, GetStatus
from kernel.protocol.endpoints import ClientRole, front_endpoint, secret_key_file, server_key_file
from kernel.protocol.enums import Phase
from kernel.protocol.ids import Epoch
from kernel.protocol.status import Status

RUNNING = Status(
    version="9.9",
    pid=os.getpid(),
    phase=Phase.RUNNING,
    uptime_s=90.4,
    jobs_waiting=3,
    jobs_processing=1,
    engines_running=2,
    is_disk_low=False,
    devices=(),
)


@dataclass
class FakeManager:
    """Answers each command with `reply`; the first `deaf_for` messages it does not hear."""

    status: Status = RUNNING
    reply: BrokerReply = field(default_factory=Done)
    deaf_for: int = 0
    heard: list[object] = field(default_factory=list)

    def answer(self, frames: list[bytes], decoder: codec.Decoder[object]) -> list[codec.Frame] | None:
        received = decoder.decode(frames[1:])
        self.heard.append(received.body)
        if len(self.heard) <= self.deaf_for:
            return None
        reply: msgspec.Struct = self.status if isinstance(received.body, GetStatus) else self.reply
        return [frames[0], *codec.encode(reply, received.head.correlation, Epoch(1))]

    @property
    def commands(self) -> list[Command]:
        return [one for one in self.heard if isinstance(one, Command)]


def write_keys(bus_folder: Path) -> tuple[bytes, bytes]:
    """The certificates that a Manager writes at its start. Returns: its own key pair."""
    bus_folder.mkdir(parents=True)
    _, server_secret = zmq.auth.create_certificates(bus_folder, "server")
    (bus_folder / "server.key").rename(server_key_file(bus_folder))
    zmq.auth.create_certificates(bus_folder, ClientRole.ADMIN.value)
    assert secret_key_file(bus_folder, ClientRole.ADMIN).is_file()
    public, secret = zmq.auth.load_certificate(server_secret)
    assert secret is not None
    return public, secret


@contextmanager
def running(bus_folder: Path, manager: FakeManager) -> Iterator[FakeManager]:
    public, secret = write_keys(bus_folder)
    context = zmq.Context()
    router, inner, outer = context.socket(zmq.ROUTER), context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    router.linger = 0
    router.curve_server = True
    router.curve_publickey, router.curve_secretkey = public, secret
    router.bind(front_endpoint(bus_folder))
    inner.bind("inproc://end")
    outer.connect("inproc://end")

    def serve() -> None:
        decoder = codec.admin_decoder()
        poller = zmq.Poller()
        poller.register(router, zmq.POLLIN)
        poller.register(inner, zmq.POLLIN)
        while inner not in dict(poller.poll()):
            if answer := manager.answer(router.recv_multipart(), decoder):
                router.send_multipart(answer)
        router.close()
        inner.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield manager
    finally:
        outer.send(b"")
        thread.join()
        outer.close()
        context.term()
