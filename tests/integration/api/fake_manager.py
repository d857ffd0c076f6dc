"""A ROUTER with CURVE that speaks as a Manager does, and as badly as a test wants."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import zmq
import zmq.auth

from kernel.protocol import codec
from kernel.protocol.client import (
    ApiAsk,
    ApiCommand,
    BrokerReply,
    Bundle,
    Done,
    Enclosed,
    GetStatus,
    Watch,
    Watching,
)
from kernel.protocol.endpoints import ClientRole, front_endpoint, secret_key_file, server_key_file
from kernel.protocol.enums import Phase
from kernel.protocol.header import NO_CORRELATION
from kernel.protocol.ids import Epoch, EventSeq
from kernel.protocol.status import Status

STATUS = Status(
    version="0",
    pid=1,
    phase=Phase.RUNNING,
    uptime_s=1.0,
    jobs_waiting=0,
    jobs_processing=0,
    engines_running=0,
    is_disk_low=False,
    devices=(),
)

Say = Callable[[ApiAsk], BrokerReply | None]


def always_done(ask: ApiAsk) -> BrokerReply | None:
    return Done()


class FakeManager:
    """Runs in a thread from `start` to `stop`; another one may then take its place in the same folder."""

    def __init__(
        self, bus_folder: Path, epoch: int = 1, say: Say = always_done, *, is_bundling: bool = False
    ) -> None:
        self._is_bundling = is_bundling
        self.bundles = 0
        self.commands: list[ApiCommand] = []
        self.most_unanswered = 0
        self.watches = 0
        self.seq = EventSeq(0)
        self._folder = bus_folder
        self._epoch = Epoch(epoch)
        self._say = say
        self._decoder = codec.api_decoder()
        self._peer: bytes | None = None
        self._heard = threading.Condition()
        self._outbox: list[list[codec.Frame]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._ready = threading.Event()

    def start(self) -> "FakeManager":
        self._thread.start()
        self._ready.wait(5)
        return self

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def __enter__(self) -> "FakeManager":
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def wait_until(self, is_so: Callable[["FakeManager"], bool], timeout_s: float = 10.0) -> None:
        """Wait until something that was heard makes it so."""
        with self._heard:
            assert self._heard.wait_for(lambda: is_so(self), timeout_s), "it never came"

    def tell(self, message: msgspec.Struct, correlation: bytes = NO_CORRELATION) -> None:
        """Say something that was not asked for, to the one who watches."""
        self._outbox.append(codec.encode(message, correlation, self._epoch))

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        router = context.socket(zmq.ROUTER)
        router.linger = 0
        public, secret = zmq.auth.load_certificate(self._folder / "manager.key_secret")
        router.curve_server = True
        router.curve_publickey = public
        router.curve_secretkey = secret or b""
        router.bind(front_endpoint(self._folder))
        self._ready.set()
        while not self._stopping.is_set():
            self._take_turn(router)
        router.close()
        context.term()

    def _take_turn(self, router: "zmq.Socket[bytes]") -> None:
        batch: list[list[bytes]] = []
        if router.poll(20):
            while True:
                try:
                    batch.append(router.recv_multipart(zmq.NOBLOCK))
                except zmq.Again:
                    break
        replies = [reply for frames in batch if (reply := self._answer(frames)) is not None]
        while self._peer is not None and self._outbox:
            replies.append([self._peer, *self._outbox.pop(0)])
        for reply in self._bundled(replies) if self._is_bundling else replies:
            router.send_multipart(reply)

    def _bundled(self, replies: list[list[codec.Frame]]) -> list[list[codec.Frame]]:
        """All that goes to one peer as one message, the way a Manager does after a batch."""
        by_peer: dict[codec.Frame, list[Enclosed]] = {}
        for peer, *frames in replies:
            received = codec.reply_decoder().decode(frames)
            enclosed = Enclosed(correlation=received.head.correlation, message=received.body)
            by_peer.setdefault(peer, []).append(enclosed)
        self.bundles += len(by_peer)
        return [
            [peer, *codec.encode(Bundle(messages=tuple(each)), epoch=self._epoch)]
            for peer, each in by_peer.items()
        ]

    def _answer(self, frames: Sequence[bytes]) -> list[codec.Frame] | None:
        message = self._decoder.decode(frames[1:])
        reply = self._reply_to(message.body)
        with self._heard:
            if isinstance(message.body, Watch):
                self._peer = frames[0]
                self.watches += 1
            elif isinstance(message.body, ApiCommand):
                self.commands.append(message.body)
            self._heard.notify_all()
        return (
            None
            if reply is None
            else [frames[0], *codec.encode(reply, message.head.correlation, self._epoch)]
        )

    def _reply_to(self, body: msgspec.Struct) -> BrokerReply | None:
        match body:
            case Watch():
                return Watching(seq=self.seq)
            case GetStatus():
                return STATUS
            case ApiCommand():
                return self._say(body.ask)
            case _:
                return None


def make_keys(bus_folder: Path) -> None:
    """What a Manager lays into its bus folder: its own key pair and that of the API."""
    bus_folder.mkdir(parents=True, exist_ok=True)
    for name in ("manager", ClientRole.API.value):
        zmq.auth.create_certificates(bus_folder, name)
    assert server_key_file(bus_folder).is_file()
    assert secret_key_file(bus_folder, ClientRole.API.value).is_file()
