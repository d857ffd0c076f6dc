"""What an engine and a job are made of, once every default has been filled in."""

import msgspec

from kernel.protocol.ids import Count, EngineId, ImageId, JobId, ModelId, Pixels
from kernel.protocol.vocabulary import (
    ImageFileType,
    ModelBase,
    ModelType,
    Scheduler,
    Variant,
)

SchedulerConfig = dict[str, bool | int | float | str]
"""Options by diffusers' own names, laid over the checkpoint's scheduler config."""


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """What inspection found out about a model's files by reading their headers."""

    model_type: ModelType
    model_base: ModelBase | None = None
    variant: Variant | None = None
    sha256: str
    size_bytes: Count
    memory_bytes: Count
    """The weights alone, in the precision they are stored in."""
    parameters: Count
    prediction_type: str | None = None
    native_size_px: Pixels | None = None
    """The width and height that the checkpoint was trained at."""


class ModelSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where a worker finds a model: the address as the person gave it, never a path of the broker's."""

    model_id: ModelId
    name: str
    uri: str
    model_type: ModelType
    model_base: ModelBase | None = None
    variant: Variant | None = None
    sha256: str | None = None


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An engine as its owner described it. None means: left to the checkpoint or to the job."""

    name: str | None = None
    checkpoint: ModelId
    scheduler: Scheduler = Scheduler.DPMPP_2M_KARRAS
    scheduler_config: SchedulerConfig = {}
    steps: int = 25
    guidance_scale: float = 7.0
    width_px: int | None = None
    height_px: int | None = None
    device: str = "auto"
    dtype: Variant | None = None
    autostart: bool = True
    keep_alive_s: float | None = None
    replicas: int = 1
    max_batch: int | None = None


class EngineLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to load an engine."""

    engine_id: EngineId
    checkpoint: ModelSource
    device: str = "auto"
    dtype: Variant | None = None
    max_batch: int | None = None


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it was asked for. None means: the engine's default; 0 is a value like any other."""

    prompt: str = ""
    negative_prompt: str = ""
    seed: int | None = None
    count: int = 1
    steps: int | None = None
    guidance_scale: float | None = None
    width_px: int | None = None
    height_px: int | None = None
    scheduler: Scheduler | None = None
    scheduler_config: SchedulerConfig | None = None
    image_file_type: ImageFileType = ImageFileType.PNG
    quality: int = 90


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A job with every value decided, so that its recipe never depends on a default again."""

    prompt: str
    negative_prompt: str
    seed: int
    count: int
    steps: int
    guidance_scale: float
    width_px: int
    height_px: int
    scheduler: Scheduler
    scheduler_config: SchedulerConfig = {}
    image_file_type: ImageFileType = ImageFileType.PNG
    quality: int = 90


class PictureOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One picture of a job that is still to be made."""

    index: int
    image_id: ImageId
    seed: int


class JobOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is given to a worker: the whole spec, and the pictures that are still missing."""

    job_id: JobId
    spec: JobSpec
    pictures: tuple[PictureOrder, ...]
