"""The swapped plan on a GPU: the pictures of the tiled plan, in the memory that was promised."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from bench.bell import Bell
from bench.ours import order_of
from bench.pictures import photograph, png
from bench.stock import Asked
from engine_worker.engine.diffusers_engine import DiffusersEngine
from engine_worker.engine.loading.random_weights import write_random_file
from engine_worker.formats.released import SD
from engine_worker.formats.single_file import describe_file
from engine_worker.port import Completed, ImageEncoded, Outcome
from kernel.core.memory_model.memory_demand import PROCESS_BYTES, MemoryDemand, need_bytes, resident_bytes
from kernel.protocol.enums import Compilation, InputKind, MemoryPlan, ModelBase
from tests.gpu.gpu_jobs import job, load_order

pytestmark = pytest.mark.torch

GPU = torch.device("cuda:0")
SIDE_PX = 512
SLOTS = 2
SWAPPED, TILED = MemoryPlan.SWAPPED, MemoryPlan.TILED
SMALL_CHANGE_BYTES = 64 << 20
"""Prompts that are remembered, and what torch keeps for itself."""


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SD 1.5, of which the text encoder is an eighth."""
    path = tmp_path_factory.mktemp("full") / "sd.safetensors"
    write_random_file(path, SD, 0, GPU)
    torch.cuda.empty_cache()
    return path


@pytest.fixture
def promised_memory(full_size: Path) -> Iterator[None]:
    """No more than the swapped plan was promised, whatever the GPU has."""
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(promised_bytes(full_size, SWAPPED) / total, GPU)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, GPU)
    torch.cuda.empty_cache()


def demand_of(path: Path) -> MemoryDemand:
    profile = describe_file(path).memory
    assert profile is not None
    return MemoryDemand(profile, (), 0, None, SIDE_PX, SIDE_PX, SLOTS)


def promised_bytes(path: Path, plan: MemoryPlan) -> int:
    """Without the context and the libraries, which torch knows nothing of."""
    return need_bytes(demand_of(path), "cuda", plan, SLOTS) - PROCESS_BYTES["cuda"]


class Loaded:
    """An engine under a plan, and what becomes of its jobs."""

    def __init__(self, path: Path, plan: MemoryPlan, slots: int = SLOTS) -> None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(GPU)
        self._before = torch.cuda.memory_allocated(GPU)
        self._reserved_before = torch.cuda.memory_reserved(GPU)
        self.outcomes: list[Outcome] = []
        self._bell = Bell()
        self._engine = DiffusersEngine(self._bell.at(self.outcomes.append), self._bell.ring)
        order = load_order(path, Compilation.OFF, slots)
        self.memory_bytes = self._engine.load(replace(order, plan=plan)).memory_bytes

    @property
    def held_bytes(self) -> int:
        torch.cuda.synchronize(GPU)
        return torch.cuda.memory_allocated(GPU) - self._before

    @property
    def most_reserved_bytes(self) -> int:
        return torch.cuda.max_memory_reserved(GPU) - self._reserved_before

    def make(self, jobs: list[Asked]) -> list[bytes]:
        """The files of the jobs' pictures."""
        for number, asked in enumerate(jobs):
            self._engine.admit(order_of(f"job-{number}", asked), asked.inputs)
        while sum(isinstance(one, Completed) for one in self.outcomes) < len(jobs):
            if not self._engine.step():
                self._bell.wait()
        found = {one.job_id: one.data for one in self.outcomes if isinstance(one, ImageEncoded)}
        return [found[order_of(f"job-{number}", asked).job_id] for number, asked in enumerate(jobs)]

    def close(self) -> None:
        self._engine.close()


def some_jobs(side_px: int) -> list[Asked]:
    """Words, other words with previews, and a picture to begin with."""
    plain = job(width_px=side_px, height_px=side_px)
    seen = job(2, prompt="a blue ball", width_px=side_px, height_px=side_px, previews=True)
    return [plain, seen, Asked(plain.spec, {InputKind.REFERENCE: png(photograph(side_px, side_px))})]


def test_pictures_are_those_of_the_tiled_plan_to_the_bit(base: ModelBase, checkpoints: Path) -> None:
    made = []
    for plan in (TILED, SWAPPED):
        # One at a time: who shares a call with whom is a matter of time.
        engine = Loaded(checkpoints / f"{base}.safetensors", plan, slots=1)
        made.append(engine.make(some_jobs(128)))
        engine.close()
    assert made[0] == made[1]


def test_the_unet_alone_is_on_the_gpu_before_the_first_job_and_between_jobs(full_size: Path) -> None:
    engine = Loaded(full_size, SWAPPED)
    resident = resident_bytes(demand_of(full_size), "cuda", SWAPPED)
    assert engine.memory_bytes == pytest.approx(resident, rel=0.001)
    assert engine.most_reserved_bytes <= resident + SMALL_CHANGE_BYTES, "nothing else came while it loaded"
    # Without previews: the VAE may be there for one of them after its job is done.
    engine.make([job(width_px=SIDE_PX, height_px=SIDE_PX)])
    assert engine.held_bytes <= resident + SMALL_CHANGE_BYTES
    engine.close()


def test_it_takes_no_more_than_was_promised_and_less_than_the_tiled_plan(full_size: Path) -> None:
    taken = {}
    for plan in (TILED, SWAPPED):
        engine = Loaded(full_size, plan)
        engine.make(some_jobs(SIDE_PX))
        taken[plan] = engine.most_reserved_bytes
        engine.close()
        assert taken[plan] <= promised_bytes(full_size, plan)
    assert taken[SWAPPED] < taken[TILED]


def test_where_no_more_than_the_promise_is_there_it_loads_and_makes_its_pictures(
    full_size: Path, promised_memory: None
) -> None:
    engine = Loaded(full_size, SWAPPED)
    assert all(engine.make(some_jobs(SIDE_PX)))
    engine.close()
