"""Ordinary rows and wishes for stories: a checkpoint that is ready, an engine on it, a job for that."""

from msgspec.structs import replace

from kernel.core.events import DeviceFact
from kernel.protocol import client
from kernel.protocol.api_keys import CreateKey
from kernel.protocol.enums import (
    ControlType,
    InputKind,
    ModelBase,
    ModelPart,
    ModelState,
    ModelType,
    Role,
    Scheduler,
)
from kernel.protocol.ids import EngineId, ImageId, JobId, ModelId, WorkerId
from kernel.protocol.memory import MemoryProfile, PartWeights
from kernel.protocol.model_refs import InputFile
from kernel.protocol.rows import ImageRow, ModelRow
from kernel.protocol.specs import INSPECTION_RULES, EngineSpec, Fingerprint, JobRequest, JobSpec
from kernel.protocol.status import DeviceStatus

CHECKPOINT = ModelId("checkpoint")


def checkpoint(model_id: ModelId = CHECKPOINT) -> ModelRow:
    """A model that an engine can be made of."""
    return ModelRow(
        model_id=model_id,
        name=model_id,
        uri=f"file:///models/{model_id}.safetensors",
        status=ModelState.READY,
        model_type=ModelType.CHECKPOINT,
        model_base=ModelBase.SD,
        variant=None,
        tags=(),
        trigger_words=(),
        declared_base=None,
        declared_sha256=None,
        created_at_ms=0,
        inspection_rules=INSPECTION_RULES,
    )


def device(name: str, free: int, total: int | None = None, **held: int) -> DeviceFact:
    """A device with so many free bytes; `held` is what workers hold of it, `w1_1` being the worker w1-1."""
    status = DeviceStatus(device=name, name=name, total_bytes=total or free, free_bytes=free)
    return DeviceFact(status, {WorkerId(key.replace("_", "-")): size for key, size in held.items()})


def heavy(model_id: str, size_bytes: int) -> ModelRow:
    """A checkpoint of which nothing is known but that its weights take so much, in single precision."""
    part = PartWeights(part=ModelPart.UNET, parameters=size_bytes // 4, stored_bytes=size_bytes)
    return replace(checkpoint(ModelId(model_id)), memory=MemoryProfile(parts=(part,)))


def model(model_id: str, model_type: ModelType = ModelType.LORA, **fields: object) -> ModelRow:
    """A model that can be laid over the checkpoint."""
    row = replace(checkpoint(ModelId(model_id)), model_type=model_type)
    return replace(row, **fields)  # type: ignore[arg-type]


def controlnet(control_type: ControlType, model_id: str | None = None) -> ModelRow:
    """A ControlNet that bears the name of its type."""
    return model(model_id or control_type, ModelType.CONTROLNET, control_type=control_type)


def downloading(model_id: ModelId) -> ModelRow:
    """A model that nobody has looked into yet."""
    return replace(checkpoint(model_id), status=ModelState.DOWNLOADING)


def spec(**fields: object) -> EngineSpec:
    """An engine on the checkpoint, with some fields of its own."""
    known: dict[str, object] = {"checkpoint": CHECKPOINT, **fields}
    return EngineSpec(**known)  # type: ignore[arg-type]


def register(name: str = "model", **fields: object) -> client.RegisterModel:
    """The wish to register a checkpoint."""
    known: dict[str, object] = {"uri": f"file:///models/{name}", "model_type": ModelType.CHECKPOINT, **fields}
    return client.RegisterModel(name=name, **known)  # type: ignore[arg-type]


def submit(engine_id: EngineId, priority: int = 0, **fields: object) -> client.SubmitJob:
    """The wish for a picture, with the files that it names."""
    request = JobRequest(**fields)  # type: ignore[arg-type]
    files = tuple(input_file(kind) for kind in request.inputs)
    return client.SubmitJob(engine_id=engine_id, priority=priority, request=request, files=files)


def create_key(name: str = "alice", role: Role = Role.USER, **fields: object) -> CreateKey:
    """The wish for an API key."""
    return CreateKey(name=name, role=role, **fields)  # type: ignore[arg-type]


def input_file(kind: InputKind) -> InputFile:
    """A file that comes with a job; each kind has a length of its own."""
    return InputFile(mime="image/png", size_bytes=10 + len(kind), sha256="a" * 64)


def job_spec(seed: int = 1, count: int = 1) -> JobSpec:
    """What an open job in the database asks for."""
    return JobSpec(
        prompt="a cat",
        negative_prompt="",
        seed=seed,
        count=count,
        steps=20,
        guidance_scale=7.0,
        width_px=512,
        height_px=512,
        scheduler=Scheduler.DDIM,
    )


def fingerprint() -> Fingerprint:
    """What a fetch worker finds in a checkpoint."""
    return Fingerprint(
        model_type=ModelType.CHECKPOINT,
        model_base=ModelBase.SDXL,
        sha256="f" * 64,
        size_bytes=10,
        memory_bytes=10,
        parameters=5,
        native_size_px=1024,
    )


def image(image_id: str = "image", limit: int | None = None, expires_at_ms: int | None = None) -> ImageRow:
    """An image that is there."""
    return ImageRow(
        image_id=ImageId(image_id),
        job_id=JobId("job"),
        engine_id=EngineId("engine"),
        position=0,
        file_name=f"{image_id}.png",
        mime="image/png",
        width_px=512,
        height_px=512,
        size_bytes=10,
        sha256="0" * 64,
        seed=1,
        downloads=0,
        download_limit=limit,
        created_at_ms=0,
        expires_at_ms=expires_at_ms,
    )
