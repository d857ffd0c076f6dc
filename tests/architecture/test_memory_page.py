"""The figures of full-size checkpoints on the page about memory are what the code computes."""

from kernel.core.memory_model.memory_demand import need_bytes
from kernel.protocol.enums import MemoryPlan
from tests.architecture.source_files import ROOT
from tests.architecture.tables import all_rows
from tests.unit.core.memory_demands import GB, SD, SDXL

DEMANDS = {"SD 1.5, 512 x 512": SD, "SDXL, 1024 x 1024": SDXL}
SEATS = (1, 2, 4, 8)


def test_needs_of_full_size_checkpoints_are_computed_by_the_code() -> None:
    text = (ROOT / "docs/memory.md").read_text(encoding="utf-8")
    told = {tuple(row.cells[:2]): row.cells[2:] for row in all_rows(text) if row.cells[0] in DEMANDS}
    computed = {
        (name, plan): [f"{need_bytes(demand, 'cuda', plan, batch_size) / GB:.1f}" for batch_size in SEATS]
        for name, demand in DEMANDS.items()
        for plan in MemoryPlan
    }
    assert {key: list(cells) for key, cells in told.items()} == computed
