"""The ports behind which every engine stands, which is loaded once and then stepped, and every fetcher."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from kernel.protocol.enums import ControlType, InputKind, Stage
from kernel.protocol.ids import ImageId, JobId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import EngineLoad, Fingerprint, JobOrder

Inputs = Mapping[InputKind, bytes]
"""The image files that came along with a job."""
NO_INPUTS: Inputs = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the broker wants to know of an engine that is ready."""

    device: str
    memory_bytes: int
    capacity: int
    """How many jobs the engine steps together at most."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """One more denoising step of one image of a job is done, or the job has come to another stage."""

    job_id: JobId
    step: int
    """Steps done so far, over all images of this order."""
    steps: int
    stage: Stage = Stage.DENOISING


@dataclass(frozen=True, slots=True)
class Previewed:
    """How an image looks so far, roughly: `data` is a small JPEG file. Only the newest is of interest."""

    job_id: JobId
    index: int
    step: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Mapped:
    """A control map that a detector drew for a job: `data` is a PNG file."""

    job_id: JobId
    control_type: ControlType
    data: bytes


@dataclass(frozen=True, slots=True)
class ImageEncoded:
    """One image is decoded and encoded: `data` is the file, ready to be stored."""

    job_id: JobId
    index: int
    image_id: ImageId
    seed: int
    mime: str
    width_px: int
    height_px: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Completed:
    """Every image of the job has been emitted."""

    job_id: JobId
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The job cannot be made; the engine itself is well."""

    job_id: JobId
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """The job was cancelled, and nothing of it is left in the engine."""

    job_id: JobId


Outcome = Stepped | Previewed | Mapped | ImageEncoded | Completed | Failed | Dropped
Emit = Callable[[Outcome], None]
"""Takes an outcome from any thread of the engine."""
Wake = Callable[[], None]
"""Asks for a `step`, from any thread of the engine: there is something to do again."""
ProgressCallback = Callable[[int, int | None, int | None], None]
"""Takes the bytes that are there, all that there will be, and bytes per second; None: it is not known."""


class Engine(Protocol):
    """One engine. All methods are called from one thread, the worker's main thread.

    Outcomes leave through the `emit` callable that the engine was built with, also from the engine's own
    threads: what precedes a job's steps and what follows them, always before the job's end. After a `step`
    that returned False the engine is left alone until it is given something, or calls `wake`.
    """

    def load(self, order: EngineLoad) -> Loaded:
        """Load the weights and make the engine ready.

        Raises: ModelUnreadable, OutOfMemory, DeviceUnavailable, NotInstalled, EngineFailed.
        """

    def admit(self, order: JobOrder, inputs: Inputs = NO_INPUTS) -> None:
        """Take a job in, with its images; its first step is part of the next `step`, or of a later one if
        there is much to prepare.

        A job that cannot be prepared is emitted as Failed.
        """

    def cancel(self, job_id: JobId) -> None:
        """Drop a job before its next step; emits Dropped, or nothing if the job is not here."""

    def step(self) -> bool:
        """Make one denoising step for the jobs that share the next UNet call.

        Returns: False when no job needs a step (jobs may still be being prepared, and images be on their
        way out).
        """

    def close(self) -> None:
        """Wait for images on their way out, free the device, and end all threads. Jobs that are being
        prepared come no further."""


class Found(Protocol):
    """What a fetcher has found."""

    @property
    def fingerprint(self) -> Fingerprint: ...
    @property
    def stored(self) -> str | None: ...
    @property
    def revision(self) -> str | None: ...


class Fetching(Protocol):
    """Fetches one model. Raises: SpoonError, if it cannot be used."""

    def fetch(self, source: ModelSource, on_progress: ProgressCallback) -> Found: ...
