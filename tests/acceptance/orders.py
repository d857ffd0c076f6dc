"""What the tests order: a small checkpoint, engines on it, and jobs whose prompts tell the fake engine."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kernel.protocol.client import (
    CreateEngine,
    EngineAccepted,
    JobAccepted,
    ModelAccepted,
    RegisterModel,
    SubmitJob,
)
from kernel.protocol.enums import InputKind, ModelType
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.model_refs import InputFile
from kernel.protocol.specs import EngineSpec, JobRequest
from kernel.protocol.values import Replicas
from tests.acceptance.line import Line
from tests.acceptance.server import Server
from tests.unit.worker.model_files import SMALL_SD, controlnet, write_safetensors

PLAIN: Final = "plain"
LOADS_FOR_7_S: Final = "slow-load-7s"
MODELS: Final = (PLAIN, LOADS_FOR_7_S)
"""Names that tell the fake engine how to load."""


def write_checkpoint(file: Path) -> None:
    """A single-file checkpoint of zeros."""
    write_safetensors(file, SMALL_SD)


def write_controlnet(file: Path) -> None:
    """A single-file ControlNet of zeros."""
    write_safetensors(file, controlnet(is_diffusers=False, width=768))


def register_models(server: Server, checkpoint: Path) -> None:
    """Register the checkpoint under each of the names, and wait until all are inspected."""
    asks = [
        RegisterModel(name=name, uri=f"file://{checkpoint}", model_type=ModelType.CHECKPOINT)
        for name in MODELS
    ]
    for accepted in [server.line.ask(ask, ModelAccepted) for ask in asks]:
        server.records.wait_for_model(accepted.model_id)


def create_engine(
    line: Line,
    checkpoint: ModelId,
    *,
    start: bool = False,
    max_batch: int | None = None,
    replicas: Replicas = 1,
    pool: str | None = None,
) -> EngineId:
    """An engine that small jobs start on demand, or that starts at once."""
    values = {"steps": 2, "width_px": 64, "height_px": 64, "max_batch": max_batch}
    spec = EngineSpec(checkpoint=checkpoint, replicas=replicas, pool=pool, **values)
    return line.ask(CreateEngine(spec=spec, start=start), EngineAccepted).engine_id


def a_job(engine_id: EngineId, prompt: str = "a fox", count: int = 1) -> SubmitJob:
    """A job whose prompt may tell the fake engine to misbehave."""
    return SubmitJob(engine_id=engine_id, request=JobRequest(prompt=prompt, count=count, seed=7))


def submit(line: Line, engine_id: EngineId, prompt: str = "a fox", count: int = 1) -> JobAccepted:
    """Submit such a job."""
    return line.ask(a_job(engine_id, prompt, count), JobAccepted)


def with_pictures(
    engine_id: EngineId, pictures: Mapping[InputKind, bytes], prompt: str = "[echo]"
) -> SubmitJob:
    """A job that works from these pictures, which go along as blobs; it tells what came to its engine."""
    files = tuple(
        InputFile(mime="image/png", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for data in pictures.values()
    )
    request = JobRequest(prompt=prompt, seed=7, inputs=tuple(pictures))
    return SubmitJob(engine_id=engine_id, request=request, files=files)


def echo_of(pictures: Mapping[InputKind, bytes]) -> tuple[str, ...]:
    """What the fake engine tells of pictures that came to it whole."""
    return tuple(f"{kind} {hashlib.sha256(data).hexdigest()}" for kind, data in pictures.items())
