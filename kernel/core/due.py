"""The kinds of deadlines, a class each."""

from msgspec import Struct

from kernel.protocol.ids import BlobId, EngineId, ImageId, JobId, Ticket, WorkerId


class Hello(Struct, frozen=True):
    """A worker that was launched or invited must have said hello."""

    worker_id: WorkerId


class Load(Struct, frozen=True):
    """A worker must have loaded its engine, or come further with its model."""

    worker_id: WorkerId


class Silence(Struct, frozen=True):
    """A worker must have said anything."""

    worker_id: WorkerId


class Progress(Struct, frozen=True):
    """A worker that holds jobs must have come a step further."""

    worker_id: WorkerId


class Drop(Struct, frozen=True):
    """A worker must have dropped a job that it was told to drop."""

    worker_id: WorkerId
    job_id: JobId


class Drain(Struct, frozen=True):
    """A worker that holds nothing and was told to leave must be gone."""

    worker_id: WorkerId


class Kill(Struct, frozen=True):
    """A terminating worker must be gone."""

    worker_id: WorkerId


class Idle(Struct, frozen=True):
    """A fetch worker has had nothing to do."""

    worker_id: WorkerId


class Relaunch(Struct, frozen=True):
    """An engine whose worker died may try again."""

    engine_id: EngineId


class KeepAlive(Struct, frozen=True):
    """An engine that was started on demand has been idle."""

    engine_id: EngineId


class Turn(Struct, frozen=True):
    """An engine has waited long enough for the room of one that works."""

    engine_id: EngineId


class Retry(Struct, frozen=True):
    """An engine in error is tried again, since jobs wait for it and what it failed of may be over."""

    engine_id: EngineId


class GiveUp(Struct, frozen=True):
    """A job that waits for an engine in error has waited for as long as it wants to."""

    engine_id: EngineId


class Fetch(Struct, frozen=True):
    """Fetch workers may be launched again."""


class Store(Struct, frozen=True):
    """A picture that could not be written may be tried again."""

    picture_id: ImageId | BlobId


class Claim(Struct, frozen=True):
    """A download must have been finished."""

    image_id: ImageId
    ticket: Ticket


class Housekeeping(Struct, frozen=True):
    """It is time to look at the disk and at what expires."""


class Grace(Struct, frozen=True):
    """Running jobs must be finished during a shutdown."""


class ApiProcess(Struct, frozen=True):
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
    | Retry
    | GiveUp
    | Fetch
    | Store
    | Claim
    | Housekeeping
    | Grace
    | ApiProcess
)
