"""Orders as a Manager gives them, for the tests of the worker."""

from kernel.protocol.enums import InputKind, ModelType, Scheduler, WorkerRole
from kernel.protocol.ids import EngineId, Epoch, ImageId, JobId, Lease, ModelId, WorkerId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import EngineLoad, JobOrder, JobSpec, PictureOrder
from kernel.protocol.worker import CancelJob, Enroll, Hello, LoadEngine, RunJob, Welcome

EPOCH = Epoch(7)
ENGINE_ID = EngineId("engine-1")
WELCOME = Welcome(epoch=EPOCH, heartbeat_s=1.0, silence_s=5.0)


ENROLL = Enroll(token="token", version="0.1.0", pid=123, host="there")


def hello(role: WorkerRole = WorkerRole.ENGINE) -> Hello:
    return Hello(
        role=role, worker_id=WorkerId("worker-1"), token="secret", version="0.1.0", pid=123, host="here"
    )


def source(
    uri: str = "file:///models/a.safetensors", model_type: ModelType = ModelType.CHECKPOINT
) -> ModelSource:
    return ModelSource(model_id=ModelId("model-1"), name="a model", uri=uri, model_type=model_type)


def load(checkpoint_name: str = "a model", max_batch: int | None = None) -> LoadEngine:
    checkpoint = ModelSource(
        model_id=ModelId("model-1"),
        name=checkpoint_name,
        uri="file:///models/a.safetensors",
        model_type=ModelType.CHECKPOINT,
    )
    return LoadEngine(load=EngineLoad(engine_id=ENGINE_ID, checkpoint=checkpoint, max_batch=max_batch))


def job(
    job_id: str = "job-1",
    prompt: str = "a cat",
    *,
    steps: int = 3,
    pictures: int = 1,
    seed: int = 5,
    inputs: tuple[InputKind, ...] = (),
) -> JobOrder:
    spec = JobSpec(
        prompt=prompt,
        negative_prompt="",
        seed=seed,
        count=pictures,
        steps=steps,
        guidance_scale=7.0,
        width_px=64,
        height_px=72,
        scheduler=Scheduler.EULER,
        inputs=inputs,
    )
    wanted = tuple(
        PictureOrder(index=index, image_id=ImageId(f"{job_id}-image-{index}"), seed=seed + index)
        for index in range(pictures)
    )
    return JobOrder(job_id=JobId(job_id), spec=spec, pictures=wanted)


def run(job_id: str = "job-1", lease: int = 1, inputs: tuple[InputKind, ...] = ()) -> RunJob:
    return RunJob(attempt=1, lease=Lease(lease), order=job(job_id, inputs=inputs))


def cancel(job_id: str = "job-1", lease: int = 1) -> CancelJob:
    return CancelJob(job_id=JobId(job_id), lease=Lease(lease))
