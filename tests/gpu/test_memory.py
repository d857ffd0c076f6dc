"""Memory on a GPU: no more than was promised, and a lack of it fails one job alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.bell import Bell
from bench.memory_cases import Case, demand_of_file, ensure_file
from bench.ours import order_of
from engine_worker.engine.diffusers_engine import build
from engine_worker.port import Completed, Failed, Outcome
from kernel.core.memory_model.memory_demand import PROCESS_BYTES, need_bytes
from kernel.protocol.enums import MemoryPlan, ModelBase
from kernel.protocol.ids import EngineId
from kernel.protocol.specs import EngineLoad
from tests.gpu.gpu_jobs import job, source_of

pytestmark = pytest.mark.torch

HALF_AS_WIDE = Case(ModelBase.SD, (160, 320, 640, 640), (64, 128, 256, 256), 512, 4)
GPU = torch.device("cuda:0")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_file(HALF_AS_WIDE, tmp_path_factory.mktemp("half"))


@pytest.fixture
def little_memory() -> Iterator[None]:
    """As much as the engine and small pictures need, whatever the GPU has."""
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction(2.5e9 / total, GPU)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, GPU)
    torch.cuda.empty_cache()


def test_an_engine_takes_no_more_memory_than_the_manager_has_reckoned_with(file: Path) -> None:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(GPU)
    before = torch.cuda.memory_reserved(GPU)
    outcomes: list[Outcome] = []
    engine = build(outcomes.append, Bell().ring)
    engine.load(load_order(file, HALF_AS_WIDE.slots))
    for number in range(2 * HALF_AS_WIDE.slots):
        wanted = job(number, steps=2 + number % 3, width_px=512, height_px=512)
        engine.admit(order_of(f"job-{number}", wanted))
    while engine.step():
        pass
    engine.close()
    assert sum(isinstance(one, Completed) for one in outcomes) == 2 * HALF_AS_WIDE.slots
    taken = torch.cuda.max_memory_reserved(GPU) - before
    demand = demand_of_file(HALF_AS_WIDE, file)
    promised = need_bytes(demand, "cuda", MemoryPlan.FAST, HALF_AS_WIDE.slots) - PROCESS_BYTES["cuda"]
    assert taken <= promised


def test_a_picture_for_which_there_is_no_memory_fails_alone(file: Path, little_memory: None) -> None:
    outcomes: list[Outcome] = []
    engine = build(outcomes.append, Bell().ring)
    engine.load(load_order(file, 4))
    large = job(1, width_px=6144, height_px=6144)
    for name, wanted in (("before", job(2)), ("large", large), ("after", job(3))):
        engine.admit(order_of(name, wanted))
    while engine.step():
        pass
    engine.close()
    endings = {one.job_id: one for one in outcomes if isinstance(one, Completed | Failed)}
    assert isinstance(endings[order_of("before", large).job_id], Completed)
    assert isinstance(endings[order_of("after", large).job_id], Completed)
    failed = endings[order_of("large", large).job_id]
    assert isinstance(failed, Failed)
    assert failed.code == "out_of_memory"


def load_order(file: Path, slots: int) -> EngineLoad:
    return EngineLoad(
        engine_id=EngineId("engine-1"), checkpoint=source_of(file), device="cuda:0", max_batch=slots
    )
