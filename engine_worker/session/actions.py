"""The actions of a worker's session, carried out in order."""

from dataclasses import dataclass, field
from enum import IntEnum

from engine_worker.port import Inputs
from kernel.protocol.ids import JobId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import EngineLoad, JobOrder
from kernel.protocol.worker import (
    ModelFiles,
    ModelPart,
    ModelPartRefused,
    ScanFolders,
    SendCallback,
    WorkerReport,
)


@dataclass(frozen=True, slots=True)
class Send:
    """Send this to the Manager; the blob, if any, is sent uncopied."""

    report: WorkerReport
    blob: bytes | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Load the engine."""

    load: EngineLoad


@dataclass(frozen=True, slots=True)
class Adjust:
    """Step at most so many images together."""

    max_batch: int


@dataclass(frozen=True, slots=True)
class Admit:
    """Give the job to the engine, with its input images."""

    order: JobOrder
    inputs: Inputs = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Drop the job from the engine."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class Inspect:
    """Fetch and inspect this model."""

    source: ModelSource


@dataclass(frozen=True, slots=True)
class Scan:
    """Look through these folders for models, until the next task."""

    order: ScanFolders


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send this callback."""

    order: SendCallback


@dataclass(frozen=True, slots=True)
class TakePart:
    """Hand what the Manager sent of a model to the thread that copies it."""

    reply: ModelFiles | ModelPart | ModelPartRefused
    blob: bytes = field(default=b"", repr=False)


class ExitCode(IntEnum):
    """The worker's exit status."""

    LEFT = 0
    """It left properly: drained, told to leave, or stopped by a signal."""
    BAD_TICKET = 2
    """The command line or the ticket cannot be used; nothing was sent."""
    REFUSED = 3
    """The Manager does not know its key or token, or refused it."""
    MANAGER_GONE = 4
    """The Manager never answered, fell silent, or is no longer the parent process."""
    DRAINED = 5
    """It finished its jobs and left for good, as ordered: its host is not to start another one."""
    BUG = 70
    """A defect of this software; the last lines of stderr describe it (EX_SOFTWARE of sysexits.h)."""
    TRY_LATER = 75
    """The Manager does not admit it now (EX_TEMPFAIL of sysexits.h)."""


@dataclass(frozen=True, slots=True)
class Exit:
    """End the process: the last action of a session."""

    exit_code: ExitCode
    reason: str
    linger_s: float
    close_s: float


Task = Load | Adjust | Admit | Cancel | Inspect | Scan | Deliver
"""Tasks of the main thread."""
Action = Send | Task | TakePart | Exit
