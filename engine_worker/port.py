"""The ports of a worker: an engine, which is loaded once and then stepped, a fetcher of models, and a scanner
of folders."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from kernel.protocol.enums import ControlType, InputKind, Stage
from kernel.protocol.ids import ImageId, JobId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import EngineLoad, Fingerprint, JobOrder
from kernel.protocol.worker import (
    EngineProgress,
    FileScanned,
    ScanBegun,
    ScanEnded,
    ScanFolders,
    ScanProgress,
    SendCallback,
    WorkerDevice,
)

Inputs = Mapping[InputKind, bytes]
"""The input images of a job."""
NO_INPUTS: Inputs = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Loaded:
    """The properties of a loaded engine that the broker needs."""

    device: str
    memory_bytes: int
    capacity: int
    """The number of jobs that the engine steps together."""
    seen: WorkerDevice | None = None
    """The GPU that it is on."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """A denoising step of one image of a job is done, or the job has reached another stage."""

    job_id: JobId
    step: int
    """Steps done so far, over all images of this order."""
    steps: int
    stage: Stage = Stage.DENOISING


@dataclass(frozen=True, slots=True)
class Previewed:
    """A preview of an unfinished image: `data` is a small JPEG file. Only the newest one matters."""

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
    """The job failed; the engine itself can go on."""

    job_id: JobId
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """The job was cancelled, and the engine holds nothing of it."""

    job_id: JobId


Outcome = EngineProgress | Stepped | Previewed | Mapped | ImageEncoded | Completed | Failed | Dropped
Emit = Callable[[Outcome], None]
"""Takes an outcome from any thread of the engine."""
Wake = Callable[[], None]
"""Asks for a `step`, from any thread of the engine, because there is work again."""
ProgressCallback = Callable[[int, int | None, int | None], None]
"""Takes the bytes so far, the total bytes, and bytes per second; None where unknown."""


class Engine(Protocol):
    """One engine. All methods are called from one thread, the worker's main thread.

    Outcomes leave through the `emit` callable that the engine was built with, also from the engine's own
    threads, and always before the job's end. After a `step` that returned False the engine is not called
    until it is given something, or calls `wake`.
    """

    def load(self, order: EngineLoad) -> Loaded:
        """Load the weights, emit EngineProgress meanwhile, and make the engine ready.

        Raises: ModelUnreadable, OutOfMemory, DeviceUnavailable, NotInstalled, EngineFailed.
        """

    def adjust(self, max_batch: int) -> None:
        """Step at most so many images together from the next step on."""

    def admit(self, order: JobOrder, inputs: Inputs = NO_INPUTS) -> None:
        """Accept a job with its input images; its first step is part of the next `step`, or of a later one if
        much has to be prepared.

        A job that cannot be prepared is emitted as Failed.
        """

    def cancel(self, job_id: JobId) -> None:
        """Drop a job before its next step; emits Dropped, or nothing if the job is not here."""

    def step(self) -> bool:
        """Make one denoising step for the jobs that share the next UNet call.

        Returns: False, if no job needs a step (jobs may still be in preparation, and images in
        postprocessing).
        """

    def close(self) -> None:
        """Wait for images in postprocessing, free the device, and end all threads. Jobs in preparation are
        abandoned."""


class Found(Protocol):
    """The result of fetching a model."""

    @property
    def fingerprint(self) -> Fingerprint: ...
    @property
    def stored(self) -> str | None: ...
    @property
    def revision(self) -> str | None: ...

    @property
    def title(self) -> str | None: ...


class Fetching(Protocol):
    """Fetches one model. Raises: SpoonError, if it cannot be used."""

    def fetch(self, source: ModelSource, on_progress: ProgressCallback) -> Found: ...


ScanReport = ScanBegun | ScanProgress | FileScanned | ScanEnded


class Scanning(Protocol):
    """Looks through folders for models. It may be left off after any report."""

    def scan(self, order: ScanFolders) -> Iterator[ScanReport]: ...


class Sending(Protocol):
    """Sends callbacks, several at once."""

    def send(self, order: SendCallback) -> None:
        """Post in the background, and report CallbackEnded, from any thread."""
