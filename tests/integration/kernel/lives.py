"""A Manager of real parts over a folder, lived through as often as it dies: loop, core, database and files.

Only its neighbours are played: workers, clients, and the clock. A client asks until it is answered, over as
many lives of the Manager as that takes.
"""

import hashlib
import select
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import apsw
import msgspec

from conf import settings
from kernel.core.broker import Broker
from kernel.core.events import Asked, DeviceFact, Now, Peer, StopAsked
from kernel.core.ports import Limits
from kernel.main import as_found, open_files
from kernel.protocol import client
from kernel.protocol.codec import Frame
from kernel.protocol.errors import BadConfiguration, DatabaseUnusable
from kernel.protocol.uuid7 import Uuid7
from kernel.shell import clock
from kernel.shell.decode import Arrival
from kernel.shell.disk_usage import DiskUsage
from kernel.shell.effects import Effects
from kernel.shell.file_thread import FileThread, InputsRead, InputsUnreadable, Outcome, Removed
from kernel.shell.loop import Loop
from kernel.shell.outbox import Outbox
from kernel.shell.rowmap import SqlRow
from kernel.shell.state_reader import StateReader
from kernel.shell.storage_folders import StorageFolders, none_absent
from kernel.shell.store import Store
from tests.integration.kernel.played import PlayedFront, PlayedRegistry
from tests.integration.kernel.steps import Killed, SteppingDisk, Steps
from tests.integration.kernel.surprised import nothing_unexpected
from tests.unit.core.samples import device

PEER: Final = Peer(b"client")
GIGABYTE: Final = 10**9
DEVICES: Final = (device("cpu", 64 * GIGABYTE),)
PATIENCE_S: Final = 20.0
TURNS: Final = 5_000
"""More than the longest story has, however often the Manager dies."""
LIVES: Final = 30
RESTART_S: Final = 5.0
PULSE_S: Final = 1.0
"""So far time moves at once: workers are heard in between."""


@dataclass(frozen=True)
class Tell:
    """A client's command; the story goes on with its answer."""

    ask: client.Ask
    blobs: tuple[bytes, ...] = ()
    key: str | None = None
    """None: it is told for the first time."""


@dataclass(frozen=True)
class Until:
    """The story goes on when this is true of the database."""

    what: str
    is_true: Callable[[], object]


@dataclass(frozen=True)
class Wait:
    """Time passes."""

    seconds: float


@dataclass(frozen=True)
class Leap:
    """The calendar alone leaps: things expire, and nobody gets impatient."""

    seconds: float


Wish = Tell | Until | Wait | Leap
Story = Generator[Wish, client.BrokerReply | None, None]


@dataclass
class Told:
    """A command and the answer that its client has."""

    key: str
    tell: Tell
    reply: client.BrokerReply
    calendar_s: float
    """When it was: answers are not remembered for ever."""


class FilesInTurn:
    """The file thread, given one task at a time and only while the loop waits: so steps have one order."""

    def __init__(self, thread: FileThread, steps: Steps) -> None:
        self._thread, self._steps = thread, steps
        self._tasks: deque[Callable[[], None]] = deque()

    def store(self, task: object) -> None:
        self._tasks.append(lambda: self._thread.store(task))

    def read(self, task: object) -> None:
        self._tasks.append(lambda: self._thread.read(task))

    def move_model(self, task: object) -> None:
        self._tasks.append(lambda: self._thread.move_model(task))

    def remove(self, names: Sequence[str]) -> None:
        self._tasks.append(lambda: self._thread.remove(names))

    def outcomes(self) -> list[Outcome]:
        """What the next task came to; nothing, if there is no task. Raises: Killed."""
        if not self._tasks:
            return []
        self._tasks.popleft()()
        ready, _, _ = select.select([self._thread, self._steps], [], [], PATIENCE_S)
        assert ready, "the file thread said nothing"
        if self._steps.is_dead:
            raise Killed
        return self._thread.take_outcomes()


