"""What can happen to a session: the Manager or the engine says something, a signal comes, time passes."""

from dataclasses import dataclass

from engine_worker.port import Completed, Dropped, Failed, ImageEncoded, Mapped, Previewed, Stepped
from kernel.protocol.ids import Epoch, JobId
from kernel.protocol.worker import (
    EngineFailed,
    EngineReady,
    ModelFailed,
    ModelInspected,
    ModelProgress,
    WorkerOrder,
)


@dataclass(frozen=True, slots=True)
class Opened:
    """The socket is there, and messages can be given to it."""


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """The Manager's socket does not let our key in."""


@dataclass(frozen=True, slots=True)
class OrderArrived:
    """The Manager said something, as the Manager of this epoch."""

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
class StopAsked:
    """A signal asked this process to stop."""


@dataclass(frozen=True, slots=True)
class LoopBroke:
    """The engine's loop ended by a bug; the process cannot go on."""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The time that `next_deadline` named has come."""


EngineEvent = (
    EngineReady | EngineFailed | Stepped | Previewed | MapMade | ImageMade | Completed | Failed | Dropped
)
"""What an engine's loop has to say. What needs no thought is said in the report's own words."""
FetchEvent = ModelProgress | ModelInspected | ModelFailed
LifeEvent = Opened | KeyRefused | StopAsked | LoopBroke | DeadlinePassed
Event = LifeEvent | OrderArrived | EngineEvent | FetchEvent
