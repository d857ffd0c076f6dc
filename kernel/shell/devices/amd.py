"""AMD's GPUs, as the kernel's drivers amdgpu and amdkfd describe them below /sys.

Only GPUs in the topology of amdkfd are listed, since ROCm can use no other ones. Torch for ROCm calls them
`cuda:0`, `cuda:1` ... in the order of that topology. Sources: Linux, Documentation/gpu/amdgpu/driver-misc.rst
(mem_info_vram_total, mem_info_vram_used, product_name) and drivers/gpu/drm/amd/amdkfd/kfd_topology.c and
kfd_process.c (nodes, and vram_<gpu_id> of each process).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kernel.core.events import DeviceFact
from kernel.protocol.ids import WorkerId
from kernel.protocol.status import DeviceStatus

_SYS: Final = Path("/sys")


@dataclass(frozen=True, slots=True)
class _Gpu:
    """A GPU of the topology."""

    gpu_id: int
    device: Path
    """The folder of its PCI device."""
    capability: str | None


class AmdGpus:
    """The topology is read once, at the start: 1 ms for each GPU."""

    def __init__(self, sys: Path = _SYS) -> None:
        self._sys = sys
        self._gpus = tuple(_topology(sys))

    def measure(self, pids: Mapping[WorkerId, int]) -> list[DeviceFact]:
        """The GPUs now. One that does not answer is left out."""
        found = (self._measure(index, gpu, pids) for index, gpu in enumerate(self._gpus))
        return [fact for fact in found if fact is not None]

    def _measure(self, index: int, gpu: _Gpu, pids: Mapping[WorkerId, int]) -> DeviceFact | None:
        total, used = (_number(gpu.device / f"mem_info_vram_{what}") for what in ("total", "used"))
        if total is None or used is None:
            return None
        status = DeviceStatus(
            device=f"cuda:{index}",
            name=_text(gpu.device / "product_name") or "AMD GPU",
            total_bytes=total,
            free_bytes=max(total - used, 0),
            capability=gpu.capability,
        )
        # In a container the process ids are those of another namespace: then the worker's own report is used.
        of_processes = self._sys / "class/kfd/kfd/proc"
        sizes = {key: _number(of_processes / f"{pid}/vram_{gpu.gpu_id}") for key, pid in pids.items()}
        return DeviceFact(status, {key: size for key, size in sizes.items() if size is not None})


def _topology(sys: Path) -> Iterator[_Gpu]:
    """The GPUs in the order of their nodes; a node without a GPU id is a CPU."""
    nodes = [node for node in (sys / "class/kfd/kfd/topology/nodes").glob("*") if node.name.isdecimal()]
    for node in sorted(nodes, key=lambda node: int(node.name)):
        gpu_id, said = _number(node / "gpu_id"), _properties(node / "properties")
        minor = said.get("drm_render_minor")
        device = sys / f"class/drm/renderD{minor}/device"
        if gpu_id and minor and device.exists():
            yield _Gpu(gpu_id, device, _capability(said.get("gfx_target_version", 0)))


def _properties(file: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    pairs = (line.split() for line in (_text(file) or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _capability(version: int) -> str | None:
    """The name of an instruction set, such as gfx1100 for 110000 or gfx90a for 90010."""
    major, rest = divmod(version, 10_000)
    return f"gfx{major}{rest // 100:x}{rest % 100:x}" if version else None


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text is not None and text.isdecimal() else None


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
