"""The phases of a worker's session and the moves between them, as tables.

A worker sends Hello or Enroll until it is answered, then carries out orders. It leaves when it is told to,
when it is asked to stop and holds nothing any more, or when the Manager is gone; a worker of a pool that has
lost the Manager enrolls again, with what it holds, until it is answered. A first signal drains, whatever the
Manager asked before, because a service manager signals all processes of a service at once. A second one does
not wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from engine_worker.session.actions import ExitCode


class Phase(Enum):
    """The phases of a session."""

    NEW = auto()
    JOINING = auto()
    JOINED = auto()
    DRAINING = auto()
    STOPPING = auto()
    LEFT = auto()


class Cause(Enum):
    """The causes of a session's moves."""

    OPENED = auto()
    WELCOMED = auto()
    REFUSED = auto()
    PUT_OFF = auto()
    UNANSWERED = auto()
    LOST = auto()
    DRAIN_ORDERED = auto()
    LEAVE_ORDERED = auto()
    STOP_ASKED = auto()
    EMPTIED = auto()
    DRAINED = auto()
    SILENCE = auto()
    BROKE = auto()


_ALWAYS: Final = {Cause.REFUSED: Phase.LEFT, Cause.PUT_OFF: Phase.LEFT, Cause.BROKE: Phase.LEFT}
_JOINED: Final = _ALWAYS | {Cause.SILENCE: Phase.LEFT, Cause.LEAVE_ORDERED: Phase.LEFT}

MOVES: Final[Mapping[Phase, Mapping[Cause, Phase]]] = MappingProxyType(
    {
        Phase.NEW: _ALWAYS | {Cause.OPENED: Phase.JOINING, Cause.STOP_ASKED: Phase.LEFT},
        Phase.JOINING: _ALWAYS
        | {
            Cause.WELCOMED: Phase.JOINED,
            Cause.UNANSWERED: Phase.LEFT,
            Cause.LEAVE_ORDERED: Phase.LEFT,
            Cause.STOP_ASKED: Phase.LEFT,
        },
        Phase.JOINED: _JOINED
        | {
            Cause.LOST: Phase.JOINING,
            Cause.DRAIN_ORDERED: Phase.DRAINING,
            Cause.STOP_ASKED: Phase.STOPPING,
        },
        Phase.DRAINING: _JOINED
        | {Cause.STOP_ASKED: Phase.STOPPING, Cause.EMPTIED: Phase.LEFT, Cause.DRAINED: Phase.LEFT},
        Phase.STOPPING: _JOINED
        | {Cause.STOP_ASKED: Phase.LEFT, Cause.EMPTIED: Phase.LEFT, Cause.DRAINED: Phase.LEFT},
        Phase.LEFT: {},
    }
)

WELCOME_PHASES: Final = frozenset({Phase.JOINED, Phase.DRAINING, Phase.STOPPING})
"""The phases in which the Manager knows this worker."""
LEAVING_PHASES: Final = frozenset({Phase.DRAINING, Phase.STOPPING})
"""The phases in which no new work is accepted."""


@dataclass(frozen=True, slots=True)
class Parting:
    """How a worker leaves for one cause."""

    exit_code: ExitCode
    reason: str
    linger_s: float
    """How long the last messages may take to reach the Manager."""
    close_s: float
    """How long the engine may take to close before the process ends without it."""
    says_goodbye: bool = False


PARTINGS: Final[Mapping[Cause, Parting]] = MappingProxyType(
    {
        Cause.REFUSED: Parting(ExitCode.REFUSED, "refused", 0.0, 1.0),
        Cause.PUT_OFF: Parting(ExitCode.TRY_LATER, "not admitted now", 0.0, 1.0),
        Cause.UNANSWERED: Parting(ExitCode.MANAGER_GONE, "the Manager did not respond", 0.0, 1.0),
        Cause.SILENCE: Parting(ExitCode.MANAGER_GONE, "the Manager stopped responding", 0.0, 1.0),
        Cause.LEAVE_ORDERED: Parting(ExitCode.LEFT, "told to exit", 1.0, 1.0, says_goodbye=True),
        Cause.STOP_ASKED: Parting(ExitCode.LEFT, "stopped by a signal", 1.0, 1.0, says_goodbye=True),
        Cause.EMPTIED: Parting(ExitCode.LEFT, "drained", 5.0, 3.0, says_goodbye=True),
        Cause.DRAINED: Parting(ExitCode.DRAINED, "drained for good", 5.0, 3.0, says_goodbye=True),
        Cause.BROKE: Parting(ExitCode.BUG, "the engine loop failed", 1.0, 1.0),
    }
)
