"""What a worker's session wants done, in the order in which it says so."""

from dataclasses import dataclass, field

from engine_worker.exits import ExitCode
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
