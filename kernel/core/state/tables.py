"""The state machines, as tables: a move that is not here cannot happen.

Rules that the tables alone do not express:
- A job that waits has no worker; a job that is processed has exactly one, under exactly one lease.
- A job goes back from processing to waiting when its worker dies, is stopped at once, or at a restart.
- A job that waits is finished when its last image was stored after its worker had died.
- An engine's state follows from its workers; `error` is left by starting it again. A closed engine whose
  device is not there, or that no device is large enough for, goes into `error` without having been started.
- The jobs of an engine in `error` wait. If the cause may pass, it is tried again while they do.
- A delivery that is being sent has one worker. It waits again when its attempt failed, or its worker died, or
  at a restart; one that has ended does, if a person has it sent again.
- A terminating worker gets SIGTERM, then SIGKILL, and can only become gone.

docs/states.md is generated from these tables.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from kernel.protocol.enums import DeliveryState, EngineState, JobState, ModelState, Phase
from kernel.protocol.errors import IllegalMove


class WorkerState(StrEnum):
    IDLE = "idle"
    LAUNCHED = "launched"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    TERMINATING = "terminating"
    GONE = "gone"


State = TypeVar("State", bound=StrEnum)
Moves = Mapping[State, frozenset[State]]

MODEL_MOVES: Final[Moves[ModelState]] = {
    ModelState.DOWNLOADING: frozenset({ModelState.READY, ModelState.ERROR}),
    ModelState.READY: frozenset({ModelState.ERROR, ModelState.DOWNLOADING}),
    ModelState.ERROR: frozenset({ModelState.DOWNLOADING}),
}

JOB_MOVES: Final[Moves[JobState]] = {
    JobState.WAITING: frozenset(
        {JobState.PROCESSING, JobState.FINISHED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.PROCESSING: frozenset(
        {JobState.WAITING, JobState.FINISHED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.FINISHED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

_ENDS: Final = frozenset({EngineState.STOPPING, EngineState.CLOSED, EngineState.ERROR})

ENGINE_MOVES: Final[Moves[EngineState]] = {
    EngineState.CLOSED: frozenset({EngineState.STARTING, EngineState.ERROR}),
    EngineState.STARTING: frozenset({EngineState.READY, EngineState.WORKING}) | _ENDS,
    EngineState.READY: frozenset({EngineState.WORKING, EngineState.STARTING}) | _ENDS,
    EngineState.WORKING: frozenset({EngineState.READY, EngineState.STARTING}) | _ENDS,
    EngineState.STOPPING: frozenset({EngineState.CLOSED}),
    EngineState.ERROR: frozenset({EngineState.STARTING}),
}

WORKER_MOVES: Final[Moves[WorkerState]] = {
    WorkerState.IDLE: frozenset(
        {WorkerState.LOADING, WorkerState.DRAINING, WorkerState.TERMINATING, WorkerState.GONE}
    ),
    WorkerState.LAUNCHED: frozenset(
        {WorkerState.LOADING, WorkerState.READY, WorkerState.TERMINATING, WorkerState.GONE}
    ),
    WorkerState.LOADING: frozenset(
        {WorkerState.READY, WorkerState.DRAINING, WorkerState.TERMINATING, WorkerState.GONE}
    ),
    WorkerState.READY: frozenset({WorkerState.DRAINING, WorkerState.TERMINATING, WorkerState.GONE}),
    WorkerState.DRAINING: frozenset({WorkerState.TERMINATING, WorkerState.GONE}),
    WorkerState.TERMINATING: frozenset({WorkerState.GONE}),
    WorkerState.GONE: frozenset(),
}

DELIVERY_MOVES: Final[Moves[DeliveryState]] = {
    DeliveryState.WAITING: frozenset({DeliveryState.SENDING, DeliveryState.FAILED}),
    DeliveryState.SENDING: frozenset({DeliveryState.WAITING, DeliveryState.DELIVERED, DeliveryState.FAILED}),
    DeliveryState.DELIVERED: frozenset({DeliveryState.WAITING}),
    DeliveryState.FAILED: frozenset({DeliveryState.WAITING}),
}

PHASE_MOVES: Final[Moves[Phase]] = {
    Phase.RUNNING: frozenset({Phase.DRAINING}),
    Phase.DRAINING: frozenset({Phase.CLOSING}),
    Phase.CLOSING: frozenset({Phase.EXITED}),
    Phase.EXITED: frozenset(),
}

OPEN_DELIVERY_STATES: Final = frozenset({DeliveryState.WAITING, DeliveryState.SENDING})
OPEN_JOB_STATES: Final = frozenset({JobState.WAITING, JobState.PROCESSING})
RUNNING_ENGINE_STATES: Final = frozenset(
    {EngineState.STARTING, EngineState.READY, EngineState.WORKING, EngineState.STOPPING}
)


def check_move(moves: Moves[State], old: State, new: State) -> None:
    """Check that the table has this move.

    Raises: IllegalMove, if it does not.
    """
    if new not in moves[old]:
        raise IllegalMove(f"cannot change from {old.value} to {new.value}")
