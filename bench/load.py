"""How long is a full-size checkpoint in loading, and how much memory does it take? `python -m bench.load`

An SD 1.5 file of 2.1 GB with random weights, written for the occasion, is read plainly (the floor: all of its
bytes into memory of their own, once) and loaded on the CPU, in turns, each time by a new process, with the
file dropped from the page cache before and as much memory at hand. Gate: nothing is left without memory, and
weights picked from every network are the file's. Beside the seconds are those of processor time
(`..._cpu_s`), which tell whether somebody else had the machine.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from math import prod
from mmap import MAP_ANONYMOUS, MAP_POPULATE, MAP_PRIVATE, mmap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from bench.report import Goal, Spread, print_report

if TYPE_CHECKING:
    from engine_worker.engine.networks.components import Components

ROUNDS: Final = 4
SPARE_BYTES: Final = 4 << 30
"""What the disk must have left beside the file."""
CHUNK_BYTES: Final = 16 << 20
BLOCK_NUMBERS: Final = 1 << 25
GOALS: Final = {
    "load_fp16_by_read": Goal(2.0),
    "load_fp32_by_read": Goal(2.0),
    "peak_fp16_by_file": Goal(2.0),
}
"""In float32 the weights alone are twice the file."""
Figures = dict[str, list[float]]


def main() -> None:
    """Measure and print; or, as one of the processes that are measured, do one thing once."""
    if len(sys.argv) > 1:
        word, path = sys.argv[1], Path(sys.argv[2])
        print(json.dumps(read(path) if word == "read" else load(path, word)))
        return
    with TemporaryDirectory(prefix="bench-load-") as place:
        path = Path(place) / "random.safetensors"
        write_checkpoint(path)
        figures = measure(path)
    print_report("load", {name: Spread.of(values) for name, values in figures.items()}, GOALS)


def measure(path: Path) -> Figures:
    """All rounds: reading, and loading in the file's precision and in the CPU's."""
    figures: Figures = {}
    size_bytes = path.stat().st_size
    for number in range(ROUNDS):
        words = ("read", "fp16", "fp32")
        found = {word: run(word, path) for word in (words if number % 2 == 0 else reversed(words))}
        read_s = found["read"]["seconds"]
        figures.setdefault("read_s", []).append(read_s)
        figures.setdefault("read_cpu_s", []).append(found["read"]["cpu_seconds"])
        for word in words[1:]:
            figures.setdefault(f"load_{word}_s", []).append(found[word]["seconds"])
            figures.setdefault(f"load_{word}_cpu_s", []).append(found[word]["cpu_seconds"])
            figures.setdefault(f"load_{word}_by_read", []).append(found[word]["seconds"] / read_s)
            figures.setdefault(f"peak_{word}_by_file", []).append(found[word]["peak_bytes"] / size_bytes)
        print(f"round {number + 1} of {ROUNDS} done", file=sys.stderr)
    return figures


def run(word: str, path: Path) -> dict[str, float]:
    """One measurement, by a process of its own."""
    claim_memory(3 * path.stat().st_size)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, "-m", "bench.load", word, str(path)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def claim_memory(size_bytes: int) -> None:
    """Touch as much memory as any side needs, and give it back.

    A virtual machine's host takes away what has been free for a while, and takes seconds a gigabyte to bring
    it back: who comes first, or needs more than the last one had, would pay for that, and not for its work.
    """
    mmap(-1, size_bytes, flags=MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE).close()


def read(path: Path) -> dict[str, float]:
    """The floor: every byte of the file into memory that nobody has touched before, as weights need it.

    Into one buffer again and again it would be quicker by what the system takes to hand out half a million
    pages, and nothing would be there in the end.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    held = mmap(-1, path.stat().st_size)
    with path.open("rb", buffering=0) as file, memoryview(held) as buffer:
        done = 0
        while count := file.readinto(buffer[done : done + CHUNK_BYTES]):
            done += count
    return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu_started}


def load(path: Path, precision: str) -> dict[str, float]:
    """The checkpoint, ready; the memory is that of the process beyond what it had after its imports."""
    import torch

    from engine_worker.engine.loading.load_checkpoint import load_components
    from engine_worker.engine.runtime.devices import choose_dtype
    from kernel.protocol.enums import ModelType, Variant
    from kernel.protocol.ids import ModelId
    from kernel.protocol.model_refs import ModelSource

    source = ModelSource(
        model_id=ModelId("random"), name=path.stem, uri=path.as_uri(), model_type=ModelType.CHECKPOINT
    )
    device = torch.device("cpu")
    before = resident_bytes("VmRSS")
    started, cpu_started = time.perf_counter(), time.process_time()
    parts = load_components(source, device, choose_dtype(Variant(precision), device))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    peak_bytes = resident_bytes("VmHWM") - before
    check(path, parts)
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak_bytes}


def resident_bytes(which: str) -> int:
    """The process' resident memory now (VmRSS) or at its most (VmHWM). Source: proc_pid_status(5)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{which}:"))


def check(path: Path, parts: "Components") -> None:
    """The correctness gate. Raises: SystemExit."""
    from safetensors import safe_open

    from engine_worker.formats.checkpoint_layout import Network

    names = {
        "model.diffusion_model.out.2.weight": (Network.UNET, "conv_out.weight"),
        "first_stage_model.decoder.conv_in.weight": (Network.VAE, "decoder.conv_in.weight"),
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": (
            Network.TEXT_ENCODER,
            "final_layer_norm.weight",
        ),
    }
    held = [parameter for network in parts.networks.values() for parameter in network.parameters()]
    if any(parameter.is_meta for parameter in held):
        raise SystemExit("gate failed: a tensor was left without memory")
    with safe_open(path, "pt") as file:
        for key, (network, name) in names.items():
            stored = file.get_tensor(key)
            found = next(
                parameter
                for full, parameter in parts.networks[network].named_parameters()
                if full.removeprefix("text_model.") == name
            )
            if not (found.float() == stored.float()).all():
                raise SystemExit(f"gate failed: {key} is not what the file says")


def write_checkpoint(path: Path) -> None:
    """Write the file in half precision, without ever holding it in memory.

    Raises: SystemExit, if the disk has no room.
    """
    import torch

    shapes = stored_shapes()
    size_bytes = 2 * sum(map(prod, shapes.values()))
    if shutil.disk_usage(path.parent).free < size_bytes + SPARE_BYTES:
        raise SystemExit(f"the disk has no room for {size_bytes:,} bytes and some to spare")
    header: dict[str, object] = {}
    offset = 0
    for key, shape in shapes.items():
        end = offset + 2 * prod(shape)
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    block = torch.randn(BLOCK_NUMBERS, generator=torch.Generator().manual_seed(1)).half().numpy().tobytes()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        while offset > 0:
            offset -= file.write(block[:offset])


def stored_shapes() -> Mapping[str, tuple[int, ...]]:
    """Every tensor of the file, and its shape there."""
    from engine_worker.engine.loading.networks import build_empty
    from engine_worker.formats.ldm_keys import Form
    from engine_worker.formats.ldm_layout import single_file_layout
    from engine_worker.formats.released import SD

    shapes: dict[str, tuple[int, ...]] = {}
    for plan in single_file_layout(SD).networks:
        for name, held in build_empty(plan).named_parameters():
            stored, shape = plan.locate(name)[0], tuple(held.shape)
            is_convolution = stored.form is Form.CONV_1X1 and len(shape) == 2
            shapes[stored.key] = (*shape, 1, 1) if is_convolution else shape
    return shapes


if __name__ == "__main__":
    main()
