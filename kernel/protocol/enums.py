"""Enumerations that the bus, the database and the REST API share."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class ModelState(StrEnum):
    DOWNLOADING = "downloading"
    READY = "ready"
    ERROR = "error"


class EngineState(StrEnum):
    CLOSED = "closed"
    STARTING = "starting"
    READY = "ready"
    WORKING = "working"
    STOPPING = "stopping"
    ERROR = "error"


class JobState(StrEnum):
    WAITING = "waiting"
    PROCESSING = "processing"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED_JOB_STATES: Final = frozenset({JobState.FINISHED, JobState.FAILED, JobState.CANCELLED})
"""Final states: a job does not leave them."""


class WaitsFor(StrEnum):
    """The reason why a job is waiting."""

    PAUSED = "paused"
    """A person paused its engine's queue, or all queues."""
    TURN = "turn"
    """Other jobs of its engine."""
    ENGINE = "engine"
    """Its engine is being started, or stopped before a start."""
    WORKER = "worker"
    """No worker of its engine's pool is free for it."""
    ROOM = "room"
    """Other engines use the memory, or as many engines run as the configuration allows."""
    START = "start"
    """The engine does not start by itself: a person stopped it, or must start it."""
    RETRY = "retry"
    """Its engine is in error, and is tried again after a pause."""
    REPAIR = "repair"
    """Its engine is in error and is not tried again: a person must fix the cause that its error names."""


class ModelType(StrEnum):
    CHECKPOINT = "checkpoint"
    LORA = "lora"
    VAE = "vae"
    EMBEDDING = "embedding"
    CONTROLNET = "controlnet"
    BACKGROUND = "background"


class ModelBase(StrEnum):
    SD = "sd"
    SDXL = "sdxl"


NATIVE_SIZES_PX: Final[Mapping[ModelBase, int]] = MappingProxyType({ModelBase.SD: 512, ModelBase.SDXL: 1024})
"""The side of the images that a checkpoint of this base was trained with, if it does not tell."""


class Variant(StrEnum):
    FP16 = "fp16"
    FP32 = "fp32"
    BF16 = "bf16"


class ControlType(StrEnum):
    """The type of a control map, and of the detector that draws it from an image."""

    OPENPOSE = "openpose"
    MIDAS = "midas"
    MEDIAPIPE = "mediapipe"
    CANNY = "canny"
    DEPTH = "depth"


class ModelPart(StrEnum):
    """The parts of models whose weights a device holds."""

    UNET = "unet"
    TEXT_ENCODER = "text_encoder"
    VAE = "vae"
    ADAPTER = "adapter"
    """A model applied on top of a checkpoint: a LoRA, an embedding."""
    CONTROLNET = "controlnet"


class MemoryPlan(StrEnum):
    """How an engine uses its device, from the fastest plan to the most frugal one."""

    FAST = "fast"
    """Images are decoded in one piece."""
    TILED = "tiled"
    """Images are decoded in tiles."""
    SWAPPED = "swapped"
    """As `tiled`, with text encoders and VAE on the device only while they are in use."""


class Compilation(StrEnum):
    """What an engine compiles while it loads, so that UNet calls on a GPU cost the host less."""

    OFF = "off"
    REGIONAL = "regional"
    """The repeated blocks are compiled (torch.compile)."""
    GRAPHS = "graphs"
    """Whole calls are captured as CUDA graphs."""


class MemoryRemedy(StrEnum):
    """The ways to make an engine fit."""

    STOP_ENGINE = "stop_engine"
    SMALLER_SIZE = "smaller_size"
    OTHER_DTYPE = "other_dtype"
    OTHER_DEVICE = "other_device"


class PromptTechnique(StrEnum):
    """Prompt weighting syntax, and the handling of prompts longer than the text encoder's window."""

    NONE = "none"
    """No weights; a prompt that is too long is cut, with a warning."""
    COMPEL = "compel"
    SD_EMBED = "sd_embed"


