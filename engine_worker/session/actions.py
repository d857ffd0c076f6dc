"""What a worker's session wants done, in the order in which it says so."""

from dataclasses import dataclass, field
from enum import IntEnum

from engine_worker.port import Inputs
from kernel.protocol.ids import JobId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import EngineLoad, JobOrder
from kernel.protocol.worker import WorkerReport


@dataclass(frozen=True, slots=True)
class Send:
    """Say this to the Manager; the blob, if any, rides along uncopied."""

    report: WorkerReport
    blob: bytes | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Load the engine."""

    load: EngineLoad


@dataclass(frozen=True, slots=True)
class Admit:
    """Take the job into the engine, with the images that came along."""

    order: JobOrder
    inputs: Inputs = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Drop the job from the engine."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class Inspect:
    """Read what this model is."""

    source: ModelSource


class ExitCode(IntEnum):
    """What the worker's exit status tells the one who started it."""

    LEFT = 0
    """It left properly: drained, told to leave, or stopped by a signal."""
    BAD_TICKET = 2
    """The command line or the ticket cannot be used; nothing was sent."""
    REFUSED = 3
    """The Manager knows neither its key nor its token, or did not want it."""
    MANAGER_GONE = 4
    """The Manager never answered, fell silent, or is no longer the parent process."""
    BUG = 70
    """A defect of this software; the last lines of stderr say what (EX_SOFTWARE of sysexits.h)."""


@dataclass(frozen=True, slots=True)
class Exit:
    """End the process: the last action of a session."""

    exit_code: ExitCode
    reason: str
    linger_s: float
    close_s: float


Task = Load | Admit | Cancel | Inspect
"""What the main thread does."""
Action = Send | Task | Exit
