"""A Manager of real parts (doors, loop, core, database, effects) among neighbors that only listen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields
from pathlib import Path

import apsw
from msgspec.structs import replace

from kernel.core import actions
from kernel.core.broker import Broker
from kernel.core.events import (
    DiskSwept,
    Event,
    InputsStored,
    KeptModel,
    ModelMoved,
    ModelPartNotRead,
    Now,
    OutputStored,
    StopAsked,
    WorkerExited,
)
from kernel.core.ports import Limits
from kernel.protocol import client, codec
from kernel.protocol import worker as wire
from kernel.protocol.codec import Frame
from kernel.protocol.enums import WorkerRole
from kernel.protocol.errors import BadMessage
from kernel.protocol.ids import Lease, ModelId, WorkerId
from kernel.protocol.rows import ModelRow
from kernel.protocol.status import Status
from kernel.protocol.version import VERSION
from kernel.shell import clock
from kernel.shell.bus import Incoming
from kernel.shell.decode import Arrival, BackDoor, FrontDoor, refusal
from kernel.shell.effects import Effects
from kernel.shell.file_thread import Inputs, InputsRead, Output, Reading, Removed
from kernel.shell.loop import Loop
from kernel.shell.outbox import Outbox
from kernel.shell.state_reader import StateReader
from kernel.shell.storage_folders import none_absent
from kernel.shell.store import Store
from kernel.shell.unexpected_errors import UnexpectedErrors
from tests.integration.kernel.surprised import nothing_unexpected
from tests.unit.core.samples import device

CORRELATION = bytes(range(16))
LIMITS = Limits(model_folders=("/srv/models",))
DEVICES = (device("cpu", 64 * 10**9),)
OF_THE_MOMENT = {"now", "id_source", "limits", "devices", "looked_at_s"}
"""What of the memory an event may change though nothing comes of it."""


@dataclass
class Front:
    """The clients' socket: what they are answered, as they read it."""

    replies: list[client.BrokerReply] = field(default_factory=list)
    _decoder: codec.Decoder[client.BrokerReply] = field(default_factory=codec.reply_decoder)

    def send(self, peer: bytes, frames: Sequence[Frame]) -> bool:
        self.replies += [one.body for one in codec.unbundled(self._decoder.decode(frames))]
        return True


@dataclass
class Hands:
    """Processes, files and disks, which do at once what they are told to."""

    events: list[Event] = field(default_factory=list)
    launched: dict[WorkerId, actions.LaunchWorker] = field(default_factory=dict)
    gone: set[WorkerId] = field(default_factory=set)
    leases: list[Lease] = field(default_factory=list)
    _decoder: codec.Decoder[wire.WorkerOrder] = field(default_factory=codec.order_decoder)

    def launch(self, action: actions.LaunchWorker) -> WorkerExited | None:
        self.launched[action.worker_id] = action
        return None

    def admit(self, action: actions.AdmitWorker) -> None:
        self.launched[action.worker_id] = actions.LaunchWorker(action.worker_id, WorkerRole.ENGINE, "")

    def refuse(self, place: bytes, message: wire.Refuse) -> None:
        self._decoder.decode(codec.encode(message))

    def send(self, worker_id: WorkerId, message: wire.WorkerOrder, blobs: Sequence[Frame] = ()) -> bool:
        order = self._decoder.decode(codec.encode(message, blobs=blobs)).body
        if isinstance(order, wire.RunJob):
            self.leases.append(order.lease)
        return True

    def terminate(self, worker_id: WorkerId) -> None:
        if worker_id in self.launched and worker_id not in self.gone:
            self.gone.add(worker_id)
            self.events.append(WorkerExited(worker_id, "signal SIGTERM"))

    kill = terminate

    def forget(self, worker_id: WorkerId) -> None:
        self.gone.add(worker_id)

    def store(self, task: Output | Inputs) -> None:
        stored = InputsStored(task.key) if isinstance(task, Inputs) else OutputStored(task.output_id)
        self.events.append(stored)

    def read(self, reading: Reading) -> None:
        self.readings = [InputsRead(reading.worker_id, reading.lease, tuple(b"x" for _ in reading.files))]

    def read_part(self, task: actions.ReadModelPart) -> None:
        self.events.append(ModelPartNotRead(task.part, "there are no files"))

    def move_model(self, move: actions.MoveModel) -> None:
        self.events.append(ModelMoved(move.model_id))

    def remove(self, names: Sequence[str]) -> None:
        """They are gone for all that anybody can see."""

    def look(self) -> DiskSwept:
        return DiskSwept(free_bytes=1 << 40)


