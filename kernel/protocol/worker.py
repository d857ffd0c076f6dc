"""Messages between the Manager and a worker: orders go down, reports come up.

A worker that the Manager has started opens with Hello, one of a pool with Enroll, and is answered with
Welcome or Refuse. An engine worker then gets LoadEngine and jobs, a fetch worker gets InspectModel,
ScanFolders or SendCallback. Every message about a job has the lease under which it was given.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from kernel.protocol.enums import ControlType, Stage, WorkerRole
from kernel.protocol.ids import (
    Count,
    DeliveryId,
    EngineId,
    Epoch,
    ImageId,
    JobId,
    Lease,
    ModelId,
    Pixels,
    WorkerId,
)
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import EngineLoad, Fingerprint, JobOrder
from kernel.protocol.values import MaxBatch

# Orders: the Manager to a worker.


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The worker is registered."""

    epoch: Epoch
    heartbeat_s: float
    """Send at least one message in this time."""
    silence_s: float
    """Leave, or enroll again, if the Manager has been silent for this long."""
    worker_id: WorkerId | None = None
    """The name of a worker that has enrolled."""


class Refuse(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The worker is unknown or not permitted: leave, come back later, or (`not_enrolled`) enroll."""

    code: str
    text: str
    retry_after_s: float | None = None
    """Try again after this time; None: do not."""


class LoadEngine(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Load this engine and report EngineReady or EngineFailed."""

    load: EngineLoad


class AdjustEngine(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The loaded engine was edited: from now on step at most so many images together."""

    max_batch: MaxBatch


class InspectModel(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Download this model if it is remote, inspect it, and report ModelInspected or ModelFailed."""

    source: ModelSource


class ScanFolders(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Look through these folders for models, and report ScanBegun, then ScanProgress and FileScanned for each
    file that is not known, then ScanEnded."""

    folders: tuple[str, ...]
    known: tuple[int, ...] = ()
    """The stamps of files that need not be read again."""


class SendCallback(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Post this to a receiver, and report CallbackEnded."""

    delivery_id: DeliveryId
    attempt: int
    url: str
    headers: dict[str, str]
    """With the signature."""
    body: str


class RunJob(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make these images from the message's blobs, and report under this lease."""

    attempt: int
    lease: Lease
    order: JobOrder


class CancelJob(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Drop this job within one step, and report JobDropped."""

    job_id: JobId
    lease: Lease


class ImageStored(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The image is durable: you may free it."""

    job_id: JobId
    lease: Lease
    index: int


class MapStored(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The control map is durable: you may free it."""

    job_id: JobId
    lease: Lease
    control_type: ControlType


class FileOfModel(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a model: its name in the model's folder, or, of a model that is one file, a name of ours."""

    name: str
    size_bytes: Count


class ModelFiles(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The files of this model, as it is registered."""

    model_id: ModelId
    sha256: str
    files: tuple[FileOfModel, ...]
    is_folder: bool = False
    """False: the first file is the model, and the others lie beside it."""


class ModelPart(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A part of a file of this model: the blob."""

    model_id: ModelId
    sha256: str
    file: str
    offset: Count


class ModelPartRefused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Nothing of this model is sent, for this reason."""

    model_id: ModelId
    sha256: str
    file: str | None = None
    """That a part was asked of; None: the list of files was asked for."""
    code: str
    text: str


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Finish the jobs you hold, report Goodbye, and leave."""

    for_good: bool = False
    """Its host is not to start another one."""


class Leave(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Drop everything and leave now."""


class Pong(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The Manager is alive."""


WorkerOrder = (
    Welcome
    | Refuse
    | LoadEngine
    | AdjustEngine
    | InspectModel
    | ScanFolders
    | SendCallback
    | RunJob
    | CancelJob
    | ImageStored
    | MapStored
    | ModelFiles
    | ModelPart
    | ModelPartRefused
    | Drain
    | Leave
    | Pong
)


# Reports: a worker to the Manager.


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The first message of a worker: its identity and launch token."""

    role: WorkerRole
    worker_id: WorkerId
    token: str
    version: str
    pid: int
    host: str


Text = Annotated[str, Meta(max_length=300)]


class WorkerDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device of a worker's host, as the worker sees it."""

    device: Text
    name: Text
    total_bytes: Count
    free_bytes: Count
    capability: Text | None = None
    """Of a GPU: its compute capability, `9.0`, or its instruction set, `gfx90a`; None: not known."""


class HeldJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that a worker makes, or has made and not delivered."""

    job_id: JobId
    lease: Lease


class Enroll(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The first message of a worker of a pool: its enrollment token, and what it holds from before."""

    token: Text
    version: Text
    pid: Count
    host: Text
    round: Count = 0
    """Rises whenever the worker has lost the Manager; a message that is sent again has the same."""
    devices: Annotated[tuple[WorkerDevice, ...], Meta(max_length=64)] = ()
    launch: Text | None = None
    load: EngineLoad | None = None
    ready: "EngineReady | None" = None
    jobs: Annotated[tuple[HeldJob, ...], Meta(max_length=1_000)] = ()


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The worker is alive. It says nothing about progress."""

    round_trip_ms: float | None = None
    """The time from the last Ping to its Pong."""


class EngineReady(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine is loaded and takes `capacity` jobs at once."""

    engine_id: EngineId
    device: str
    memory_bytes: Count
    capacity: Count
    seen: WorkerDevice | None = None
    """The GPU that it is on, with what it holds now counted as used; None: it is on the CPU."""


class EngineProgress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The progress of loading; at most four of these a second."""

    engine_id: EngineId
    bytes: Count
    total_bytes: Count
    bytes_per_s: Count | None = None
    is_copying: bool = False
    """Its files are being copied to the worker's host; loading follows."""


class EngineFailed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine cannot be loaded; `code` tells whether the cause may pass."""

    engine_id: EngineId
    code: str
    text: str


class ModelProgress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The progress of the download or the inspection."""

    model_id: ModelId
    bytes: Count
    total_bytes: Count | None = None
    bytes_per_s: Count | None = None
    """The download rate; None while nothing is downloaded."""


class ModelInspected(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The model was inspected and can be used."""

    model_id: ModelId
    fingerprint: Fingerprint
    stored: str | None = None
    """Its future name in the models folder; None: it is used in place."""
    revision: str | None = None
    """The commit of the repository that it was downloaded from, or its version on CivitAI."""
    title: str | None = None


class ModelFailed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The model cannot be used, for this reason."""

    model_id: ModelId
    code: str
    text: str


class ScanBegun(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The folders were listed; their unknown files are read now."""

    files: Count
    """Files and folders that may be models."""
    unknown: Count
    """Those that are not known, each reported by one FileScanned."""
    gone: tuple[int, ...] = ()
    """Known stamps that no file has any more."""
    absent: tuple[str, ...] = ()
    """Folders, of the order or in one of them, that cannot be read: what is in them has not gone."""


class ScanProgress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """This file is read now: if the worker dies, it is to blame."""

    path: str
    stamp: Count
    """As in FileScanned."""


class FileScanned(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A file, or a folder that is one model, was read: it can be used, or `code` and `text` say why not."""

    path: str
    stamp: Count
    """A number made of its path, size, time of change and inode, and those of the files beside it."""
    mark: str = ""
    """A digest of its header and of samples of its content: the same for a copy. Empty: it has none."""
    fingerprint: Fingerprint | None = None
    """Without a sha256, which takes reading it all."""
    thumbnail: str | None = None
    """The path of the image beside it."""
    code: str = ""
    text: str = ""


class ScanEnded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Every unknown file was reported."""


class CallbackEnded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A receiver answered, or could not be reached."""

    delivery_id: DeliveryId
    attempt: int
    answered: Count | None = None
    """The HTTP status; None: it did not answer."""
    retry_after_s: Count | None = None
    """How long it asks to be left alone."""
    text: str = ""


class Accepted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine has accepted the job."""

    job_id: JobId
    lease: Lease


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The number of denoising steps done; at most four of these a second."""

    job_id: JobId
    lease: Lease
    step: Count
    steps: Count
    stage: Stage = Stage.DENOISING


class Preview(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A preview of an unfinished image: the blob is a small JPEG file; at most two of these a second."""

    job_id: JobId
    lease: Lease
    index: Count
    step: Count


class ControlMap(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A control map that a detector drew for the job: the blob is a PNG file."""

    job_id: JobId
    lease: Lease
    control_type: ControlType
    size_bytes: Count
    sha256: str


class ImageReady(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A finished image: the blob is its file."""

    job_id: JobId
    lease: Lease
    index: Count
    image_id: ImageId
    seed: Count
    mime: str
    width_px: Pixels
    height_px: Pixels
    size_bytes: Count
    sha256: str


class JobDone(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Every image of the job has been sent, and these control maps."""

    job_id: JobId
    lease: Lease
    warnings: tuple[str, ...] = ()
    maps: tuple[ControlType, ...] = ()


class JobFailed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The job failed; the engine can go on."""

    job_id: JobId
    lease: Lease
    code: str
    text: str


class JobDropped(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine has dropped the cancelled job."""

    job_id: JobId
    lease: Lease


class GetModelFiles(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Send ModelFiles about a model that an order names, and that this host lacks."""

    model_id: ModelId
    sha256: str
    """As the order said: the model that is meant. Empty, if the order said none: whichever it is now."""


class GetModelPart(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Send this part of a file of a model, as ModelPart; at most 8 parts may be unanswered."""

    model_id: ModelId
    sha256: str
    file: str
    offset: Count
    size_bytes: Count
    """At most 262,144; the part that comes is shorter only at the end of the file."""


class Goodbye(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The worker leaves: it holds no job and no image."""

    reason: str


EngineReport = (
    Hello
    | Enroll
    | Ping
    | EngineProgress
    | EngineReady
    | EngineFailed
    | Accepted
    | Progress
    | Preview
    | ControlMap
    | ImageReady
    | JobDone
    | JobFailed
    | JobDropped
    | GetModelFiles
    | GetModelPart
    | Goodbye
)
FetchReport = (
    Hello
    | Ping
    | ModelProgress
    | ModelInspected
    | ModelFailed
    | ScanBegun
    | ScanProgress
    | FileScanned
    | ScanEnded
    | CallbackEnded
    | Goodbye
)
WorkerReport = EngineReport | FetchReport
