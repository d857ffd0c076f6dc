"""What a deadline is for, and for whom: one class for each kind."""

from dataclasses import dataclass

from kernel.protocol.ids import BlobId, EngineId, ImageId, JobId, Ticket, WorkerId


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker that was launched or invited must have said hello."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class Load:
    """A worker must have loaded its engine, or come further with its model."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class Silence:
    """A worker must have said anything."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class Progress:
    """A worker that holds jobs must have come a step further."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class Drop:
    """A worker must have dropped a job that it was told to drop."""

    worker_id: WorkerId
    job_id: JobId


@dataclass(frozen=True, slots=True)
class Drain:
    """A worker that holds nothing and was told to leave must be gone."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class Kill:
    """A doomed worker must be gone."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class Idle:
    """A fetch worker has had nothing to do."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class Relaunch:
    """An engine whose worker died may try again."""

    engine_id: EngineId


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """An engine that was started on demand has been idle."""

    engine_id: EngineId


@dataclass(frozen=True, slots=True)
class Turn:
    """An engine has waited long enough for the room of one that works."""

    engine_id: EngineId


@dataclass(frozen=True, slots=True)
class FailWaiting:
    """An engine in error has more waiting jobs to fail."""

    engine_id: EngineId


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch workers may be launched again."""


@dataclass(frozen=True, slots=True)
class Store:
    """A picture that could not be written may be tried again."""

    picture_id: ImageId | BlobId


@dataclass(frozen=True, slots=True)
class Claim:
    """A download must have been finished."""

    image_id: ImageId
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Stock:
    """It is time to look at the disk and at what expires."""


@dataclass(frozen=True, slots=True)
class Grace:
    """Running jobs must be finished during a shutdown."""


@dataclass(frozen=True, slots=True)
class Companion:
    """The API may be started again, or must be gone."""


Due = (
    Hello
    | Load
    | Silence
    | Progress
    | Drop
    | Drain
    | Kill
    | Idle
    | Relaunch
    | KeepAlive
    | Turn
    | FailWaiting
    | Fetch
    | Store
    | Claim
    | Stock
    | Grace
    | Companion
)
