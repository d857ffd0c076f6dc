"""The values of engines and jobs: as requested, and with every default resolved."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, field

from kernel.protocol.enums import (
    Compilation,
    ControlType,
    ImageFileType,
    ImageFit,
    InpaintArea,
    InpaintFill,
    InputKind,
    MaskMode,
    MemoryPlan,
    ModelBase,
    ModelType,
    PromptTechnique,
    Scheduler,
    Variant,
)
from kernel.protocol.ids import Count, EngineId, ImageId, JobId, ModelId, Pixels
from kernel.protocol.masks import has_mask
from kernel.protocol.memory import MemoryProfile
from kernel.protocol.model_refs import (
    OWN_VAE,
    Control,
    ControlUse,
    LoraUses,
    ModelIds,
    ModelSource,
    Removers,
)
from kernel.protocol.values import (
    ClipSkip,
    Color,
    Device,
    Downloads,
    DurationS,
    Fraction,
    GuidanceScale,
    ImageCount,
    InpaintPadding,
    KeepAliveS,
    LifeS,
    MaskBlur,
    MaxBatch,
    Name,
    Pool,
    Prompt,
    Quality,
    ReplicaRange,
    Replicas,
    Seed,
    SidePx,
    Steps,
    Strength,
)

SchedulerConfig = dict[str, bool | int | float | str]
"""Options under diffusers' own names, which override the checkpoint's scheduler config."""


INSPECTION_RULES: Final = 1
"""The version of the rules by which models are inspected. Raise it when they refuse models, or warn of some,
that were ready before: the next start has those inspected again."""


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """The results of inspecting a model's headers."""

    model_type: ModelType
    model_base: ModelBase | None = None
    variant: Variant | None = None
    sha256: str | None = None
    """None, if only the headers were read."""
    size_bytes: Count
    memory_bytes: Count
    """The weights alone, in their stored precision."""
    parameters: Count
    prediction_type: str | None = None
    native_size_px: Pixels | None = None
    """The width and height that the checkpoint was trained at, or that a background remover takes."""
    memory: MemoryProfile | None = None
    """The data for its memory need; None where the headers do not tell."""
    trigger_words: tuple[str, ...] = ()
    """The trigger words in its own metadata."""
    control_type: ControlType | None = None
    """The maps that a ControlNet was trained on, if its metadata tells."""
    warnings: tuple[str, ...] = ()
    """What its owner should know, although it can be used."""
    beside: str = ""
    """What decides its images but is in a file beside it, and so not in its sha256: the file's name, and what
    it says."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """Values that an engine may preset and a job may set. None: resolved from request, engine, checkpoint in
    turn.

    A value that is added here is read from HTTP, stored, resolved, passed to the worker and shown: only its
    effect, its command line option and its line in docs/api.md are left to write (ADR 0046). `name=` gives
    the name in the REST API, on the bus and in the database.
    """

    long_prompt_technique: PromptTechnique | None = None
    clip_skip: ClipSkip | None = None
    scheduler: Scheduler | None = None
    scheduler_config: SchedulerConfig | None = None
    steps: Steps | None = None
    guidance_scale: GuidanceScale | None = field(default=None, name="cfg")
    guidance_rescale: Fraction | None = None
    eta: Fraction | None = None
    width_px: SidePx | None = field(default=None, name="width")
    height_px: SidePx | None = field(default=None, name="height")


class EngineValues(Sampling, frozen=True, kw_only=True):
    """An engine's values that a client sets directly, without names to resolve."""

    name: Name | None = None
    control_net: ControlType | None = None
    """The control type of a job's pose image, if the job does not set one."""
    device: Device = "auto"
    pool: Pool | None = None
    """The pool that its workers come from; None: they run on this host."""
    dtype: Variant | None = None
    autostart: bool = True
    keep_alive_s: KeepAliveS | None = None
    replicas: Replicas = 1
    max_batch: MaxBatch | None = None


class EngineSpec(EngineValues, frozen=True, kw_only=True):
    """An engine as requested, with ids instead of names."""

    checkpoint: ModelId
    vae: ModelId = OWN_VAE
    loras: LoraUses = ()
    embeddings: ModelIds = ()
    control_models: ModelIds = ()
    """ControlNets, one for each control type."""
    long_prompt_technique: PromptTechnique = PromptTechnique.SD_EMBED
    scheduler: Scheduler = Scheduler.DPMPP_2M_KARRAS
    scheduler_config: SchedulerConfig = {}
    steps: Steps = 25
    guidance_scale: GuidanceScale = field(default=7.0, name="cfg")
    give_up_after_s: DurationS | None = None
    """How long a job waits while the engine is in error, if the job does not say; None: for ever."""

    @property
    def min_replicas(self) -> int:
        return self.replicas.min if isinstance(self.replicas, ReplicaRange) else self.replicas

    @property
    def max_replicas(self) -> int:
        return self.replicas.max if isinstance(self.replicas, ReplicaRange) else self.replicas


