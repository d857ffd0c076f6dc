"""What the hands of the Manager do when the world does not obey."""

import hashlib
import os
import select
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.core.actions import (
    Folder,
    GiveJob,
    InputToStore,
    LaunchApi,
    Order,
    PushPreview,
    StoreInputs,
    SweepDisk,
)
from kernel.core.events import ApiExited, DiskSwept, Event, InputsStored, InputsUnreadable, Peer
from kernel.protocol import client, worker
from kernel.protocol.enums import BlobKind, InputKind
from kernel.protocol.ids import BlobId, Epoch, ImageId, JobId, Lease, WorkerId
from kernel.protocol.rows import BlobRow
from kernel.shell.disk_usage import DiskUsage
from kernel.shell.effects import Effects
from kernel.shell.file_thread import FileThread, InputsRead, Outcome
from kernel.shell.fs_ops import FileSystem
from kernel.shell.launchers.local import SubprocessLauncher
from kernel.shell.outbox import Outbox
from kernel.shell.state_reader import StateReader
from kernel.shell.store import Store
from kernel.shell.worker_registry import JoinTerms, WorkerRegistry
from tests.integration.kernel.rows import IMAGE, JOB, NOW_MS, SPEC, WAITING_JOB
from tests.integration.kernel.saving import saved
from tests.integration.kernel.small_bus import SmallBus

PATIENCE_S = 20.0
WORKER = WorkerId("w1-1")
LEASE = Lease(1)
PHOTO = b"a photo"


class AbsentApiProcess:
    """A program that cannot be started."""

    def start(self) -> None:
        raise FileNotFoundError("no such program")

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


@pytest.fixture
def effects(bus: SmallBus, state_reader: StateReader, tmp_path: Path) -> Iterator[Effects]:
    (tmp_path / "images").mkdir()
    files = FileThread({Folder.IMAGES: tmp_path / "images"}, FileSystem())
    registry = WorkerRegistry(
        bus.router,
        bus.gate,
        SubprocessLauncher(tmp_path, os.environ),
        JoinTerms("", "", "", (), True, 1),
        Epoch(1),
    )
    yield Effects(
        Outbox(bus.router, Epoch(1), set()),
        registry,
        files,
        state_reader,
        AbsentApiProcess(),
        DiskUsage((tmp_path,), tmp_path),
        bytes(32),
    )
    files.close()


def test_an_api_that_cannot_be_started_has_exited(effects: Effects) -> None:
    effects.carry_out(LaunchApi())
    assert effects.events == [ApiExited("could not start: no such program")]


def test_a_disk_that_is_gone_counts_as_full_and_is_looked_at_again(effects: Effects, tmp_path: Path) -> None:
    effects.disks = DiskUsage((tmp_path,), tmp_path / "models")
    effects.carry_out(SweepDisk())
    (tmp_path / "models").mkdir()
    effects.carry_out(SweepDisk())
    gone, back = effects.events
    assert isinstance(gone, DiskSwept)
    assert isinstance(back, DiskSwept)
    assert gone.free_bytes > 0
    assert gone.models_free_bytes == 0
    assert back.models_free_bytes


# Jobs with pictures.


@dataclass
class PostCrew:
    """Workers that only get mail."""

    sent: list[tuple[WorkerId, worker.WorkerOrder, Sequence[bytes]]] = field(default_factory=list)

    def send(self, worker_id: WorkerId, message: worker.WorkerOrder, blobs: Sequence[bytes] = ()) -> bool:
        self.sent.append((worker_id, message, blobs))
        return True


@dataclass
class PostBox:
    """Clients that only get mail."""

    put_in: list[tuple[object, ...]] = field(default_factory=list)

    def put(self, *letter: object) -> None:
        self.put_in.append(letter)


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    (tmp_path / "blobs").mkdir()
    return tmp_path / "blobs"


