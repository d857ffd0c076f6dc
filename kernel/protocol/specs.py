"""What an engine and a job are made of, once every default has been filled in."""

import msgspec

from kernel.protocol.enums import (
    Compilation,
    ControlType,
    ImageFileType,
    ImageFit,
    InputKind,
    MemoryPlan,
    ModelBase,
    ModelType,
    PromptTechnique,
    Scheduler,
    Variant,
)
from kernel.protocol.ids import Count, EngineId, ImageId, JobId, ModelId, Pixels
from kernel.protocol.memory import MemoryProfile
from kernel.protocol.model_refs import ControlUse, LoraUse, ModelSource

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
    """The width and height that the checkpoint was trained at, or that a background remover takes."""
    memory: MemoryProfile | None = None
    """What its need of memory is computed from; None where the headers do not tell."""
    trigger_words: tuple[str, ...] = ()
    """The words that call it, as its own metadata says."""
    control_type: ControlType | None = None
    """Of a ControlNet: the maps that it was trained on, as far as its metadata tells."""


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An engine as its owner described it. None means: left to the checkpoint or to the job."""

    name: str | None = None
    checkpoint: ModelId
    vae: ModelId | None = None
    loras: tuple[LoraUse, ...] = ()
    embeddings: tuple[ModelId, ...] = ()
    long_prompt_technique: PromptTechnique = PromptTechnique.NONE
    control_net: ControlType | None = None
    """What the pose image of a job is, where the job does not say."""
    control_models: tuple[ModelId, ...] = ()
    """ControlNets, one for each control type."""
    clip_skip: int | None = None
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
    give_up_after_s: float | None = None
    """How long a job waits for it while it is in error, where the job does not say; None: for as long as it
    takes."""
    replicas: int = 1
    max_batch: int | None = None


class EngineLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to load an engine."""

    engine_id: EngineId
    checkpoint: ModelSource
    models: tuple[ModelSource, ...] = ()
    """All others that the engine's spec names: loaded with it, so that a first job does not wait for them."""
    device: str = "auto"
    dtype: Variant | None = None
    max_batch: int | None = None
    plan: MemoryPlan = MemoryPlan.FAST
    compilation: Compilation = Compilation.OFF
    width_px: int | None = None
    """The pictures that its jobs make by default: for them it is prepared beforehand."""
    height_px: int | None = None
    guidance_scale: float = 7.0


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it was asked for. None means: the engine's default; 0 is a value like any other."""

    prompt: str = ""
    negative_prompt: str = ""
    loras: tuple[LoraUse, ...] | None = None
    embeddings: tuple[ModelId, ...] | None = None
    vae: ModelId | None = None
    """OWN_VAE: the checkpoint's own, though the engine may have another one."""
    clip_skip: int | None = None
    inputs: tuple[InputKind, ...] = ()
    """The pictures that come along, in the order of the message's blobs."""
    image_fit: ImageFit = ImageFit.CROP
    strength: float = 0.75
    """How far the reference image is taken back into noise: 1 leaves nothing of it."""
    controls: tuple[ControlUse, ...] = ()
    remove_background: tuple[ModelId, ...] = ()
    """Background removers, applied in this order."""
    background_color: str = "#ffffff"
    """What a picture without background is laid on where its file type knows no transparency."""
    previews: bool = False
    expire_after_s: float | None = None
    delete_after_downloads: int | None = None
    give_up_after_s: float | None = None
    """How long it waits for an engine in error before it fails."""
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
    loras: tuple[LoraUse, ...] = ()
    embeddings: tuple[ModelId, ...] = ()
    vae: ModelId | None = None
    """None: the checkpoint's own."""
    long_prompt_technique: PromptTechnique = PromptTechnique.NONE
    clip_skip: int | None = None
    inputs: tuple[InputKind, ...] = ()
    image_fit: ImageFit = ImageFit.CROP
    strength: float = 0.75
    controls: tuple[ControlUse, ...] = ()
    control_models: tuple[ModelId, ...] = ()
    """The ControlNet of each of `controls`, in the same order."""
    remove_background: tuple[ModelId, ...] = ()
    background_color: str = "#ffffff"
    previews: bool = False
    expire_after_s: float | None = None
    delete_after_downloads: int | None = None
    give_up_after_s: float | None = None
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
    """A job as it is given to a worker: the whole spec, and the pictures that are still missing.

    The pictures that come along (`spec.inputs`) are the message's blobs, in that order.
    """

    job_id: JobId
    spec: JobSpec
    models: tuple[ModelSource, ...] = ()
    """Every model that the spec names."""
    pictures: tuple[PictureOrder, ...]
