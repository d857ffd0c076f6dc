"""How long does a full-size engine take from its start until it is ready? `python -m bench.standby`

A real server as `spoon serve` runs it, anew in each round: once with a standby worker that has done its
imports, once without one. Beside it, each in a process of its own: reading the whole file into fresh memory
in one thread (`read`), and what no engine in single precision can do without: reading it and
writing its float16 numbers as float32 into fresh memory, in as many threads as the engine has, where torch is
already imported (`floor`), and the same with the packing that every step on the CPU depends on
(`packed_floor`). The file is in the system's cache. In seconds of the clock and of the processor, since
machines have neighbors. Gate: the engine is ready, and it was the standby that took it.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.product.checkpoint import Checkpoint, cache_folder, ensure_checkpoint
from bench.product.counters import usage_below
from bench.product.ours import FOLDER_NAME, Ours, OurServer
from bench.product.servers import end
from bench.report import Goal, Spread, print_report

ROUNDS: Final = 5
WAIT_S: Final = 300.0
SETTLED_S: Final = 2.0
"""Processes that use nothing of the processor for so long have nothing left to do."""
GOALS: Final = {"ready_by_read": Goal(1.3), "ready_by_floor": Goal(1.3)}
READ: Final = """
import resource, sys, time
begin_s = time.perf_counter()
held = open(sys.argv[1], "rb").read()
used = resource.getrusage(resource.RUSAGE_SELF)
print(time.perf_counter() - begin_s, used.ru_utime + used.ru_stime)
"""
FLOOR: Final = """
import os, resource, sys, time
from concurrent.futures import ThreadPoolExecutor
import torch
threads, piece = torch.get_num_threads(), 8 << 20
torch.set_num_threads(1)  # those below share the work, and none waits for another
before = resource.getrusage(resource.RUSAGE_SELF)
begin_s = time.perf_counter()
file = os.open(sys.argv[1], os.O_RDONLY)
numbers = os.fstat(file).st_size // 2
held = torch.empty(numbers)
def write(number):
    read = torch.empty(piece, dtype=torch.uint8)
    buffer = read.numpy().data
    for begin in range(number * piece, 2 * numbers, threads * piece):
        count = os.preadv(file, [buffer], begin) // 2
        held[begin // 2 : begin // 2 + count] = read.view(torch.float16)[:count]
with ThreadPoolExecutor(threads) as pool:
    list(pool.map(write, range(threads)))
took_s = time.perf_counter() - begin_s
used = resource.getrusage(resource.RUSAGE_SELF)
print(took_s, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime)
"""
PACKED_FLOOR: Final = """
import json, os, resource, sys, time
from concurrent.futures import ThreadPoolExecutor
import torch
from kernel.process.memory import keep_freed_memory
keep_freed_memory()
threads = torch.get_num_threads()
file = os.open(sys.argv[1], os.O_RDONLY)
first = 8 + int.from_bytes(os.pread(file, 8, 0), "little")
header = json.loads(os.pread(file, first - 8, 8))
header.pop("__metadata__", None)
before = resource.getrusage(resource.RUSAGE_SELF)
begin_s = time.perf_counter()
def pack(name):
    begin, end = header[name]["data_offsets"]
    read = torch.empty(end - begin, dtype=torch.uint8)
    os.preadv(file, [read.numpy().data], first + begin)
    held = read.view(torch.float16).view(header[name]["shape"]).float()
    if not name.startswith("model.diffusion_model.") or held.dim() not in (2, 4):
        return held
    if held[0, 0].numel() == 1:
        return torch.ops.mkldnn._reorder_linear_weight(held.flatten(1), None)
    stride = [2, 2] if name.endswith(".op.weight") else [1, 1]
    return torch.ops.mkldnn._reorder_convolution_weight(held, [1, 1], stride, [1, 1], 1)
names = sorted(header, key=lambda name: header[name]["data_offsets"])
with ThreadPoolExecutor(threads, initializer=torch.get_num_threads) as pool:
    held = list(pool.map(pack, names))
took_s = time.perf_counter() - begin_s
used = resource.getrusage(resource.RUSAGE_SELF)
print(took_s, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime)
"""


def main() -> None:
    """Measure and print."""
    checkpoint = ensure_checkpoint(cache_folder(os.environ))
    figures: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="spoon-") as name:
        ours, folder = Ours(checkpoint), Path(name)
        ours.prepare(folder)
        for number in range(ROUNDS):
            for name, value in one_round(ours, folder, checkpoint, number).items():
                figures.setdefault(name, []).append(value)
            print(f"round {number + 1} of {ROUNDS} done", file=sys.stderr)
    print_report("standby", {name: Spread.of(values) for name, values in figures.items()}, GOALS)


def one_round(ours: Ours, folder: Path, checkpoint: Checkpoint, number: int) -> dict[str, float]:
    """Read, with and without a standby; in the other order every second time."""
    read_s, read_cpu_s = alone(READ, checkpoint.file)
    floor_s, floor_cpu_s = alone(FLOOR, checkpoint.file)
    packed_floor_s, packed_floor_cpu_s = alone(PACKED_FLOOR, checkpoint.file)
    kept = {}
    for standbys in (1, 0) if number % 2 == 0 else (0, 1):
        kept[standbys] = ready(ours, folder, standbys)
    floor_s = (floor_s + alone(FLOOR, checkpoint.file)[0]) / 2
    packed_floor_s = (packed_floor_s + alone(PACKED_FLOOR, checkpoint.file)[0]) / 2
    read_s = (read_s + alone(READ, checkpoint.file)[0]) / 2
    return {
        "read_s": read_s,
        "read_cpu_s": read_cpu_s,
        "floor_s": floor_s,
        "floor_cpu_s": floor_cpu_s,
        "packed_floor_s": packed_floor_s,
        "packed_floor_cpu_s": packed_floor_cpu_s,
        "ready_s": kept[1][0],
        "ready_cpu_s": kept[1][1],
        "ready_without_s": kept[0][0],
        "ready_without_cpu_s": kept[0][1],
        "ready_by_read": kept[1][0] / read_s,
        "ready_by_floor": kept[1][0] / floor_s,
        "ready_by_packed_floor": kept[1][0] / packed_floor_s,
        "floor_by_read": floor_s / read_s,
        "packed_floor_by_read": packed_floor_s / read_s,
    }


def alone(program: str, file: Path) -> tuple[float, float]:
    """Seconds of the clock, and of the processor, of a process that has nothing else to do."""
    command = [sys.executable, "-c", program, str(file)]
    wall_s, cpu_s = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(wall_s), float(cpu_s)


def ready(ours: Ours, folder: Path, standbys: int) -> tuple[float, float]:
    """From asking for the engine to its being ready. Raises: SystemExit, if it does not become so."""
    config = folder / FOLDER_NAME / "spoon.toml"
    text = config.read_text(encoding="utf-8").partition("[engines]")[0]
    config.write_text(f"{text}[engines]\nstandby = {standbys}\n", encoding="utf-8")
    log = folder / FOLDER_NAME / "log"
    taken = log.read_text().count("standby_taken")
    server = ours.start(folder)
    try:
        took = start_engine(server)
    finally:
        end(server)
    if log.read_text().count("standby_taken") - taken != standbys:
        raise SystemExit("gate failed: it was not the standby that took the engine")
    return took


def start_engine(server: OurServer) -> tuple[float, float]:
    """Raises: SystemExit, if it does not become ready."""
    (found,) = server.http.get("/v1/engines").json()["items"]
    engine = f"/v1/engines/{found['engine_id']}"
    settle(server.process.pid)
    before, begin_s = usage_below(server.process.pid), time.perf_counter()
    server.http.patch(f"{engine}/start").raise_for_status()
    while (status := server.http.get(engine).json()["status"]) != "ready":
        if status != "starting" or time.perf_counter() - begin_s > WAIT_S:
            raise SystemExit(f"gate failed: the engine is {status}")
        time.sleep(0.02)
    took_s = time.perf_counter() - begin_s
    return took_s, (usage_below(server.process.pid) - before).cpu_s


def settle(pid: int) -> None:
    """Wait until the server has nothing to do. Raises: SystemExit, if that takes too long."""
    end_s, used_s = time.monotonic() + WAIT_S, -1.0
    while (now_s := usage_below(pid).cpu_s) - used_s > SETTLED_S / 10:
        if time.monotonic() > end_s:
            raise SystemExit("gate failed: the server does not come to rest")
        used_s = now_s
        time.sleep(SETTLED_S)


if __name__ == "__main__":
    main()