@dataclass
class World:
    """A folder, a story, a clock, and the Managers that live there one after the other."""

    folder: Path
    steps: Steps
    stage: str = "start"
    told: list[Told] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """The codes of the refusals that clients got."""
    lives: int = 0
    calendar_s: float = 0.0
    """How far the calendar has leapt."""
    _turns: int = 0
    _story: Story | None = None
    _wish: Wish | None = None
    _key: str = ""
    _is_sent: bool = False
    _is_stopping: bool = False
    _value: client.BrokerReply | None = None
    _since_s: float = 0.0
    _ids: Uuid7 = field(default_factory=Uuid7)

    def live_through(self, story: Story) -> None:
        """Tell a story to its end and stop the Manager in good order."""
        self._story, self._wish = story, None
        while not self._live():
            self.lives += 1
            assert self.lives < LIVES, "the Manager does not live any more"
            self.steps.revive()
            self.steps.now_s += RESTART_S

    def _live(self) -> bool:
        """One life of the Manager. Returns: did it end as it was asked to?"""
        self._is_sent = self._is_stopping = False
        try:
            with ExitStack() as stack:
                return self._build(stack).run() == 0
        except (Killed, apsw.Error, DatabaseUnusable, BadConfiguration):
            if not self.steps.has_happened:
                raise
            if self.steps.loses_power and self.steps.is_dead:
                self.disk.lose_power()
            return False

    def _build(self, stack: ExitStack) -> Loop:
        """As kernel.main does it."""
        self.disk = SteppingDisk(self.steps)
        config = settings_of(self.folder)
        store = Store(config.database_file)
        stack.callback(_close, store)
        state_reader = StateReader(store.connection, QUOTA_BYTES)
        epoch = store.next_epoch()
        snapshot = state_reader.snapshot(epoch)
        thread, found = open_files(config, store, state_reader, snapshot.models, self.disk)
        stack.callback(thread.close)
        storage_folders = StorageFolders(config.images.folder, config.models.folder)
        snapshot = as_found(snapshot, found, storage_folders, DEVICES)
        broker = Broker(snapshot, LIMITS, clock.RandomIdSource(bytes(32)), self.now())
        self.files = FilesInTurn(thread, self.steps)
        self.registry, self.front = PlayedRegistry(self.steps, config.models.folder), PlayedFront(self.steps)
        outbox = Outbox(self.front, epoch, set())
        disks = DiskUsage((config.images.folder, config.blobs.folder), config.models.folder)
        effects = Effects(outbox, self.registry, self.files, state_reader, None, disks, bytes(32))
        self.connection = store.connection
        self.sources = PlayedSources(self)
        looks = (self.now, _devices, storage_folders, none_absent)
        return Loop(broker, store, state_reader, self.sources, effects, *looks, nothing_unexpected())

    def now(self) -> Now:
        unix_s = START_S + self.steps.now_s + self.calendar_s
        return Now(mono_s=1_000.0 + self.steps.now_s, unix_ms=int(unix_s * 1000))

    def rows(self, query: str) -> list[SqlRow]:
        """What the database holds."""
        return self.connection.execute(query).fetchall()

    def outcomes(self) -> list[Outcome]:
        return self.files.outcomes()

    def turn(self, timeout_s: float | None) -> list[Arrival]:
        """What comes next, when no file is being written: from a worker, from the client, or time passes."""
        self._turns += 1
        assert self._turns < TURNS, f"the story does not come to its end: {self._wish}"
        if timeout_s == 0.0:
            return []
        if (arrival := self._client()) is not None:
            return [arrival]
        if self.registry.says:
            return [self.registry.says.popleft()]
        self.steps.now_s += PULSE_S if timeout_s is None else min(PULSE_S, timeout_s)
        return self.registry.pings()

    def _client(self) -> Arrival | None:
        """What the client says now; a story that is over ends with the wish that the Manager stops."""
        while self._is_fulfilled():
            assert self._story is not None
            try:
                self._wish = self._story.send(self._value)
            except StopIteration:
                return self._stop()
            self._begin()
        return self._send()

    def _begin(self) -> None:
        self._value, self._is_sent, self._since_s = None, False, self.steps.now_s
        self.steps.stage = self.stage
        if isinstance(self._wish, Tell):
            self._key = self._wish.key or self.new_key()
        if isinstance(self._wish, Leap):
            self.calendar_s += self._wish.seconds

    def _is_fulfilled(self) -> bool:
        match self._wish:
            case Tell() as tell:
                reply = self.front.replies.pop(_correlation(self._key), None)
                if reply is None:
                    return False
                self._hear(tell, reply)
                return True
            case Until(is_true=is_true):
                return bool(is_true())
            case Wait(seconds):
                return self.steps.now_s >= self._since_s + seconds
            case _:
                return True

    def _hear(self, tell: Tell, reply: client.BrokerReply) -> None:
        self._value = reply
        if isinstance(reply, client.Refused):
            self.refused.append(reply.code)
        else:
            self.told.append(Told(self._key, tell, reply, self.calendar_s))

    def _send(self) -> Arrival | None:
        if not isinstance(self._wish, Tell) or self._is_sent:
            return None
        self._is_sent = True
        return asked(self._key, self._wish)

    def _stop(self) -> Arrival | None:
        self._story, self._wish, self._value = _nothing(), None, None
        if self._is_stopping:
            return None
        self._is_stopping = True
        return Arrival(StopAsked())

    def new_key(self) -> str:
        """For a command that is new."""
        return self._ids.text()


@dataclass
class PlayedSources:
    """The loop's sources: files first, then whatever the world brings."""

    world: World
    removals: list[Removed] = field(default_factory=list)
    readings: list[InputsRead | InputsUnreadable] = field(default_factory=list)
    is_drained: bool = True

    def wait(self, timeout_s: float | None) -> list[Arrival]:
        outcomes = self.world.outcomes()
        arrivals: list[Arrival] = []
        for outcome in outcomes:
            if isinstance(outcome, Removed):
                self.removals.append(outcome)
            elif isinstance(outcome, InputsRead | InputsUnreadable):
                self.readings.append(outcome)
            else:
                arrivals.append(Arrival(outcome))
        return arrivals if outcomes else self.world.turn(timeout_s)


START_S: Final = time.time()
QUOTA_BYTES: Final = 3_000
"""Two pictures are less, three are more."""
LIMITS: Final = Limits(min_free_bytes=0, blobs_expire_after_s=86_400.0, expire_after_s=604_800.0)


def settings_of(folder: Path) -> settings.Settings:
    """Everything below one folder."""
    return settings.Settings(
        database=settings.Database(folder=folder),
        images=settings.Images(folder=folder / "images"),
        blobs=settings.Blobs(folder=folder / "blobs"),
        models=settings.Models(folder=folder / "models"),
    )


def asked(key: str, tell: Tell) -> Arrival:
    """A command as the front door reads it."""
    digest = hashlib.sha256(msgspec.msgpack.encode(tell.ask)).digest()
    blobs: tuple[Frame, ...] = tell.blobs
    event = Asked(PEER, _correlation(key), key, digest, tell.ask, blob_bytes=tuple(map(len, blobs)))
    return Arrival(event, blobs)


def _correlation(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()[:16]


def _nothing() -> Story:
    """A story in which nothing happens."""
    yield from ()


def _close(store: Store) -> None:
    try:
        store.close()
    except apsw.Error:
        """A dead process closes nothing; a broken disk refuses the last checkpoint."""


def _devices() -> tuple[DeviceFact, ...]:
    return DEVICES
