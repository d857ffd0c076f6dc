"""The events of a session: messages of the Manager, reports of the engine, signals, deadlines."""

from dataclasses import dataclass

from engine_worker.port import Completed, Dropped, Failed, ImageEncoded, Mapped, Previewed, Stepped
from kernel.protocol.ids import Epoch, JobId
from kernel.protocol.worker import (
    CallbackEnded,
    EngineFailed,
    EngineProgress,
    EngineReady,
    FileScanned,
    GetModelFiles,
    GetModelPart,
    ModelFailed,
    ModelInspected,
    ModelProgress,
    ScanBegun,
    ScanEnded,
    ScanProgress,
    WorkerOrder,
)


@dataclass(frozen=True, slots=True)
class Opened:
    """The socket is open and takes messages."""


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """The Manager's socket has refused our key."""


@dataclass(frozen=True, slots=True)
class OrderArrived:
    """A message of the Manager arrived, with the Manager's epoch."""

    epoch: Epoch
    order: WorkerOrder
    blobs: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageMade:
    """An image left the engine, and its file was hashed."""

    image: ImageEncoded
    sha256: str

    @property
    def job_id(self) -> JobId:
        return self.image.job_id


@dataclass(frozen=True, slots=True)
class MapMade:
    """A control map left the engine, and its file was hashed."""

    made: Mapped
    sha256: str

    @property
    def job_id(self) -> JobId:
        return self.made.job_id


@dataclass(frozen=True, slots=True)
class ScanStopped:
    """A scan made way for another task before its end; the Manager is not told that it ended."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """A signal asked this process to stop."""


@dataclass(frozen=True, slots=True)
class LoopBroke:
    """The engine's loop ended because of a defect; the process cannot go on."""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The time that `next_deadline` returned has come."""


EngineEvent = (
    EngineProgress
    | EngineReady
    | EngineFailed
    | Stepped
    | Previewed
    | MapMade
    | ImageMade
    | Completed
    | Failed
    | Dropped
)
"""The events of an engine's loop. Reports that need no decision are sent as they are."""
ScanEvent = ScanBegun | ScanProgress | FileScanned | ScanEnded | ScanStopped
FetchEvent = ModelProgress | ModelInspected | ModelFailed | CallbackEnded | ScanEvent
PartRequest = GetModelFiles | GetModelPart
"""What the copying of a model asks the Manager for."""
LifeEvent = Opened | KeyRefused | StopAsked | LoopBroke | DeadlinePassed
Event = LifeEvent | OrderArrived | EngineEvent | FetchEvent | PartRequest
