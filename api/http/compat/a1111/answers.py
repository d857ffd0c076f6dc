"""What A1111's clients are answered, in A1111's shapes."""

import msgspec

from api.http.compat.a1111.requests import ImageToImage, Json, TextToImage


class Generated(msgspec.Struct, frozen=True, kw_only=True):
    """Images as base64, the request with all its defaults, and a JSON text that tells more."""

    images: tuple[bytes, ...]
    parameters: TextToImage | ImageToImage
    info: str


class GeneratedFromText(Generated, frozen=True, kw_only=True):
    """The answer of text to image."""

    parameters: TextToImage


class GeneratedFromImage(Generated, frozen=True, kw_only=True):
    """The answer of image to image."""

    parameters: ImageToImage


class GenerationInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON text `info`."""

    prompt: str
    all_prompts: tuple[str, ...]
    negative_prompt: str
    all_negative_prompts: tuple[str, ...]
    seed: int
    all_seeds: tuple[int, ...]
    subseed: int
    all_subseeds: tuple[int, ...]
    subseed_strength: float = 0.0
    width: int
    height: int
    sampler_name: str
    cfg_scale: float
    steps: int
    batch_size: int
    restore_faces: bool = False
    face_restoration_model: str | None = None
    sd_model_name: str
    sd_model_hash: str | None
    sd_vae_name: str | None
    sd_vae_hash: str | None
    seed_resize_from_w: int = -1
    seed_resize_from_h: int = -1
    denoising_strength: float | None
    extra_generation_params: Json
    index_of_first_image: int = 0
    infotexts: tuple[str, ...]
    styles: tuple[str, ...] = ()
    job_timestamp: str
    clip_skip: int
    is_using_inpainting_conditioning: bool = False
    version: str


class TaskState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is."""

    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    job: str = ""
    job_count: int = 0
    job_timestamp: str
    job_no: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0


class TaskProgress(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of the caller's newest job, 0 to 1; `eta_relative` in seconds."""

    progress: float = 0.0
    eta_relative: float = 0.0
    state: TaskState
    current_image: bytes | None = None
    textinfo: str | None = None


class QueuedTask(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of a job by the id that its client gave it."""

    active: bool
    queued: bool
    completed: bool
    progress: float | None = None
    eta: float | None = None
    live_preview: str | None = None
    id_live_preview: int | None = None
    textinfo: str | None = None


class PendingTasks(msgspec.Struct, frozen=True, kw_only=True):
    """The ids that the caller gave its open jobs."""

    size: int
    tasks: tuple[str, ...]


class CheckpointItem(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint, or an engine by its name."""

    title: str
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: str | None = None


class VaeItem(msgspec.Struct, frozen=True, kw_only=True):
    """A VAE."""

    model_name: str
    filename: str


class SamplerItem(msgspec.Struct, frozen=True, kw_only=True):
    """A sampler; `options` may name the schedule type that Automatic stands for."""

    name: str
    aliases: tuple[str, ...]
    options: dict[str, str]


class ScheduleItem(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule type."""

    name: str
    label: str
    aliases: tuple[str, ...] | None = None
    default_rho: float = -1.0
    need_inner_model: bool = False


class UpscalerItem(msgspec.Struct, frozen=True, kw_only=True):
    """An upscaler."""

    name: str
    model_name: str | None = None
    model_path: str | None = None
    model_url: str | None = None
    scale: float = 4.0


class NameItem(msgspec.Struct, frozen=True, kw_only=True):
    """Something with a name only."""

    name: str


class FaceRestorerItem(msgspec.Struct, frozen=True, kw_only=True):
    """A face restorer."""

    name: str
    cmd_dir: str | None


class PathItem(msgspec.Struct, frozen=True, kw_only=True):
    """A hypernetwork or an upscaling model."""

    name: str
    path: str


class StyleItem(msgspec.Struct, frozen=True, kw_only=True):
    """A style of prompts."""

    name: str
    prompt: str | None
    negative_prompt: str | None


class LoraItem(msgspec.Struct, frozen=True, kw_only=True):
    """A LoRA."""

    name: str
    alias: str
    path: str
    metadata: Json


class EmbeddingItem(msgspec.Struct, frozen=True, kw_only=True):
    """An embedding: the width of its vectors, and their number."""

    step: int | None = None
    sd_checkpoint: str | None = None
    sd_checkpoint_name: str | None = None
    shape: int
    vectors: int


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """Embeddings by name: those that fit the chosen checkpoint, and the others."""

    loaded: dict[str, EmbeddingItem]
    skipped: dict[str, EmbeddingItem]


class ScriptNames(msgspec.Struct, frozen=True, kw_only=True):
    """The names of scripts."""

    txt2img: tuple[str, ...]
    img2img: tuple[str, ...]


class ScriptItem(msgspec.Struct, frozen=True, kw_only=True):
    """A script, and what it takes."""

    name: str
    is_alwayson: bool
    is_img2img: bool
    args: tuple[Json, ...] = ()


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a caller."""

    sd_model_checkpoint: str = ""
    sd_checkpoint_hash: str = ""
    sd_vae: str = "Automatic"
    clip_stop_at_last_layers: int = msgspec.field(default=1, name="CLIP_stop_at_last_layers")
    samples_format: str = "png"
    jpeg_quality: int = 80
    send_seed: bool = True


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """The command line of A1111 that this server is like."""

    api: bool = True
    nowebui: bool = True
    listen: bool
    port: int
    api_server_stop: bool = False


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of memory: of this machine, and of its first GPU, or the reason why there are none."""

    ram: Json
    cuda: Json


class PngInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of an image: its infotext, all of them by name, and the infotext's fields."""

    info: str
    items: dict[str, str]
    parameters: dict[str, str]


class ExtrasImage(msgspec.Struct, frozen=True, kw_only=True):
    """A finished image."""

    html_info: str
    image: bytes


class ExtrasImages(msgspec.Struct, frozen=True, kw_only=True):
    """Finished images."""

    html_info: str
    images: tuple[bytes, ...]


class OneImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image without its background, or its mask."""

    image: bytes


class DetectedMaps(msgspec.Struct, frozen=True, kw_only=True):
    """Control maps."""

    images: tuple[bytes, ...]
    info: str = "Success"


class ControlNetVersion(msgspec.Struct, frozen=True, kw_only=True):
    """The version of the extension's API that this one is like."""

    version: int


class ControlNetModels(msgspec.Struct, frozen=True, kw_only=True):
    """The ControlNets."""

    model_list: tuple[str, ...]


class ControlNetModules(msgspec.Struct, frozen=True, kw_only=True):
    """The detectors."""

    module_list: tuple[str, ...]


class ControlTypeItem(msgspec.Struct, frozen=True, kw_only=True):
    """The detectors and ControlNets of one type."""

    module_list: tuple[str, ...]
    model_list: tuple[str, ...]
    default_option: str
    default_model: str


class ControlNetTypes(msgspec.Struct, frozen=True, kw_only=True):
    """Types of control by name."""

    control_types: dict[str, ControlTypeItem]


class ControlNetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How many units a request may have."""

    control_net_unit_count: int
