"""One example of every message, with every field set: what the golden bytes are made of."""

from types import UnionType
from typing import get_args

import msgspec
from msgspec import structs

from kernel.protocol import client, worker
from kernel.protocol.api_keys import ChangeKey, CreateKey, KeyIssued, KeyLimits, RevokeKey, RotateKey
from kernel.protocol.enums import (
    CallbackEvent,
    ChangeKind,
    Compilation,
    ControlType,
    EngineState,
    ImageFileType,
    ImageFit,
    InpaintArea,
    InpaintFill,
    InputKind,
    JobState,
    MaskMode,
    MemoryPlan,
    MemoryRemedy,
    ModelBase,
    ModelPart,
    ModelState,
    ModelType,
    Phase,
    PromptTechnique,
    Role,
    Scheduler,
    Stage,
    Variant,
    WaitsFor,
    WorkerRole,
)
from kernel.protocol.errors import FieldProblem
from kernel.protocol.ids import (
    DeliveryId,
    EngineId,
    Epoch,
    EventSeq,
    ImageId,
    JobId,
    KeyId,
    Lease,
    ModelId,
    Ticket,
    TokenId,
    WebhookId,
    WorkerId,
)
from kernel.protocol.memory import (
    DeviceFit,
    EngineValid,
    MemoryProfile,
    MemoryShortage,
    PartWeights,
    Remedy,
    TextLayout,
    UNetLayout,
    VaeLayout,
)
from kernel.protocol.model_refs import Control, ControlUse, InputFile, LoraUse, ModelSource, Preparation
from kernel.protocol.presets import DeletePreset, SavePreset
from kernel.protocol.specs import (
    EngineLoad,
    EngineSpec,
    Fingerprint,
    JobOrder,
    JobRequest,
    JobSpec,
    PictureOrder,
)
from kernel.protocol.status import ApiLife, DeviceStatus, EngineFigures, Status, WorkerEnd, WorkerFigures
from kernel.protocol.webhooks import (
    Callback,
    CallbackSecret,
    CreateWebhook,
    DeleteWebhook,
    DeliveryQueued,
    EditWebhook,
    Redeliver,
    RotateWebhook,
    ShowCallbackSecret,
    TestWebhook,
    WebhookIssued,
)
from kernel.protocol.worker_tokens import (
    CordonWorker,
    CreateWorkerToken,
    DrainWorker,
    RevokeWorker,
    RevokeWorkerToken,
    WorkerTokenIssued,
)

MODEL, ENGINE, JOB = ModelId("m-1"), EngineId("e-1"), JobId("j-1")
IMAGE, WORKER, TICKET = ImageId("i-1"), WorkerId("w7-1"), Ticket("t-1")
WEBHOOK, DELIVERY = WebhookId("h-1"), DeliveryId("d-1")
LEASE, KEY, TOKEN = Lease(7 << 32 | 1), KeyId("k-1"), TokenId("t-1")
SHA256 = "5" * 64

