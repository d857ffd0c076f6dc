"""The kinds of deadlines, one class each (adr/0008). The docstring says what must have happened by then."""

from msgspec import Struct

from kernel.protocol.ids import BlobId, DeliveryId, EngineId, ImageId, JobId, Ticket, WorkerId


class Hello(Struct, frozen=True):
    """A launched worker must have said hello."""

    worker_id: WorkerId


class Launch(Struct, frozen=True):
    """A launched worker of a pool must have joined, or its process must have ended."""

    worker_id: WorkerId


class Load(Struct, frozen=True):
    """A worker must have loaded its engine, or made progress with its model."""

    worker_id: WorkerId


class Silence(Struct, frozen=True):
    """A worker must have sent a message."""

    worker_id: WorkerId


class Progress(Struct, frozen=True):
    """A worker that holds jobs must have made a step."""

    worker_id: WorkerId


class Drop(Struct, frozen=True):
    """A worker must have dropped a job that it was asked to drop."""

    worker_id: WorkerId
    job_id: JobId


class Drain(Struct, frozen=True):
    """An asked-to-leave worker without jobs must have exited."""

    worker_id: WorkerId


class Kill(Struct, frozen=True):
    """A terminating worker must have exited."""

    worker_id: WorkerId


class Idle(Struct, frozen=True):
    """A fetch worker has been idle: let it leave."""

    worker_id: WorkerId


class Relaunch(Struct, frozen=True):
    """An engine whose worker died may launch another one."""

    engine_id: EngineId


class KeepAlive(Struct, frozen=True):
    """An on-demand engine has been idle: close it."""

    engine_id: EngineId


class Turn(Struct, frozen=True):
    """An engine has waited for a whole time slice: it may end that of a working one."""

    engine_id: EngineId


class Scale(Struct, frozen=True):
    """The queue of an engine has been long, or one of its added replicas idle, for a while."""

    engine_id: EngineId


class Retry(Struct, frozen=True):
    """An engine in error may be tried again, since jobs wait for it and the cause may have passed."""

    engine_id: EngineId


class GiveUp(Struct, frozen=True):
    """A job that waits for an engine in error may have reached its give-up time."""

    engine_id: EngineId


class Fetch(Struct, frozen=True):
    """Fetch workers may be launched again."""


class Scan(Struct, frozen=True):
    """models.folders are looked through again."""


class Callbacks(Struct, frozen=True):
    """A callback may be sent."""


class Resume(Struct, frozen=True):
    """Callbacks may be sent again, after their worker died."""


class Deliver(Struct, frozen=True):
    """A callback must have been answered, or given up by its worker."""

    delivery_id: DeliveryId


class Store(Struct, frozen=True):
    """An output that could not be written may be tried again."""

    output_id: ImageId | BlobId


class Claim(Struct, frozen=True):
    """A download must have finished."""

    image_id: ImageId
    ticket: Ticket


class ComeBack(Struct, frozen=True):
    """After a start, workers of pools must have come back to keep their engines and jobs."""


class Housekeeping(Struct, frozen=True):
    """Measure disk space and look for expired files."""


class Parts(Struct, frozen=True):
    """The next part of a model may be sent to a worker."""


class Grace(Struct, frozen=True):
    """Running jobs must have finished during a shutdown."""


class ApiProcess(Struct, frozen=True):
    """The API may be restarted, or must have exited."""


Due = (
    Hello
    | Launch
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
    | Scale
    | Retry
    | GiveUp
    | Fetch
    | Scan
    | Callbacks
    | Resume
    | Deliver
    | Store
    | Claim
    | ComeBack
    | Housekeeping
    | Parts
    | Grace
    | ApiProcess
)