class EngineLoad(msgspec.Struct, frozen=True, kw_only=True):
    """The data that a worker needs to load an engine."""

    engine_id: EngineId
    checkpoint: ModelSource
    models: tuple[ModelSource, ...] = ()
    """All other models that the engine refers to: loaded with it, so that a first job does not wait for
    them."""
    device: str = "auto"
    dtype: Variant | None = None
    max_batch: int | None = None
    plan: MemoryPlan = MemoryPlan.FAST
    compilation: Compilation = Compilation.OFF
    width_px: int | None = None
    """The default size of its jobs' images, for which it compiles in advance."""
    height_px: int | None = None
    guidance_scale: float = 7.0


class JobValues(Sampling, frozen=True, kw_only=True):
    """A job's values that a client sets directly, without names to resolve. None: the default; 0 is a
    value."""

    prompt: Prompt = ""
    negative_prompt: Prompt = ""
    lora_tags: bool | None = None
    """Whether `<lora:name:0.8>` in the prompt is a LoRA, or text. None: the setting `prompts.lora_tags`."""
    seed: Seed | None = None
    count: ImageCount = 1
    strength: Strength | None = None
    """Denoising strength, 0 to 1. In a JobSpec: None without a reference image."""
    image_fit: ImageFit | None = None
    """In a JobSpec: None without an input image to fit."""
    mask_mode: MaskMode | None = None
    """In a JobSpec: None if no part of a reference image is masked, and so for the other values of a mask."""
    mask_blur: MaskBlur | None = None
    inpaint_area: InpaintArea | None = None
    inpaint_padding: InpaintPadding | None = None
    """In a JobSpec: None unless only the masked area is drawn."""
    inpaint_fill: InpaintFill | None = None
    background_color: Color | None = None
    """The background of a JPEG, and the input of a second background remover. In a JobSpec: None
    otherwise."""
    image_file_type: ImageFileType = ImageFileType.PNG
    quality: Quality = 90
    previews: bool = False
    delete_after_downloads: Downloads | None = None


class JobRequest(JobValues, frozen=True, kw_only=True):
    """A job as requested, with ids instead of names."""

    loras: LoraUses | None = None
    embeddings: ModelIds | None = None
    vae: ModelId | None = None
    """OWN_VAE: the checkpoint's own VAE, even if the engine has another one."""
    inputs: Annotated[tuple[InputKind, ...], Meta(max_length=len(InputKind))] = ()
    """The input images, in the order of the message's blobs."""
    controls: Annotated[tuple[ControlUse, ...], Meta(max_length=len(ControlType))] = ()
    control_models: ModelIds | None = None
    """ControlNets in place of the engine's, one for each control. Controls without a type take them in this
    order."""
    remove_background: Removers = field(default=(), name="remove_background_models")
    """Background removers, applied in this order."""
    expire_after_s: LifeS | None = None
    give_up_after_s: DurationS | None = None
    """How long it waits for an engine in error before it fails."""
    is_resolved: bool = False
    """True for a job that is made again: a value that a JobSpec may be without is not the engine's if it is
    None."""
    prompt_template: Prompt | None = None
    """What the prompt was made from, as it was typed; None: the prompt itself was."""
    negative_prompt_template: Prompt | None = None


class JobSpec(JobValues, frozen=True, kw_only=True):
    """A job with every value resolved, so that it no longer depends on defaults."""

    lora_tags: bool = False
    """True: `loras` has the LoRAs of the tags in the prompt, which are not encoded."""
    prompt_template: Prompt | None = None
    """What the prompt was made from, as it was typed; None: the prompt itself was."""
    negative_prompt_template: Prompt | None = None
    loras: LoraUses = ()
    embeddings: ModelIds = ()
    vae: ModelId = OWN_VAE
    long_prompt_technique: PromptTechnique = PromptTechnique.SD_EMBED
    inputs: tuple[InputKind, ...] = ()
    controls: tuple[Control, ...] = ()
    remove_background: Removers = field(default=(), name="remove_background_models")
    expire_after_s: LifeS | None = None
    give_up_after_s: DurationS | None = None
    seed: Seed
    scheduler: Scheduler
    scheduler_config: SchedulerConfig = {}
    steps: Steps
    guidance_scale: GuidanceScale = field(name="cfg")
    width_px: SidePx = field(name="width")
    height_px: SidePx = field(name="height")

    @property
    def has_mask(self) -> bool:
        """See `kernel.protocol.masks.has_mask`."""
        return has_mask(self.inputs, self.mask_mode)

    @property
    def control_models(self) -> tuple[ModelId, ...]:
        """The ControlNet of each of `controls`, in the same order."""
        return tuple(control.control_model for control in self.controls)


class PictureOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An image of a job that is still to be made."""

    index: int
    image_id: ImageId
    seed: int


class JobOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A job as sent to a worker: the whole spec, and the images that are still missing.

    The input images (`spec.inputs`) are the message's blobs, in that order.
    """

    job_id: JobId
    spec: JobSpec
    models: tuple[ModelSource, ...] = ()
    """Every model that the spec refers to."""
    pictures: tuple[PictureOrder, ...]
