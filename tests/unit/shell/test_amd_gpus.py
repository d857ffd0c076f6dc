"""AMD's GPUs as they are read from a /sys that is made up in the kernel's documented format."""

from pathlib import Path

import pytest

from kernel.protocol.ids import WorkerId
from kernel.shell.devices.amd import AmdGpus

GIB = 1 << 30


class Sys:
    """A /sys with nodes of amdkfd; node 0 is the CPU."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.node(0, gpu_id=0, minor=0)

    def node(self, number: int, gpu_id: int, minor: int, version: int = 0) -> None:
        node = self.folder / f"class/kfd/kfd/topology/nodes/{number}"
        node.mkdir(parents=True)
        (node / "gpu_id").write_text(f"{gpu_id}\n")
        said = f"simd_count 96\ndrm_render_minor {minor}\ngfx_target_version {version}\nunique_id 0x12ab\n"
        (node / "properties").write_text(said)

    def card(self, minor: int, total: int, used: int, name: str | None = None) -> Path:
        device = self.folder / f"class/drm/renderD{minor}/device"
        device.mkdir(parents=True)
        (device / "mem_info_vram_total").write_text(f"{total}\n")
        (device / "mem_info_vram_used").write_text(f"{used}\n")
        if name is not None:
            (device / "product_name").write_text(f"{name}\n")
        return device

    def process(self, pid: int, gpu_id: int, size: int) -> None:
        folder = self.folder / f"class/kfd/kfd/proc/{pid}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"vram_{gpu_id}").write_text(f"{size}\n")


@pytest.fixture
def sys(tmp_path: Path) -> Sys:
    return Sys(tmp_path)


def test_gpu_has_its_name_memory_and_instruction_set(sys: Sys) -> None:
    sys.node(1, gpu_id=5095, minor=128, version=110_000)
    sys.card(128, 24 * GIB, 3 * GIB, "Radeon RX 7900 XTX")
    (fact,) = AmdGpus(sys.folder).measure({})
    status = fact.status
    assert (status.device, status.name, status.capability) == ("cuda:0", "Radeon RX 7900 XTX", "gfx1100")
    assert (status.total_bytes, status.free_bytes, fact.held) == (24 * GIB, 21 * GIB, {})


def test_gpus_are_numbered_in_the_order_of_the_topology_and_not_of_their_cards(sys: Sys) -> None:
    sys.node(10, gpu_id=3, minor=128)
    sys.node(2, gpu_id=2, minor=129, version=90_010)
    sys.card(128, 8 * GIB, 0)
    sys.card(129, 64 * GIB, 0)
    first, second = (fact.status for fact in AmdGpus(sys.folder).measure({}))
    assert (first.device, first.total_bytes, first.capability) == ("cuda:0", 64 * GIB, "gfx90a")
    assert (second.device, second.total_bytes, second.capability) == ("cuda:1", 8 * GIB, None)
    assert second.name == "AMD GPU"


def test_what_workers_hold_is_read_for_each_gpu_and_unknown_for_processes_that_it_does_not_list(
    sys: Sys,
) -> None:
    for index, gpu_id in enumerate((7, 8)):
        sys.node(1 + index, gpu_id=gpu_id, minor=128 + index)
        sys.card(128 + index, 16 * GIB, GIB)
    sys.process(100, 7, 5 * GIB)
    sys.process(100, 8, 0)
    workers = {WorkerId("w1-1"): 100, WorkerId("w1-2"): 101}
    first, second = AmdGpus(sys.folder).measure(workers)
    assert (first.held, second.held) == ({"w1-1": 5 * GIB}, {"w1-1": 0})


def test_memory_is_measured_anew_each_time(sys: Sys) -> None:
    sys.node(1, gpu_id=7, minor=128)
    device = sys.card(128, 16 * GIB, GIB)
    gpus = AmdGpus(sys.folder)
    assert gpus.measure({})[0].status.free_bytes == 15 * GIB
    (device / "mem_info_vram_used").write_text(f"{17 * GIB}\n")
    assert gpus.measure({})[0].status.free_bytes == 0


def test_gpu_that_does_not_answer_is_left_out_and_the_others_keep_their_numbers(sys: Sys) -> None:
    for index in range(2):
        sys.node(1 + index, gpu_id=7 + index, minor=128 + index)
    lost = sys.card(128, 16 * GIB, 0)
    sys.card(129, 16 * GIB, 0)
    gpus = AmdGpus(sys.folder)
    (lost / "mem_info_vram_used").unlink()
    assert [fact.status.device for fact in gpus.measure({})] == ["cuda:1"]


@pytest.mark.parametrize("nonsense", ["", "many", "-5", "0x10", "\udcff"])
def test_nonsense_is_no_memory(sys: Sys, nonsense: str) -> None:
    sys.node(1, gpu_id=7, minor=128)
    device = sys.card(128, GIB, 0)
    (device / "mem_info_vram_total").write_bytes(nonsense.encode(errors="surrogateescape"))
    assert AmdGpus(sys.folder).measure({}) == []


def test_host_without_the_driver_or_with_a_card_that_it_does_not_list_has_none(
    sys: Sys, tmp_path: Path
) -> None:
    sys.card(128, GIB, 0)
    assert AmdGpus(sys.folder).measure({}) == []
    assert AmdGpus(tmp_path / "nothing").measure({}) == []
