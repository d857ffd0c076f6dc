"""A worker's way in: minted when it is launched or invited, and shut when it is gone."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zmq

from kernel.core.actions import AdmitWorker, LaunchWorker
from kernel.core.events import WorkerExited
from kernel.protocol import codec, worker
from kernel.protocol.enums import WorkerRole
from kernel.protocol.ids import EngineId, Epoch, WorkerId
from kernel.protocol.join import Join
from kernel.shell.bus import STRANGER, Strangers
from kernel.shell.ports import LaunchNews
from kernel.shell.worker_registry import BACK, JoinTerms, WorkerRegistry
from tests.integration.kernel.small_bus import Caller, SmallBus

WORKER = WorkerId("w1-1")
LAUNCH = LaunchWorker(WORKER, WorkerRole.ENGINE, "the token", EngineId("e1"))


@dataclass
class NotingLauncher:
    """Starts nothing, and keeps the tickets."""

    error: OSError | None = None
    joins: list[Join] = field(default_factory=list)
    engine_ids: list[EngineId | None] = field(default_factory=list)

    def launch(self, join: Join, engine_id: EngineId | None) -> None:
        self.engine_ids.append(engine_id)
        if self.error is not None:
            raise self.error
        self.joins.append(join)

    def launch_in(self, pool: str, worker_id: WorkerId, engine_id: EngineId | None) -> None: ...

    def fileno(self) -> int:
        return -1

    def poll(self) -> list[LaunchNews]:
        return []

    def terminate(self, name: str) -> None: ...

    def kill(self, name: str) -> None: ...


@pytest.fixture
def bus(short_folder: Path) -> Iterator[SmallBus]:
    with SmallBus.opened(short_folder / "bus", domain=BACK) as found:
        yield found


@pytest.fixture
def launcher() -> NotingLauncher:
    return NotingLauncher()


@pytest.fixture
def registry(bus: SmallBus, launcher: NotingLauncher) -> WorkerRegistry:
    endpoint = bus.router.endpoints[0]
    terms = JoinTerms(endpoint, bus.server_public_key.decode(), (), True, 1, "/detectors")
    return WorkerRegistry(bus.router, bus.gate, launcher, terms, Epoch(7))


def join(bus: SmallBus, ticket: Join) -> Caller:
    caller = bus.call(ticket.public_key.encode(), ticket.secret_key.encode())
    caller.socket.send_multipart([b"head", b"hello"])
    return caller


def test_a_launched_worker_gets_in_under_its_own_name_and_role(
    bus: SmallBus, registry: WorkerRegistry, launcher: NotingLauncher
) -> None:
    assert registry.launch(LAUNCH) is None
    (ticket,) = launcher.joins
    assert launcher.engine_ids == ["e1"]
    join(bus, ticket)

    assert bus.expect().name == WORKER
    assert registry.role(WORKER) is WorkerRole.ENGINE
    assert (ticket.token, ticket.detectors_folder) == ("the token", "/detectors")
    assert ticket.secret_key not in repr(ticket)


def test_a_forgotten_workers_key_opens_nothing(
    bus: SmallBus, registry: WorkerRegistry, launcher: NotingLauncher
) -> None:
    registry.launch(LAUNCH)
    registry.forget(WORKER)

    late = join(bus, launcher.joins[0])

    bus.expect_no_entry(late)
    assert registry.named(WORKER) is None
    assert not registry.send(WORKER, worker.Pong())


def test_an_order_goes_to_where_the_worker_spoke_from_last(
    bus: SmallBus, registry: WorkerRegistry, launcher: NotingLauncher
) -> None:
    registry.launch(LAUNCH)
    assert not registry.send(WORKER, worker.Pong())
    caller = join(bus, launcher.joins[0])
    registry.seen(WORKER, bus.expect().peer)

    assert registry.send(WORKER, worker.Pong())
    received = codec.order_decoder().decode(bus.hear(caller))
    assert (received.head.epoch, received.body) == (7, worker.Pong())


def test_a_worker_that_cannot_be_started_has_exited(
    registry: WorkerRegistry, launcher: NotingLauncher
) -> None:
    launcher.error = OSError("no more processes")
    assert registry.launch(LAUNCH) == WorkerExited(WORKER, "could not start: no more processes")


def test_a_worker_of_a_pool_is_known_by_its_key_until_it_is_forgotten(
    bus: SmallBus, registry: WorkerRegistry
) -> None:
    bus.gate.let_strangers_in(Strangers(BACK, lambda: True))
    public, secret = zmq.curve_keypair()
    caller = bus.call(public, secret)
    caller.socket.send_multipart([b"head", b"enroll"])
    incoming = bus.expect()
    assert incoming.name == STRANGER + public.decode()
    assert registry.named(incoming.name) is None

    registry.admit(AdmitWorker(WORKER, incoming.name, incoming.peer))
    assert registry.named(incoming.name) == WORKER
    assert registry.send(WORKER, worker.Pong())
    assert codec.order_decoder().decode(bus.hear(caller)).body == worker.Pong()

    registry.forget(WORKER)
    assert registry.named(incoming.name) is None
    registry.refuse(incoming.peer, worker.Refuse(code="c", text="t"))
    assert codec.order_decoder().decode(bus.hear(caller)).body == worker.Refuse(code="c", text="t")


def test_a_stranger_is_not_let_in_while_nobody_is_expected(bus: SmallBus) -> None:
    bus.gate.let_strangers_in(Strangers(BACK, lambda: False))
    caller = bus.call(*zmq.curve_keypair())
    caller.socket.send_multipart([b"head", b"enroll"])
    bus.expect_no_entry(caller)