_CONFIG: dict[str, bool | int | float | str] = {"use_karras_sigmas": True, "timestep_spacing": "trailing"}
_LORAS = (LoraUse(model_id=ModelId("m-2"), weight=0.8),)
_CONTROL = ControlUse(control_type=ControlType.CANNY, scale=0.5, start=0.1, end=0.9, is_preprocessed=True)
_EMBEDDINGS, _VAE = (ModelId("m-3"),), ModelId("m-4")
_CONTROL_MODELS, _REMOVERS = (ModelId("m-5"),), (ModelId("m-6"),)
_SPEC = EngineSpec(
    name="portraits",
    checkpoint=MODEL,
    vae=_VAE,
    loras=_LORAS,
    embeddings=_EMBEDDINGS,
    long_prompt_technique=PromptTechnique.COMPEL,
    control_net=ControlType.OPENPOSE,
    control_models=_CONTROL_MODELS,
    clip_skip=2,
    scheduler=Scheduler.EULER_A,
    scheduler_config=_CONFIG,
    steps=30,
    guidance_scale=6.5,
    guidance_rescale=0.7,
    eta=0.25,
    width_px=768,
    height_px=512,
    pool="gpu-lab",
    device="cuda:0",
    dtype=Variant.FP16,
    autostart=False,
    keep_alive_s=60.0,
    give_up_after_s=600.0,
    replicas=2,
    max_batch=4,
)
_REQUEST = JobRequest(
    prompt="a lighthouse",
    negative_prompt="fog",
    prompt_template="a __building__",
    negative_prompt_template="{fog|mist}",
    lora_tags=True,
    loras=_LORAS,
    embeddings=_EMBEDDINGS,
    vae=_VAE,
    long_prompt_technique=PromptTechnique.NONE,
    clip_skip=2,
    inputs=(InputKind.REFERENCE, InputKind.POSE),
    image_fit=ImageFit.PAD,
    mask_mode=MaskMode.ALPHA,
    mask_blur=0,
    inpaint_area=InpaintArea.MASKED,
    inpaint_padding=16,
    inpaint_fill=InpaintFill.LATENT_NOISE,
    strength=0.5,
    controls=(_CONTROL,),
    control_models=(ModelId("c-1"),),
    remove_background=_REMOVERS,
    background_color="#00ff00",
    previews=True,
    expire_after_s=60.0,
    delete_after_downloads=3,
    give_up_after_s=0.0,
    is_resolved=True,
    seed=0,
    count=2,
    steps=12,
    guidance_scale=0.0,
    guidance_rescale=0.7,
    eta=0.25,
    width_px=640,
    height_px=448,
    scheduler=Scheduler.UNIPC,
    scheduler_config=_CONFIG,
    image_file_type=ImageFileType.WEBP,
    quality=80,
)
_JOB = JobSpec(
    prompt="a lighthouse",
    negative_prompt="fog",
    prompt_template="a __building__",
    negative_prompt_template="{fog|mist}",
    lora_tags=True,
    loras=_LORAS,
    embeddings=_EMBEDDINGS,
    vae=_VAE,
    long_prompt_technique=PromptTechnique.NONE,
    clip_skip=2,
    inputs=(InputKind.REFERENCE, InputKind.POSE),
    image_fit=ImageFit.PAD,
    mask_mode=MaskMode.ALPHA,
    mask_blur=0,
    inpaint_area=InpaintArea.MASKED,
    inpaint_padding=16,
    inpaint_fill=InpaintFill.LATENT_NOISE,
    strength=0.5,
    controls=(Control(**structs.asdict(_CONTROL) | {"control_model": ModelId("m-5")}),),
    remove_background=_REMOVERS,
    background_color="#00ff00",
    previews=True,
    expire_after_s=60.0,
    delete_after_downloads=3,
    give_up_after_s=0.0,
    seed=0,
    count=2,
    steps=12,
    guidance_scale=0.0,
    guidance_rescale=0.7,
    eta=0.25,
    width_px=640,
    height_px=448,
    scheduler=Scheduler.UNIPC,
    scheduler_config=_CONFIG,
    image_file_type=ImageFileType.WEBP,
    quality=80,
)
_PREPARATION = Preparation(input_size=(640, 480), mean=(0.5, 0.4, 0.3), std=(1.0, 0.9, 0.8))
_SOURCE = ModelSource(
    model_id=MODEL,
    name="dream",
    uri="file:///models/dream.safetensors",
    model_type=ModelType.CHECKPOINT,
    model_base=ModelBase.SDXL,
    variant=Variant.FP16,
    sha256=SHA256,
    known_bytes=6_500_000_000,
    size_bytes=6_500_000_000,
    beside=".yaml v_prediction",
    control_type=ControlType.DEPTH,
    trigger_words=("dreamy",),
    preparation=_PREPARATION,
    revision="d" * 40,
)
_FINGERPRINT = Fingerprint(
    model_type=ModelType.CHECKPOINT,
    model_base=ModelBase.SDXL,
    variant=Variant.FP16,
    sha256=SHA256,
    size_bytes=7_000_000_000,
    memory_bytes=6_900_000_000,
    parameters=3_500_000_000,
    prediction_type="epsilon",
    native_size_px=1024,
    memory=MemoryProfile(
        parts=(PartWeights(part=ModelPart.VAE, parameters=83_000_000, stored_bytes=167_000_000),),
        unet=UNetLayout(
            channels=(320, 640, 1280),
            resnets_per_level=2,
            transformer_depths=(0, 2, 10),
            middle_depth=10,
            context_width=2048,
        ),
        vae=VaeLayout(channels=(128, 256, 512, 512), resnets_per_level=2, latent_channels=4),
        text_encoders=(TextLayout(tokens=77, width=768, inner_width=3072, layers=12),),
    ),
    trigger_words=("dreamy",),
    control_type=ControlType.DEPTH,
    warnings=("it has no VAE of its own",),
    beside=".yaml v_prediction",
)
_ASKS: tuple[client.Ask, ...] = (
    client.ScanModels(),
    client.RegisterModel(
        name="dream",
        uri="file:///models/dream.safetensors",
        model_type=ModelType.CHECKPOINT,
        model_base=ModelBase.SDXL,
        variant=Variant.FP16,
        tags=("photo",),
        sha256=SHA256,
        trigger_words=("dreamy",),
        control_type=ControlType.MIDAS,
        preparation=_PREPARATION,
    ),
    client.DeleteModel(model_id=MODEL, files=True),
    client.PruneModels(dry_run=True),
    client.ScanModels(),
    client.RetryModel(model_id=MODEL),
    client.CreateEngine(spec=_SPEC, start=False, validate_only=True),
    client.EditEngine(engine_id=ENGINE, fields=("steps", "cfg"), spec=_SPEC),
    client.StartEngine(engine_id=ENGINE),
    client.StopEngine(engine_id=ENGINE, now=True),
    client.DeleteEngine(engine_id=ENGINE, keep_images=True),
    client.PauseQueue(engine_id=ENGINE),
    client.ResumeQueue(engine_id=ENGINE),
    client.SubmitJob(
        engine_id=ENGINE,
        engine_name="portraits",
        checkpoint="dreams",
        request=_REQUEST,
        files=(
            InputFile(mime="image/jpeg", size_bytes=3, sha256=SHA256),
            InputFile(mime="image/png", size_bytes=4, sha256=SHA256),
        ),
        priority=5,
        validate_only=True,
        key_id=KEY,
        callback=Callback(url="https://a.example/hook", events=(CallbackEvent.JOB_STARTED,)),
    ),
    CreateKey(
        name="alice",
        role=Role.USER,
        expires_in_s=86_400.0,
        weight=2,
        limits=KeyLimits(
            max_waiting_jobs=1,
            max_running_jobs=2,
            max_images_a_day=3,
            max_pixels=4,
            max_pixels_a_day=5,
            max_requests_a_minute=6,
        ),
    ),
    ChangeKey(
        key_id=KEY,
        name="al",
        role=Role.ADMIN,
        weight=3,
        fields=("max_pixels",),
        limits=KeyLimits(
            max_waiting_jobs=1,
            max_running_jobs=2,
            max_images_a_day=3,
            max_pixels=4,
            max_pixels_a_day=5,
            max_requests_a_minute=6,
        ),
    ),
    RotateKey(key_id=KEY, expires_in_s=86_400.0),
    RevokeKey(key_id=KEY),
    CreateWebhook(url="https://a.example/hook", events=(CallbackEvent.JOB_CREATED,), key_id=KEY),
    EditWebhook(webhook_id=WEBHOOK, url="https://b.example/", events=(CallbackEvent.IMAGE_CREATED,)),
    RotateWebhook(webhook_id=WEBHOOK),
    DeleteWebhook(webhook_id=WEBHOOK),
    TestWebhook(webhook_id=WEBHOOK),
    Redeliver(delivery_id=DELIVERY),
    ShowCallbackSecret(key_id=KEY),
    SavePreset(name="sketch", fields='{"steps":12}', key_id=KEY, shared=True, is_admin=True),
    DeletePreset(name="sketch", key_id=KEY, is_admin=True),
    client.EditJob(job_id=JOB, priority=5),
    client.CancelJob(job_id=JOB),
    client.DeleteJob(job_id=JOB),
    client.DeleteImage(image_id=IMAGE),
    client.DeleteImages(image_ids=(IMAGE,)),
    client.EditImage(image_id=IMAGE, tags=("best", "zoo"), favorite=True, note="for the wall"),
    client.PruneImages(
        engine_id=ENGINE, older_than_s=86_400.0, keep_bytes=5_000_000_000, missing=True, dry_run=True
    ),
    client.ClaimDownload(image_id=IMAGE),
    client.FinishDownload(image_id=IMAGE, ticket=TICKET, whole=True),
    CreateWorkerToken(pool="gpu-lab", expires_in_s=60.0, max_workers=4),
    RevokeWorkerToken(token_id=TOKEN),
    CordonWorker(worker_id=WORKER, is_cordoned=True),
    DrainWorker(worker_id=WORKER),
    RevokeWorker(worker_id=WORKER),
    client.Shutdown(now=True),
)
_SEEN = worker.WorkerDevice(device="cuda:0", name="A", total_bytes=2, free_bytes=1, capability="9.0")
_PREVIEW = client.JobPreview(job_id=JOB, index=1, step=3)
_REPLIES: tuple[client.BrokerReply, ...] = (
    client.Refused(
        code="invalid_field",
        detail="steps: at least 1 step is needed",
        fields=(FieldProblem(field="steps", problem="at least 1 step is needed"),),
        retry_after_s=5.0,
        shortage=MemoryShortage(
            device="cuda:0",
            needed_bytes=9_000_000_000,
            free_bytes=4_000_000_000,
            total_bytes=12_000_000_000,
            remedies=(
                Remedy(
                    what=MemoryRemedy.STOP_ENGINE,
                    text="stop the engine portraits, which frees 5.1 GB",
                    engine_id=ENGINE,
                    frees_bytes=5_100_000_000,
                ),
            ),
        ),
    ),
    client.ModelAccepted(model_id=MODEL, status=ModelState.DOWNLOADING, created=False),
    client.EngineAccepted(engine_id=ENGINE, status=EngineState.STARTING, reloads=True),
    client.JobAccepted(
        job_id=JOB,
        image_ids=(IMAGE, ImageId("i-2")),
        created_at_ms=1_700_000_000_000,
        engine_id=ENGINE,
        status=JobState.PROCESSING,
        priority=3,
        jobs_ahead=2,
        attempts=1,
        started_at_ms=1_700_000_000_001,
        spec=_JOB,
        names={ENGINE: "portraits"},
        waits_for=WaitsFor.RETRY,
        error_code="worker_crashed",
        error="3 workers in a row died",
        key_id=KEY,
    ),
    client.JobValid(engine_id=ENGINE),
    EngineValid(
        fits=False,
        closes=(ENGINE,),
        devices=(
            DeviceFit(
                device="cuda:0",
                name="A",
                total_bytes=12_000_000_000,
                promised_bytes=4_000_000_000,
                free_bytes=7_000_000_000,
                needed_bytes=3_000_000_000,
                fits=True,
                plan=MemoryPlan.TILED,
                images=4,
                taken_bytes=6_500_000_000,
            ),
        ),
        detail="the engine needs 9 GB",
        shortage=MemoryShortage(
            device="cuda:0",
            needed_bytes=9,
            free_bytes=4,
            total_bytes=12,
            remedies=(
                Remedy(what=MemoryRemedy.OTHER_DTYPE, text="use bf16", engine_id=ENGINE, frees_bytes=1),
            ),
        ),
    ),
    client.Done(),
    client.ImagesPruned(images=3, size_bytes=12_345, has_more=True, missing=1, missing_files=("i-1.png",)),
    client.ModelsPruned(models=2, size_bytes=4_265_380_512),
    client.DownloadGranted(ticket=TICKET, file_name="i-1.png", is_limited=True),
    KeyIssued(key_id=KEY, expires_at_ms=86_400_000, text="spoon_1_2"),
    WebhookIssued(webhook_id=WEBHOOK, secret="whsec_MTIz"),
    CallbackSecret(secret="whsec_MTIz"),
    DeliveryQueued(delivery_id=DELIVERY),
    WorkerTokenIssued(token_id=TOKEN, expires_at_ms=12, text="spoonworker_1"),
    Status(
        version="1.0",
        pid=42,
        phase=Phase.DRAINING,
        uptime_s=3.5,
        jobs_waiting=3,
        jobs_processing=2,
        engines_running=1,
        is_disk_low=True,
        devices=(
            DeviceStatus(
                device="cuda:0",
                name="A",
                total_bytes=2,
                free_bytes=1,
                promised_bytes=1,
                available_bytes=1,
                capability="9.0",
            ),
        ),
        is_models_disk_low=True,
        api=ApiLife(is_running=False, restarts=7, last_failure="exit code 1", next_start_s=25.6),
        standbys=1,
        internal_errors=3,
        last_internal_error="0a1b2c3d4e5f",
        engines=(
            EngineFigures(
                engine_id=ENGINE, name="A", workers=1, batch=2, max_batch=4, step_s=0.5, workers_lost=1
            ),
        ),
        workers=(
            WorkerFigures(
                worker_id=WORKER,
                role=WorkerRole.ENGINE,
                state="ready",
                pool="gpu-lab",
                host="studio",
                pid=43,
                version="1.0",
                launch="job-17",
                joined_at_ms=1_700_000_000_000,
                is_cordoned=True,
                devices=(_SEEN,),
                device="cuda:0",
                engine_id=ENGINE,
                memory_bytes=6_900_000_000,
                jobs=(JOB,),
                round_trip_ms=1.5,
            ),
        ),
        ended_workers=(
            WorkerEnd(
                worker_id=WORKER,
                pool="gpu-lab",
                host="studio",
                pid=43,
                engine_id=ENGINE,
                ended_at_ms=1_700_000_000_000,
                text="drained",
            ),
        ),
    ),
    client.Watching(seq=EventSeq(9)),
    client.Bundle(messages=(client.Enclosed(correlation=bytes(range(16)), message=_PREVIEW, blobs=1),)),
    client.Changed(seq=EventSeq(10), kind=ChangeKind.JOB, id=JOB, state="finished", at_ms=1_700_000_000_001),
    client.JobProgress(job_id=JOB, step=3, steps=12, eta_s=4.5, stage=Stage.FINISHING, key_id=KEY),
    _PREVIEW,
    client.ModelProgress(model_id=MODEL, bytes=5, total_bytes=9, bytes_per_s=2),
    client.EngineProgress(engine_id=ENGINE, bytes=5, total_bytes=9, bytes_per_s=2),
)
_LOAD = EngineLoad(
    engine_id=ENGINE,
    checkpoint=_SOURCE,
    models=(_SOURCE,),
    device="cuda:0",
    dtype=Variant.BF16,
    max_batch=4,
    plan=MemoryPlan.TILED,
    compilation=Compilation.GRAPHS,
    width_px=768,
    height_px=512,
    guidance_scale=1.0,
)
_ORDERS: tuple[worker.WorkerOrder, ...] = (
    worker.Welcome(epoch=Epoch(7), heartbeat_s=1.0, silence_s=30.0, worker_id=WORKER),
    worker.Refuse(code="not_permitted", text="the launch token is wrong", retry_after_s=10.0),
    worker.AdjustEngine(max_batch=3),
    worker.LoadEngine(load=_LOAD),
    worker.InspectModel(source=_SOURCE),
    worker.ScanFolders(folders=("/srv/models", "/home/ann/webui/models"), known=(5, 2**63 - 1)),
    worker.SendCallback(
        delivery_id=DELIVERY,
        attempt=2,
        url="https://a.example/hook",
        headers={"webhook-id": "d-1"},
        body="{}",
    ),
    worker.RunJob(
        attempt=2,
        lease=LEASE,
        order=JobOrder(
            job_id=JOB,
            spec=_JOB,
            models=(_SOURCE,),
            pictures=(PictureOrder(index=1, image_id=IMAGE, seed=1),),
        ),
    ),
    worker.CancelJob(job_id=JOB, lease=LEASE),
    worker.ImageStored(job_id=JOB, lease=LEASE, index=1),
    worker.MapStored(job_id=JOB, lease=LEASE, control_type=ControlType.CANNY),
    worker.ModelFiles(
        model_id=MODEL,
        sha256=SHA256,
        files=(worker.FileOfModel(name="model.safetensors", size_bytes=6_500_000_000),),
        is_folder=True,
    ),
    worker.ModelPart(model_id=MODEL, sha256=SHA256, file="model.safetensors", offset=262_144),
    worker.ModelPartRefused(
        model_id=MODEL,
        sha256=SHA256,
        file="model.safetensors",
        code="not_permitted",
        text="no order names it",
    ),
    worker.Drain(for_good=True),
    worker.Leave(),
    worker.Pong(),
)
_REPORTS: tuple[worker.WorkerReport, ...] = (
    worker.Hello(
        role=WorkerRole.ENGINE, worker_id=WORKER, token="token", version="1.0", pid=43, host="studio"
    ),
    worker.Enroll(
        token="spoonworker_1",
        version="1.0",
        pid=43,
        host="studio",
        round=1,
        devices=(
            worker.WorkerDevice(device="cuda:0", name="A", total_bytes=2, free_bytes=1, capability="9.0"),
        ),
        launch="job-17",
        load=_LOAD,
        ready=worker.EngineReady(engine_id=ENGINE, device="cuda:0", memory_bytes=1, capacity=4, seen=_SEEN),
        jobs=(worker.HeldJob(job_id=JOB, lease=LEASE),),
    ),
    worker.Ping(round_trip_ms=1.5),
    worker.EngineProgress(engine_id=ENGINE, bytes=5, total_bytes=9, bytes_per_s=2, is_copying=True),
    worker.EngineReady(
        engine_id=ENGINE,
        device="cuda:0",
        memory_bytes=6_900_000_000,
        capacity=4,
        seen=worker.WorkerDevice(device="cuda:0", name="A", total_bytes=2, free_bytes=1, capability="9.0"),
    ),
    worker.EngineFailed(engine_id=ENGINE, code="out_of_memory", text="8 GB needed, 6 GB free"),
    worker.ModelProgress(model_id=MODEL, bytes=5, total_bytes=9, bytes_per_s=2),
    worker.ModelInspected(
        model_id=MODEL,
        fingerprint=_FINGERPRINT,
        stored=f"files/{SHA256}.safetensors",
        revision="c" * 40,
        title="Dream v2",
    ),
    worker.ModelFailed(model_id=MODEL, code="model_unreadable", text="the header is damaged"),
    worker.ScanBegun(files=3, unknown=2, gone=(7,), absent=("/home/ann/webui/models",)),
    worker.ScanProgress(path="/srv/models/Lora/fox.safetensors", stamp=9),
    worker.FileScanned(
        path="/srv/models/Lora/fox.safetensors",
        stamp=9,
        mark="d" * 32,
        fingerprint=_FINGERPRINT,
        thumbnail="/srv/models/Lora/fox.preview.png",
        code="model_unreadable",
        text="fox.safetensors is truncated",
    ),
    worker.ScanEnded(),
    worker.CallbackEnded(
        delivery_id=DELIVERY, attempt=2, answered=503, retry_after_s=30, text="cannot connect"
    ),
    worker.Accepted(job_id=JOB, lease=LEASE),
    worker.Progress(job_id=JOB, lease=LEASE, step=3, steps=12, stage=Stage.PREPARING),
    worker.Preview(job_id=JOB, lease=LEASE, index=1, step=3),
    worker.ControlMap(
        job_id=JOB, lease=LEASE, control_type=ControlType.DEPTH, size_bytes=12_345, sha256=SHA256
    ),
    worker.ImageReady(
        job_id=JOB,
        lease=LEASE,
        index=1,
        image_id=IMAGE,
        seed=1,
        mime="image/webp",
        width_px=640,
        height_px=448,
        size_bytes=12_345,
        sha256=SHA256,
    ),
    worker.JobDone(job_id=JOB, lease=LEASE, warnings=("the prompt was cut",), maps=(ControlType.DEPTH,)),
    worker.JobFailed(job_id=JOB, lease=LEASE, code="job_rejected", text="no such adapter"),
    worker.JobDropped(job_id=JOB, lease=LEASE),
    worker.GetModelFiles(model_id=MODEL, sha256=SHA256),
    worker.GetModelPart(
        model_id=MODEL, sha256=SHA256, file="unet/model.safetensors", offset=262_144, size_bytes=262_144
    ),
    worker.Goodbye(reason="drained"),
)
_MESSAGES: tuple[client.ClientMessage, ...] = (
    client.Watch(takes_bundles=True),
    client.Unwatch(),
    client.GetStatus(),
    *(client.Command(key="key-1", digest=b"\x01\x02", ask=ask) for ask in _ASKS),
)


def _name(union: str, message: msgspec.Struct) -> str:
    """`Union.Message`, and for a command the name of what it asks for."""
    subject = message.ask if isinstance(message, client.Command) else message
    return f"{union}.{type(subject).__name__}"


MESSAGES: dict[str, msgspec.Struct] = {
    _name(union, message): message
    for union, messages in (
        ("ClientMessage", _MESSAGES),
        ("BrokerReply", _REPLIES),
        ("WorkerOrder", _ORDERS),
        ("WorkerReport", _REPORTS),
    )
    for message in messages
}
"""By name; a command stands under the name of its ask."""
ALL: list[msgspec.Struct] = list(MESSAGES.values())
UNIONS: dict[str, UnionType] = {
    "ClientMessage": client.ClientMessage,
    "BrokerReply": client.BrokerReply,
    "WorkerOrder": worker.WorkerOrder,
    "WorkerReport": worker.WorkerReport,
}


def names_of_unions() -> set[str]:
    """The name that an example of every message must have."""
    names = {f"{name}.{kind.__name__}" for name, union in UNIONS.items() for kind in get_args(union)}
    asks = {f"ClientMessage.{kind.__name__}" for kind in get_args(client.Ask)}
    return (names - {"ClientMessage.Command"}) | asks