class FullShelves:
    """Folders in which all is that should be, and nothing else."""

    def image_names(self) -> frozenset[str]:
        return frozenset()

    def kept_models(self) -> tuple[KeptModel, ...]:
        return ()

    def absent_models(self, rows: Iterable[ModelRow]) -> frozenset[ModelId]:
        return frozenset()


@dataclass
class Script:
    """Brings these batches, then the wish to stop at once."""

    batches: list[list[Arrival]]
    removals: list[Removed] = field(default_factory=list)
    readings: list[InputsRead] = field(default_factory=list)
    is_drained: bool = True

    def wait(self, timeout_s: float | None) -> list[Arrival]:
        return self.batches.pop(0) if self.batches else [Arrival(StopAsked())]


class SmallManager:
    """What is sent to it goes the way that bytes off the sockets go."""

    def __init__(
        self,
        kind: type[Broker] = Broker,
        file: Path = Path(":memory:"),
        unexpected: UnexpectedErrors | None = None,
    ) -> None:
        """With the same file and surprises it is the next life of another one."""
        self.now_s = 1_000.0
        self.store = Store(file)
        self.state_reader = StateReader(self.store.connection, quota_bytes=10**9)
        epoch = self.store.next_epoch()
        self.front, self.hands = Front(), Hands()
        self._front_door, self._back_door = FrontDoor(epoch, "1", 1, set()), BackDoor()
        outbox = Outbox(self.front, epoch, set())
        self.effects = Effects(outbox, self.hands, self.hands, self.state_reader, None, self.hands, bytes(32))
        self.hands.events = self.effects.events
        self.unexpected = unexpected or nothing_unexpected()
        snapshot = replace(
            self.state_reader.snapshot(epoch),
            blamed=dict(self.unexpected.blamed),
            is_stopping=self.unexpected.is_stopping,
        )
        self.broker = kind(snapshot, LIMITS, clock.RandomIdSource(bytes(32)), self.now())
        looks = (self.now, lambda: DEVICES, FullShelves(), none_absent)
        self.loop = Loop(
            self.broker, self.store, self.state_reader, Script([]), self.effects, *looks, self.unexpected
        )
        self.loop._finish(self.loop._save_all(self.broker.start(self.now())))
        self.settle()

    def now(self) -> Now:
        return Now(self.now_s, int(self.now_s * 1000))

    def settle(self) -> None:
        """Let all come to pass that follows by itself."""
        for _ in range(100):
            self.hands.events = self.effects.events
            deadline_s = self.broker.next_deadline()
            is_due = deadline_s is not None and deadline_s <= self.now_s
            if not self.effects.events and not is_due:
                return
            self.batch([])
        raise AssertionError("it does not settle")

    def batch(self, arrivals: list[Arrival]) -> None:
        """One turn of the loop. What an effect leads to comes with the next one."""
        self.loop._batch(arrivals)
        self.hands.events = self.effects.events

    def wait(self, seconds: float) -> None:
        """Time passes, and every deadline with it."""
        self.now_s += seconds
        self.batch([])
        self.settle()

    def hear_client(self, name: str, frames: Sequence[Frame]) -> list[client.BrokerReply]:
        """A client with that role's key sends this. Returns: what clients are told at once."""
        before = len(self.front.replies)
        incoming = Incoming(b"peer", name, tuple(frames))
        try:
            arrival = self._front_door.read(incoming, Counter())
        except BadMessage as error:
            self.front.replies.append(refusal(incoming, error)[1])
        else:
            self.batch([arrival])
        return self.front.replies[before:]

    def hear_worker(self, worker_id: WorkerId, frames: Sequence[Frame]) -> bool:
        """A worker sends this. Returns: is it a message?"""
        action = self.hands.launched[worker_id]
        if worker_id in self.hands.gone:
            return False
        try:
            incoming = Incoming(b"peer", worker_id, tuple(frames))
            arrival = self._back_door.read(incoming, action.role, worker_id)
        except BadMessage:
            return False
        self.batch([arrival])
        return True

    def hear_stranger(self, frames: Sequence[Frame]) -> bool:
        """A stranger sends this. Returns: is it the one message that it may send?"""
        try:
            arrival = self._back_door.read_stranger(Incoming(b"peer", "?stranger", tuple(frames)))
        except BadMessage:
            return False
        self.batch([arrival])
        return True

    def enroll(self, token: str) -> WorkerId:
        """A worker joins a pool."""
        enroll = wire.Enroll(token=token, version=VERSION, pid=1, host="there")
        assert self.hear_stranger(codec.encode(enroll))
        self.settle()
        return list(self.hands.launched)[-1]

    def tell(self, ask: client.Ask, blobs: Sequence[bytes] = (), key: str = "") -> client.BrokerReply:
        """An honest command. Returns: the answer."""
        command = client.Command(key=key or f"key-{self.broker.world.id_source.id()}", digest=b"d", ask=ask)
        before = len(self.front.replies)
        self.hear_client("admin", codec.encode(command, CORRELATION, blobs=blobs))
        self.settle()
        return self.front.replies[before:][0]

    def say(self, worker_id: WorkerId, report: wire.WorkerReport, *blobs: bytes) -> None:
        """An honest report."""
        assert self.hear_worker(worker_id, codec.encode(report, blobs=blobs))
        self.settle()

    def newest(self, role: WorkerRole) -> WorkerId:
        """The worker of that role that was launched last; it says hello if it has not."""
        action = [a for a in self.hands.launched.values() if a.role is role][-1]
        hello = wire.Hello(
            role=role, worker_id=action.worker_id, token=action.token, version="1", pid=1, host="h"
        )
        self.say(action.worker_id, hello)
        return action.worker_id

    def run(self, *arrivals: Arrival) -> int:
        """The loop runs until it is over, with these in one batch, and then a wish to stop."""
        self.loop.sources = Script([list(arrivals)])
        return self.loop.run()

    # What there is.

    def hear_status(self) -> Status:
        """What the Manager says of itself."""
        (reply,) = self.hear_client("api", codec.encode(client.GetStatus(), CORRELATION))
        assert isinstance(reply, Status)
        return reply

    def rows(self) -> list[tuple[str, str, int]]:
        """Each job: its id, its state, and how many crashes it has seen."""
        return self.store.connection.execute("SELECT job_id, status, crashes FROM job").fetchall()

    def changes(self) -> int:
        """How many rows were ever written."""
        return self.store.connection.total_changes()

    def memory(self) -> dict[str, object]:
        """A copy of all that the core remembers."""
        world = self.broker.world
        return {
            f.name: deepcopy(getattr(world, f.name)) for f in fields(world) if f.name not in OF_THE_MOMENT
        }

    def check(self) -> None:
        """Memory is the open part of the database, which can be read anew."""
        connection: apsw.Connection = self.store.connection
        assert not connection.in_transaction
        found = self.state_reader.snapshot(self.broker.world.epoch)
        world = self.broker.world
        assert {row.model_id: row for row in found.models} == world.models
        assert {row.engine_id: row for row in found.engines} == {
            e: one.row for e, one in world.engines.items()
        }
        assert {row.job_id for row in found.open_jobs} == set(world.jobs)
        assert found.last_change == world.last_change
