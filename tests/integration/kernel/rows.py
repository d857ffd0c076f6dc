"""One row of every kind with every column filled in, and one with nothing that may be missing."""

from typing import Final

from msgspec.structs import replace

from kernel.protocol.api_keys import KeyLimits
from kernel.protocol.enums import (
    CallbackEvent,
    DeliveryState,
    EngineState,
    ImageFileType,
    JobState,
    ModelBase,
    ModelState,
    ModelType,
    Role,
    Scheduler,
    Variant,
)
from kernel.protocol.ids import DeliveryId, EngineId, ImageId, JobId, KeyId, ModelId, WebhookId
from kernel.protocol.model_refs import Preparation
from kernel.protocol.rows import DeliveryRow, EngineRow, ImageRow, JobRow, KeyRow, ModelRow, WebhookRow
from kernel.protocol.specs import EngineSpec, JobSpec

NOW_MS: Final = 1_700_000_000_000
CHECKPOINT: Final = ModelId("model-1")
ENGINE: Final = EngineId("engine-1")
JOB: Final = JobId("job-1")
IMAGE: Final = ImageId("image-1")

FULL_MODEL: Final = ModelRow(
    model_id=CHECKPOINT,
    name="snow",
    uri="file:///models/snow ❄.safetensors",
    status=ModelState.READY,
    model_type=ModelType.CHECKPOINT,
    model_base=ModelBase.SDXL,
    variant=Variant.FP16,
    tags=("winter", "a, b"),
    trigger_words=("snow",),
    declared_base=ModelBase.SDXL,
    declared_sha256="ab" * 32,
    created_at_ms=NOW_MS,
    error_code="model_unreadable",
    error="it was once",
    sha256="cd" * 32,
    size_bytes=7 << 30,
    memory_bytes=6 << 30,
    parameters=3_500_000_000,
    prediction_type="v_prediction",
    native_size_px=1024,
    found_words=("snow", "ice"),
    stored=f"files/{'cd' * 32}.safetensors",
    revision="e" * 40,
    warnings=("it has no VAE of its own",),
    inspection_rules=3,
    beside=".yaml v_prediction",
    preparation=Preparation(input_size=(640, 480), mean=(0.5, 0.4, 0.3)),
)
BARE_MODEL: Final = ModelRow(
    model_id=CHECKPOINT,
    name="",
    uri="file:///x",
    status=ModelState.DOWNLOADING,
    model_type=ModelType.LORA,
    model_base=None,
    variant=None,
    tags=(),
    trigger_words=(),
    declared_base=None,
    declared_sha256=None,
    created_at_ms=0,
)

FULL_SPEC: Final = EngineSpec(
    name="north",
    checkpoint=CHECKPOINT,
    scheduler=Scheduler.EULER_A,
    scheduler_config={"use_karras_sigmas": True, "beta_start": 0.5, "steps_offset": 0, "kind": "linear"},
    steps=1,
    guidance_scale=0.0,
    width_px=640,
    height_px=64,
    device="cuda:0",
    dtype=Variant.BF16,
    autostart=False,
    keep_alive_s=0.0,
    replicas=2,
    max_batch=8,
)
FULL_ENGINE: Final = EngineRow(
    engine_id=ENGINE,
    name="north",
    spec=FULL_SPEC,
    status=EngineState.WORKING,
    created_at_ms=NOW_MS,
    error_code="engine_failed",
    error="it was once",
    device="cuda:0",
    memory_bytes=5 << 30,
    started_at_ms=NOW_MS + 1,
)
BARE_ENGINE: Final = EngineRow(
    engine_id=ENGINE,
    name=None,
    spec=EngineSpec(checkpoint=CHECKPOINT),
    status=EngineState.CLOSED,
    created_at_ms=0,
)

SPEC: Final = JobSpec(
    prompt="a fox — «in» snow\n",
    negative_prompt="",
    seed=0,
    count=2,
    steps=1,
    guidance_scale=0.0,
    width_px=64,
    height_px=64,
    scheduler=Scheduler.DDIM,
    scheduler_config={"eta": 0.0},
    image_file_type=ImageFileType.WEBP,
    quality=1,
)
WAITING_JOB: Final = JobRow(
    job_id=JOB,
    seq=1,
    engine_id=ENGINE,
    status=JobState.WAITING,
    priority=-3,
    seed=SPEC.seed,
    image_ids=(IMAGE, ImageId("image-2")),
    attempts=0,
    crashes=0,
    created_at_ms=NOW_MS,
    names_checkpoint=True,
    width_px=SPEC.width_px,
    height_px=SPEC.height_px,
)
ENDED_JOB: Final = replace(
    WAITING_JOB,
    status=JobState.FAILED,
    attempts=3,
    crashes=3,
    started_at_ms=NOW_MS + 1,
    finished_at_ms=NOW_MS + 2,
    error_code="worker_crashed",
    error="signal SIGKILL",
    warnings=("a warning", ""),
    checkpoint=CHECKPOINT,
)

LIMITED_IMAGE: Final = ImageRow(
    image_id=IMAGE,
    job_id=JOB,
    engine_id=ENGINE,
    position=0,
    file_name="image-1.png",
    mime="image/png",
    width_px=64,
    height_px=64,
    size_bytes=123,
    sha256="ef" * 32,
    seed=0,
    downloads=0,
    download_limit=3,
    created_at_ms=NOW_MS,
    expires_at_ms=NOW_MS + 1000,
    checkpoint=CHECKPOINT,
)
FREE_IMAGE: Final = replace(LIMITED_IMAGE, download_limit=None, expires_at_ms=None, seed=2**32 - 1)

FULL_KEY: Final = KeyRow(
    key_id=KeyId("key-1"),
    name="alice",
    role=Role.VIEWER,
    digest="ef" * 32,
    created_at_ms=NOW_MS,
    issued_at_ms=NOW_MS + 1,
    weight=7,
    limits=KeyLimits(
        max_waiting_jobs=1,
        max_running_jobs=2,
        max_images_a_day=3,
        max_pixels=4,
        max_pixels_a_day=5,
        max_requests_a_minute=6,
    ),
    expires_at_ms=NOW_MS + 2,
    revoked_at_ms=NOW_MS + 3,
)
BARE_KEY: Final = KeyRow(
    key_id=KeyId("key-1"),
    name="",
    role=Role.ADMIN,
    digest="",
    created_at_ms=0,
    issued_at_ms=0,
)

FULL_WEBHOOK: Final = WebhookRow(
    webhook_id=WebhookId("webhook-1"),
    url="https://a.example/hook",
    events=(CallbackEvent.JOB_CREATED, CallbackEvent.IMAGE_CREATED),
    created_at_ms=NOW_MS,
    generation=2,
    key_id=FULL_KEY.key_id,
    ended_at_ms=NOW_MS + 1,
)
BARE_WEBHOOK: Final = replace(FULL_WEBHOOK, events=(), generation=1, key_id=None, ended_at_ms=None)
FULL_DELIVERY: Final = DeliveryRow(
    delivery_id=DeliveryId("delivery-1"),
    seq=7,
    event="job.failed",
    url="https://a.example/hook",
    status=DeliveryState.WAITING,
    created_at_ms=NOW_MS,
    since_ms=NOW_MS + 1,
    webhook_id=FULL_WEBHOOK.webhook_id,
    job_id=JOB,
    key_id=FULL_KEY.key_id,
    attempts=3,
    next_at_ms=NOW_MS + 2,
    answered=503,
    error="the receiver answered 503",
)
