"""What the bus benchmarks stand on: a Manager in a process of its own, with a model and an engine."""

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import zmq
import zmq.auth

from bench.manager import settings_in
from kernel.core.actions import SaveModel
from kernel.protocol import client, codec
from kernel.protocol.endpoints import ClientRole, front_endpoint, secret_key_file, server_key_file
from kernel.protocol.enums import ModelBase, ModelState, ModelType
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.rows import ModelRow
from kernel.protocol.specs import INSPECTION_RULES, EngineSpec
from kernel.protocol.uuid7 import Uuid7
from kernel.protocol.worker_tokens import CreateWorkerToken, WorkerTokenIssued
from kernel.shell.store import Store

WAIT_S: Final = 20.0
MODEL: Final = ModelId("bench-model")


class Caller:
    """A client on the front socket, as bare as can be."""

    def __init__(self, bus_folder: Path, role: ClientRole = ClientRole.ADMIN) -> None:
        self.bus_folder = bus_folder
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        secure(
            self.socket,
            zmq.auth.load_certificate(server_key_file(bus_folder))[0],
            zmq.auth.load_certificate(secret_key_file(bus_folder, role)),
        )
        self.socket.rcvtimeo = int(WAIT_S * 1000)
        self.socket.connect(front_endpoint(bus_folder))
        self.ids = Uuid7()
        self._replies = codec.reply_decoder()
        self._unbundled: deque[codec.Received[client.BrokerReply]] = deque()

    def send(self, message: client.ClientMessage) -> bytes:
        """Send one message. Returns: its correlation."""
        correlation = self.ids.bytes()
        self.socket.send_multipart(codec.encode(message, correlation))
        return correlation

    def command(self, ask: client.Ask) -> client.Command:
        return client.Command(key=self.ids.text(), digest=b"bench", ask=ask)

    def receive(self) -> codec.Received[client.BrokerReply]:
        """The next message. Raises: SystemExit, if none comes."""
        if not self._unbundled:
            try:
                frames = self.socket.recv_multipart()
            except zmq.Again:
                raise SystemExit("gate failed: the Manager does not answer") from None
            self._unbundled += codec.unbundled(self._replies.decode(frames))
        return self._unbundled.popleft()

    def ask(self, ask: client.Ask) -> client.BrokerReply:
        """One command and its answer; other messages are dropped."""
        correlation = self.send(self.command(ask))
        while (received := self.receive()).head.correlation != correlation:
            pass
        return received.body

    def close(self) -> None:
        self.socket.close(linger=0)
        self.context.term()


def secure(socket: zmq.Socket[bytes], server_public_key: bytes, own_keys: tuple[bytes, bytes | None]) -> None:
    """Make a socket a CURVE client."""
    socket.linger = 0
    socket.curve_serverkey = server_public_key
    socket.curve_publickey = own_keys[0]
    socket.curve_secretkey = own_keys[1] or b""


@contextmanager
def manager(*options: str) -> Iterator[Caller]:
    """A fresh Manager in its own process and folder, and a caller connected to it."""
    with TemporaryDirectory(prefix="spoon-") as name:
        folder = Path(name)
        add_model(folder)
        command = [sys.executable, "-m", "bench.manager", str(folder), *options]
        with (folder / "log").open("wb") as log, process(command, log.fileno()):
            wait_for_keys(folder)
            caller = Caller(folder / "bus")
            caller.send(client.GetStatus())
            caller.receive()
            yield caller
            caller.close()


@contextmanager
def process(command: Sequence[str], output: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block."""
    running = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(timeout=5)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def wait_for_keys(folder: Path) -> None:
    """Wait until a Manager has made its keys. Raises: SystemExit."""
    for keys in (server_key_file(folder / "bus"), secret_key_file(folder / "bus", ClientRole.ADMIN)):
        _wait_for(keys, folder / "log")


def _wait_for(file: Path, log: Path) -> None:
    end_s = time.monotonic() + WAIT_S
    while not file.exists():
        if time.monotonic() > end_s:
            raise SystemExit(f"the Manager did not start:\n{log.read_text()}")
        time.sleep(0.02)


def token_of(caller: Caller, pool: str, file: Path) -> None:
    """An enrollment token of a pool, in a private file."""
    reply = caller.ask(CreateWorkerToken(pool=pool))
    if not isinstance(reply, WorkerTokenIssued) or reply.text is None:
        raise SystemExit(f"gate failed: no token: {reply}")
    file.touch(0o600)
    file.write_text(reply.text)


def add_model(folder: Path) -> None:
    """A ready checkpoint, put straight into the database: an empty file does to measure the bus."""
    database = settings_in(folder).database_file
    database.parent.mkdir(parents=True)
    lies = folder.resolve() / "bench.safetensors"
    lies.touch()
    store = Store(database)
    row = ModelRow(
        model_id=MODEL,
        name="bench",
        uri=lies.as_uri(),
        status=ModelState.READY,
        model_type=ModelType.CHECKPOINT,
        model_base=ModelBase.SD,
        variant=None,
        tags=(),
        trigger_words=(),
        declared_base=None,
        declared_sha256=None,
        created_at_ms=0,
        native_size_px=64,
        inspection_rules=INSPECTION_RULES,
    )
    store.save(SaveModel(row))
    store.commit()
    store.close()


def create_engine(caller: Caller, pool: str | None = None) -> EngineId:
    """An engine that only starts when told to, or that waits for a worker of a pool."""
    spec = EngineSpec(name="bench", checkpoint=MODEL, autostart=pool is not None, pool=pool)
    reply = caller.ask(client.CreateEngine(spec=spec, start=False))
    if not isinstance(reply, client.EngineAccepted):
        raise SystemExit(f"gate failed: no engine: {reply}")
    return reply.engine_id