@pytest.fixture
def posting(state_reader: StateReader, blobs: Path) -> Iterator[Effects]:
    """Real files and a real database; clients and workers get mail that nobody reads."""
    files = FileThread({Folder.BLOBS: blobs}, FileSystem())
    yield Effects(PostBox(), PostCrew(), files, state_reader, AbsentApiProcess(), [blobs], bytes(32))
    files.close()


@pytest.fixture
def job(store: Store, blobs: Path) -> JobId:
    """A job that a reference image came with."""
    row = BlobRow(
        blob_id=BlobId("photo"),
        job_id=JOB,
        kind=BlobKind.REFERENCE,
        file_name="photo.png",
        mime="image/png",
        size_bytes=len(PHOTO),
        sha256=hashlib.sha256(PHOTO).hexdigest(),
        created_at_ms=NOW_MS,
    )
    spec = replace(SPEC, inputs=(InputKind.REFERENCE,))
    saved(store, actions.AddJob(WAITING_JOB, spec), actions.AddBlob(row))
    (blobs / "photo.png").write_bytes(PHOTO)
    return JOB


def give(lease: Lease = LEASE) -> GiveJob:
    return GiveJob(WORKER, JOB, 1, lease, (IMAGE, ImageId("image-2")), (1,))


def next_outcome(effects: Effects) -> Outcome:
    readable, _, _ = select.select([effects.files], [], [], PATIENCE_S)
    assert readable, "the file thread said nothing"
    (outcome,) = effects.files.take_outcomes()
    return outcome


def deliver(effects: Effects) -> list[Event]:
    """What the loop does with the next reading. Returns: what the core is told."""
    outcome = next_outcome(effects)
    assert isinstance(outcome, InputsRead | InputsUnreadable)
    effects.send_with_inputs(outcome)
    return effects.events


def test_a_job_with_pictures_leaves_once_they_are_read(posting: Effects, job: JobId) -> None:
    posting.carry_out(give())
    assert posting.registry.sent == []
    assert deliver(posting) == []
    [(worker_id, run, blobs)] = posting.registry.sent
    assert isinstance(run, worker.RunJob)
    assert (worker_id, run.lease, run.order.job_id, blobs) == (WORKER, LEASE, job, (PHOTO,))
    assert [picture.index for picture in run.order.pictures] == [1]


def test_a_job_that_is_cancelled_while_its_pictures_are_read_never_leaves(
    posting: Effects, job: JobId
) -> None:
    cancel = worker.CancelJob(job_id=job, lease=LEASE)
    posting.carry_out(give())
    posting.carry_out(Order(WORKER, cancel))
    assert deliver(posting) == []
    assert posting.registry.sent == [(WORKER, cancel, ())]


def test_a_job_whose_picture_is_gone_is_told_to_the_core(posting: Effects, job: JobId, blobs: Path) -> None:
    (blobs / "photo.png").unlink()
    posting.carry_out(give())
    [event] = deliver(posting)
    assert isinstance(event, InputsUnreadable)
    assert (event.worker_id, event.job_id, event.lease) == (WORKER, job, LEASE)
    assert posting.registry.sent == []


def test_the_blobs_of_a_command_become_the_files_that_the_core_names(posting: Effects, blobs: Path) -> None:
    store = StoreInputs("key", (InputToStore("a.png", hashlib.sha256(PHOTO).hexdigest()),))
    posting.keep_blobs([store], (memoryview(PHOTO),))
    posting.carry_out(store)
    assert next_outcome(posting) == InputsStored("key")
    assert (blobs / "a.png").read_bytes() == PHOTO


def test_a_preview_goes_with_its_file_to_each_watcher_and_the_same_one_only_once(posting: Effects) -> None:
    message = client.JobPreview(job_id=JOB, index=0, step=3)
    push = PushPreview((Peer(b"a"), Peer(b"b")), message)
    posting.keep_blobs([push], (b"jpeg",))
    posting.carry_out(push)
    posting.carry_out(push)
    assert posting.outbox.put_in == [(peer, bytes(16), message, (b"jpeg",)) for peer in (b"a", b"b")]