class InputKind(StrEnum):
    """The input images of a job."""

    REFERENCE = "reference"
    MASK = "mask"
    POSE = "pose"


class BlobKind(StrEnum):
    """The files of a job besides its images: its input images, and the control maps drawn for it."""

    REFERENCE = "reference"
    MASK = "mask"
    POSE = "pose"
    MAP_OPENPOSE = "map_openpose"
    MAP_MIDAS = "map_midas"
    MAP_MEDIAPIPE = "map_mediapipe"
    MAP_CANNY = "map_canny"
    MAP_DEPTH = "map_depth"


class ImageFit(StrEnum):
    """Ways to fit an input image whose aspect ratio differs from the job's."""

    CROP = "crop"
    PAD = "pad"
    STRETCH = "stretch"


class MaskMode(StrEnum):
    """What of a mask marks the part that is repainted."""

    LUMINANCE = "luminance"
    """White; black and transparent parts are kept."""
    INVERTED = "inverted"
    """Black and transparent parts; white is kept."""
    ALPHA = "alpha"
    """Transparent parts, as in OpenAI's image edits and in ComfyUI."""


class InpaintArea(StrEnum):
    """The part of the reference image that is drawn at the size of the job."""

    WHOLE = "whole"
    MASKED = "masked"
    """The mask's bounding box with some padding, at full resolution; the rest keeps its size."""


class InpaintFill(StrEnum):
    """What is under the mask before the first step."""

    FILL = "fill"
    """The colors around it, blurred."""
    ORIGINAL = "original"
    LATENT_NOISE = "latent_noise"
    LATENT_NOTHING = "latent_nothing"
    """Latents of zero."""


class Stage(StrEnum):
    """The stages of a job in processing."""

    PREPARING = "preparing"
    DENOISING = "denoising"
    FINISHING = "finishing"
    REMOVING_BACKGROUND = "removing_background"


class ImageFileType(StrEnum):
    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


class Scheduler(StrEnum):
    """Schedulers, by the names that users of Stable Diffusion know."""

    EULER = "euler"
    EULER_KARRAS = "euler_karras"
    EULER_EXPONENTIAL = "euler_exponential"
    EULER_BETA = "euler_beta"
    HEUN = "heun"
    HEUN_KARRAS = "heun_karras"
    HEUN_EXPONENTIAL = "heun_exponential"
    HEUN_BETA = "heun_beta"
    DPM2 = "dpm2"
    DPM2_KARRAS = "dpm2_karras"
    DPM2_EXPONENTIAL = "dpm2_exponential"
    DPM2_BETA = "dpm2_beta"
    DPM2_A = "dpm2_a"
    DPM2_A_KARRAS = "dpm2_a_karras"
    DPM2_A_EXPONENTIAL = "dpm2_a_exponential"
    DPM2_A_BETA = "dpm2_a_beta"
    LMS = "lms"
    LMS_KARRAS = "lms_karras"
    LMS_EXPONENTIAL = "lms_exponential"
    LMS_BETA = "lms_beta"
    DPMPP_2S = "dpmpp_2s"
    DPMPP_2S_KARRAS = "dpmpp_2s_karras"
    DPMPP_2S_EXPONENTIAL = "dpmpp_2s_exponential"
    DPMPP_2S_BETA = "dpmpp_2s_beta"
    DPMPP_2M = "dpmpp_2m"
    DPMPP_2M_KARRAS = "dpmpp_2m_karras"
    DPMPP_2M_EXPONENTIAL = "dpmpp_2m_exponential"
    DPMPP_2M_BETA = "dpmpp_2m_beta"
    DPMPP_SDE = "dpmpp_sde"
    DPMPP_SDE_KARRAS = "dpmpp_sde_karras"
    DPMPP_SDE_EXPONENTIAL = "dpmpp_sde_exponential"
    DPMPP_SDE_BETA = "dpmpp_sde_beta"
    DPMPP_2M_SDE = "dpmpp_2m_sde"
    DPMPP_2M_SDE_KARRAS = "dpmpp_2m_sde_karras"
    DPMPP_2M_SDE_EXPONENTIAL = "dpmpp_2m_sde_exponential"
    DPMPP_2M_SDE_BETA = "dpmpp_2m_sde_beta"
    DPMPP_3M_SDE = "dpmpp_3m_sde"
    DPMPP_3M_SDE_KARRAS = "dpmpp_3m_sde_karras"
    DPMPP_3M_SDE_EXPONENTIAL = "dpmpp_3m_sde_exponential"
    DPMPP_3M_SDE_BETA = "dpmpp_3m_sde_beta"
    DEIS = "deis"
    DEIS_KARRAS = "deis_karras"
    DEIS_EXPONENTIAL = "deis_exponential"
    DEIS_BETA = "deis_beta"
    UNIPC = "unipc"
    UNIPC_KARRAS = "unipc_karras"
    UNIPC_EXPONENTIAL = "unipc_exponential"
    UNIPC_BETA = "unipc_beta"
    EULER_A = "euler_a"
    PNDM = "pndm"
    DDIM = "ddim"
    DDPM = "ddpm"
    LCM = "lcm"
    TCD = "tcd"


