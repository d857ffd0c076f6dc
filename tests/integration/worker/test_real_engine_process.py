"""The real engine in a worker process: torch is imported and a checkpoint loaded while heartbeats go on."""

import time
from pathlib import Path

import msgspec
import pytest

from engine_worker.embedded.random_checkpoint import NATIVE_SIZE_PX, write_random_checkpoint
from engine_worker.session.actions import ExitCode
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.ids import Lease, ModelId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.worker import (
    Drain,
    EngineReady,
    ImageReady,
    ImageStored,
    JobDone,
    LoadEngine,
    Ping,
    RunJob,
)
from tests.integration.worker.small_manager import SmallManager
from tests.unit.worker.inspecting import inspect
from tests.unit.worker.orders import job, load

pytestmark = pytest.mark.torch

LONGEST_PAUSE_S = 3.0
"""The Manager holds a worker for lost after five seconds."""


def source_of(path: Path) -> ModelSource:
    return ModelSource(
        model_id=ModelId("m"), name=path.stem, uri=path.as_uri(), model_type=ModelType.CHECKPOINT
    )


@pytest.mark.sampled(2)
@pytest.mark.parametrize("is_folder", [False, True])
@pytest.mark.parametrize("base", list(ModelBase))
def test_inspection_and_engine_agree_on_a_checkpoint(
    tmp_path: Path, base: ModelBase, is_folder: bool
) -> None:
    path = tmp_path / ("model" if is_folder else "model.safetensors")
    write_random_checkpoint(path, base=base, is_folder=is_folder, seed=7)
    found = inspect(source_of(path), [tmp_path], lambda done, total: None)
    assert found.model_base is base
    assert found.native_size_px == NATIVE_SIZE_PX
    assert found.parameters


def test_a_picture_is_made_and_no_heartbeat_is_missed_meanwhile(
    manager: SmallManager, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    write_random_checkpoint(path, base=ModelBase.SD, seed=7)
    join = msgspec.structs.replace(manager.ticket(roots=(tmp_path,)), is_fake=False)
    process = manager.start(join, tmp_path / "log")
    manager.welcome()
    order = load().load
    manager.order(LoadEngine(load=msgspec.structs.replace(order, checkpoint=source_of(path), device="cpu")))
    pauses_s: list[float] = []
    heard_at = time.monotonic()
    while not isinstance(manager.heard[-1].body, EngineReady):
        assert manager.hear(60.0) is not None
        pauses_s.append(time.monotonic() - heard_at)
        heard_at = time.monotonic()
    assert sum(isinstance(one.body, Ping) for one in manager.heard) > 2
    assert max(pauses_s) < LONGEST_PAUSE_S
    manager.order(RunJob(attempt=1, lease=Lease(1), order=job(steps=2)))
    ready, received = manager.expect_whole(ImageReady)
    assert bytes(received.blobs[0]).startswith(b"\x89PNG")
    assert (ready.width_px, ready.height_px) == (64, 72)
    manager.order(ImageStored(job_id=ready.job_id, lease=ready.lease, index=ready.index))
    manager.expect(JobDone)
    manager.order(Drain())
    assert manager.exit_code(process) == ExitCode.LEFT
