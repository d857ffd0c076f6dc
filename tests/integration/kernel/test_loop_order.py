"""Durable before visible: what a batch leads to is seen by nobody before its transaction is on the disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.core.broker import Broker
from kernel.core.events import Asked, DeadlinePassed, Event, InputsStored, Now, Peer, StopAsked, WorkerExited
from kernel.core.ports import Limits
from kernel.protocol.client import JobAccepted, SubmitJob
from kernel.protocol.codec import Frame
from kernel.protocol.enums import InputKind
from kernel.protocol.ids import EngineId, Epoch
from kernel.protocol.model_refs import InputFile
from kernel.protocol.specs import JobRequest
from kernel.protocol.status import DeviceStatus
from kernel.shell import clock
from kernel.shell.decode import Arrival
from kernel.shell.file_thread import InputsRead, Removed
from kernel.shell.loop import LATE_S, Loop
from kernel.shell.state_reader import StateReader
from kernel.shell.storage_folders import StorageFolders, none_absent
from kernel.shell.store import Store
from tests.integration.kernel.rows import BARE_ENGINE, ENGINE, FULL_MODEL
from tests.integration.kernel.saving import saved, seen_by_others
from tests.integration.kernel.surprised import nothing_unexpected

PEER = Peer(b"peer")
SHELVES = StorageFolders(Path("/nonexistent"), Path("/nonexistent"))
ASK_JOB = SubmitJob(engine_id=ENGINE, request=JobRequest(width_px=64, height_px=64, steps=1))
COUNT_JOBS = "SELECT count(*) FROM job"
Batch = list[Arrival]


@dataclass
class ScriptedSources:
    """Brings one batch after the other, then asks the Manager to stop."""

    batches: list[Batch]
    removals: list[Removed] = field(default_factory=list)
    readings: list[InputsRead] = field(default_factory=list)
    is_drained: bool = True

    def wait(self, timeout_s: float | None) -> Batch:
        return self.batches.pop(0) if self.batches else [Arrival(StopAsked())]


@dataclass
class WatchingEffects:
    """Does almost nothing, and notes at each effect how many jobs another process sees in the database."""

    database: Path
    seen: list[tuple[actions.Effect, int]] = field(default_factory=list)
    blobs: list[tuple[Frame, ...]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    exit_code: int | None = None
    files: None = None

    def keep_blobs(self, effects: Sequence[actions.Effect], blobs: tuple[Frame, ...]) -> None:
        self.blobs.append(blobs)

    def carry_out(self, effect: actions.Effect) -> None:
        ((jobs,),) = seen_by_others(self.database, COUNT_JOBS)
        assert isinstance(jobs, int)
        self.seen.append((effect, jobs))
        match effect:
            case actions.Exit(code):
                self.exit_code = code
            case actions.KillWorker(worker_id):
                self.events.append(WorkerExited(worker_id, "signal SIGKILL"))

    def finish(self) -> None:
        """Nothing was held back."""


class BrokenStore(Store):
    """A database on a disk that breaks when a job is to be made durable."""

    def commit(self) -> None:
        ((jobs,),) = self.connection.execute(COUNT_JOBS)
        if jobs:
            raise apsw.IOError("the disk is broken")
        super().commit()


def no_devices() -> tuple[DeviceStatus, ...]:
    return ()


@pytest.fixture
def effects(database: Path) -> WatchingEffects:
    return WatchingEffects(database)


def loop_over(store: Store, effects: WatchingEffects, batches: list[Batch]) -> Loop:
    """The real loop, core and database; only the world around them is scripted."""
    state_reader = StateReader(store.connection)
    broker = Broker(state_reader.snapshot(Epoch(1)), Limits(), clock.RandomIdSource(bytes(32)), Now(0.0, 0))
    return Loop(
        broker,
        store,
        state_reader,
        ScriptedSources(batches),
        effects,
        clock.now,
        no_devices,
        SHELVES,
        none_absent,
        nothing_unexpected(),
    )


def with_engine(store: Store) -> Store:
    saved(store, actions.SaveModel(FULL_MODEL), actions.SaveEngine(BARE_ENGINE))
    return store


def submit(number: int) -> Arrival:
    correlation = number.to_bytes(16, "big")
    return Arrival(Asked(PEER, correlation, f"key-{number}", b"digest", ASK_JOB))


def test_a_whole_batch_is_on_the_disk_before_the_first_answer_leaves(
    store: Store, effects: WatchingEffects
) -> None:
    loop = loop_over(with_engine(store), effects, [[submit(1), submit(2), submit(3)]])

    assert loop.run() == 0

    seen = [jobs for effect, jobs in effects.seen if isinstance(effect, actions.Reply)]
    assert seen == [3, 3, 3]


def test_no_worker_is_launched_for_a_job_that_is_not_on_the_disk(
    store: Store, effects: WatchingEffects
) -> None:
    loop = loop_over(with_engine(store), effects, [[submit(1)]])

    loop.run()

    seen = [jobs for effect, jobs in effects.seen if isinstance(effect, actions.LaunchWorker)]
    assert seen == [1]


def test_when_the_commit_fails_nothing_leaves_and_the_loop_ends(
    database: Path, effects: WatchingEffects
) -> None:
    store = BrokenStore(database)
    loop = loop_over(with_engine(store), effects, [[submit(1)], [submit(2)]])

    with pytest.raises(apsw.IOError):
        loop.run()
    store.close()

    visible = (actions.Reply, actions.Push, actions.LaunchWorker, actions.Order)
    assert [effect for effect, _ in effects.seen if isinstance(effect, visible)] == []
    assert seen_by_others(database, COUNT_JOBS) == [(0,)]


def test_a_command_that_comes_twice_in_one_batch_is_done_once_and_answered_twice(
    store: Store, effects: WatchingEffects, database: Path
) -> None:
    loop = loop_over(with_engine(store), effects, [[submit(1), submit(1)]])

    loop.run()

    first, second = (effect for effect, _ in effects.seen if isinstance(effect, actions.Reply))
    assert isinstance(first.message, JobAccepted)
    assert first.message == second.message
    assert seen_by_others(database, COUNT_JOBS) == [(1,)]


def test_a_refused_command_is_remembered_in_no_table(
    store: Store, effects: WatchingEffects, database: Path
) -> None:
    ask = SubmitJob(engine_id=EngineId("no such engine"), request=JobRequest())
    refused = Arrival(Asked(PEER, bytes(16), "key", b"digest", ask))

    loop_over(with_engine(store), effects, [[refused]]).run()

    assert seen_by_others(database, "SELECT count(*) FROM idempotency") == [(0,)]


# A job that comes with a picture: its file is written first, then it is a job.


def submit_with_picture() -> Arrival:
    file = InputFile(mime="image/png", size_bytes=3, sha256="a" * 64)
    ask = replace(ASK_JOB, request=replace(ASK_JOB.request, inputs=(InputKind.REFERENCE,)), files=(file,))
    return Arrival(Asked(PEER, bytes(16), "key", b"digest", ask, blob_bytes=(3,)), (b"png",))


def test_a_picture_is_written_before_its_job_is_on_the_disk_and_the_answer_leaves_afterwards(
    store: Store, effects: WatchingEffects
) -> None:
    batches = [[submit_with_picture()], [Arrival(InputsStored("key"))]]

    assert loop_over(with_engine(store), effects, batches).run() == 0

    told = [(type(effect), jobs) for effect, jobs in effects.seen]
    assert effects.blobs == [(b"png",)]
    assert told.index((actions.StoreInputs, 0)) < told.index((actions.Reply, 1))


def test_when_the_commit_of_a_job_with_a_picture_fails_nobody_is_told_of_it(
    database: Path, effects: WatchingEffects
) -> None:
    store = BrokenStore(database)
    batches = [[submit_with_picture()], [Arrival(InputsStored("key"))]]

    with pytest.raises(apsw.IOError):
        loop_over(with_engine(store), effects, batches).run()
    store.close()

    assert not [effect for effect, _ in effects.seen if isinstance(effect, actions.Reply)]
    for table in ("job", "blob", "idempotency"):
        assert seen_by_others(database, f"SELECT count(*) FROM {table}") == [(0,)], "its file is swept away"


class WatchedBroker(Broker):
    """Notes at which times deadlines were looked at."""

    looked_at_s: list[float]

    def handle(self, event: Event, now: Now) -> list[actions.Action]:
        if isinstance(event, DeadlinePassed):
            self.looked_at_s.append(now.mono_s)
        return super().handle(event, now)


@dataclass
class BusySources(ScriptedSources):
    """Time passes, and messages are left until the last turn but one."""

    now_s: float = 0.0
    passes_s: tuple[float, ...] = ()

    def wait(self, timeout_s: float | None) -> Batch:
        if not self.passes_s:
            return [Arrival(StopAsked())]
        self.now_s, *rest = self.passes_s
        self.passes_s = tuple(rest)
        self.is_drained = not rest
        return []


def test_deadlines_wait_for_what_has_come_but_not_for_long(store: Store, effects: WatchingEffects) -> None:
    """A busy Manager has not read the heartbeats of its workers yet."""
    loop = loop_over(with_engine(store), effects, [])
    loop.broker = broker = WatchedBroker(
        StateReader(store.connection).snapshot(Epoch(1)),
        Limits(),
        clock.RandomIdSource(bytes(32)),
        Now(0.0, 0),
    )
    broker.looked_at_s = []
    broker.start(Now(0.0, 0))
    due_s = broker.next_deadline()
    assert due_s is not None
    sources = BusySources([], passes_s=(due_s + 1, due_s + LATE_S + 1, due_s + LATE_S + 2))
    loop.sources, loop.clock = sources, lambda: Now(sources.now_s, 0)
    loop.run()
    assert broker.looked_at_s[0] == due_s + LATE_S + 1