class GoneReason(StrEnum):
    """The reasons why an image is no longer available."""

    EXPIRED = "expired"
    USED_UP = "used_up"
    QUOTA = "quota"
    DELETED = "deleted"
    LOST = "lost"


GONE_TEXTS: Final[Mapping[GoneReason, str]] = MappingProxyType(
    {
        GoneReason.EXPIRED: "the image has expired",
        GoneReason.USED_UP: "the image has reached its download limit",
        GoneReason.QUOTA: "the image was deleted to make room for newer ones",
        GoneReason.DELETED: "the image was deleted",
        GoneReason.LOST: "the image is lost: its file is no longer in images.folder",
    }
)
"""The detail of the error for a refused download."""


class WorkerRole(StrEnum):
    ENGINE = "engine"
    FETCH = "fetch"


class ChangeKind(StrEnum):
    """The kind of object that a numbered change is about."""

    MODEL = "model"
    ENGINE = "engine"
    JOB = "job"
    IMAGE = "image"
    QUEUE = "queue"
    """The queues of all engines together: paused or running."""
    SCAN = "scan"
    """The scan of models.folders: running or ended."""
    KEY = "key"
    """An API key: active or revoked."""
    WEBHOOK = "webhook"
    """A webhook: active or ended."""
    WORKER = "worker"
    """A worker of a pool (WorkerChange)."""


class WorkerChange(StrEnum):
    """What has happened to a worker of a pool."""

    JOINED = "joined"
    CORDONED = "cordoned"
    UNCORDONED = "uncordoned"
    DRAINING = "draining"
    ENDED = "ended"


class CallbackEvent(StrEnum):
    """What a webhook or a job's own receiver may want to hear of."""

    JOB_CREATED = "job.created"
    JOB_STARTED = "job.started"
    """It was given to a worker; once more, if that worker dies."""
    JOB_FINISHED = "job.finished"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    """Also of a waiting job that goes with its engine."""
    IMAGE_CREATED = "image.created"
    """One image of a job is stored."""


class DeliveryState(StrEnum):
    """Of what is sent to a receiver."""

    WAITING = "waiting"
    """For its turn, or its next attempt."""
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookState(StrEnum):
    """Whether a webhook is sent to."""

    ACTIVE = "active"
    ENDED = "ended"
    """Its receiver answered 410 (Gone)."""


class Role(StrEnum):
    """What the holder of an API key may do."""

    ADMIN = "admin"
    """Everything."""
    USER = "user"
    """See engines and models; submit jobs, and do everything with these and their images."""
    VIEWER = "viewer"
    """See engines, models, and all jobs and images; change nothing."""


class KeyState(StrEnum):
    """Whether an API key is valid."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Phase(StrEnum):
    """The phases of the Manager."""

    RUNNING = "running"
    DRAINING = "draining"
    CLOSING = "closing"
    EXITED = "exited"
