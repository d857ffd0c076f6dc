"""How long does a scan of a thousand model files take, and who waits for it? `python -m bench.scan`

The files have the headers of the models that ship, each with other metadata, and the sizes of real models;
they are sparse, so that they need no disk. A server scans them, while a client submits some hundred jobs a
second; before, it does the same without a scan. Then a second scan finds nothing new. Gate: every file has
become a ready model, and every submit was accepted. Memory is the peak of the process that scans (VmHWM).
Source: proc(5).
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx

from bench.report import Goal, Spread, percentile, print_report
from bench.server import Running, server
from bench.stage import MODEL
from engine_worker.embedded.shipped import shipped
from engine_worker.formats.safetensors_header import read_header

ROUNDS: Final = 3
FILES: Final = 1_000
SUBMITS: Final = 500
PAUSE_S: Final = 0.005
"""Between two submits."""
KINDS: Final = {
    "scenes-sd": (100, 2 << 30),
    "scenes-sdxl": (100, 6 << 30),
    "stripes-sd": (350, 144 << 20),
    "stripes-sdxl": (350, 228 << 20),
    "dusk-sd": (50, 16 << 10),
    "dusk-sdxl": (50, 32 << 10),
}
"""What there is of each model that ships, and the size of such a file in life."""
GOALS: Final = {"scan_s": Goal(20.0), "scanner_peak_mib": Goal(150.0), "submit_p99_ratio": Goal(2.0)}
Figures = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    figures: Figures = {}
    with TemporaryDirectory(prefix="spoon-models-") as name:
        fill(Path(name))
        for number in range(ROUNDS):
            measure(Path(name), figures)
            print(f"round {number + 1} of {ROUNDS} done", file=sys.stderr)
    print_report("scan", {name: Spread.of(values) for name, values in figures.items()}, GOALS)


def fill(folder: Path) -> None:
    """Write the files, in folders of fifty."""
    number = 0
    for name, (count, size_bytes) in KINDS.items():
        source = shipped(name).path
        header = read_header(source)
        plain = source.read_bytes()
        length = int.from_bytes(plain[:8], "little")
        tensors = json.loads(plain[8 : 8 + length])
        weights = plain[8 + length :]
        for _ in range(count):
            number += 1
            tensors["__metadata__"] = {**header.metadata, "number": str(number)}
            text = json.dumps(tensors).encode()
            path = folder / f"{number // 50}" / f"{name} {number}.safetensors"
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as file:
                file.write(len(text).to_bytes(8, "little") + text)
                start = file.tell()
                file.write(weights[:4096])
                file.truncate(start + max(len(weights), size_bytes))
    assert number == FILES, number


def measure(folder: Path, figures: Figures) -> None:
    """One server, from its first scan on."""
    lines = f"folders = [{json.dumps(str(folder))}]\nscan = false"
    with (
        server(models=lines) as running,
        httpx.Client(base_url=f"http://{running.host}:{running.port}") as http,
    ):
        body = {"checkpoint": MODEL, "name": "bench", "autostart": False, "start": False}
        engine_id = http.post("/v1/engines", json=body).raise_for_status().json()["engine_id"]
        job = json.dumps({"engine_id": engine_id, "prompt": "a large red circle", "seed": 1}).encode()
        quiet = [submit(http, job) for _ in range(SUBMITS)]
        began_s = time.perf_counter()
        http.post("/v1/models/scan").raise_for_status()
        with peak_of_scanner(running) as peak:
            busy = []
            while http.get("/v1/models/scan").json()["running"]:
                busy += [submit(http, job) for _ in range(20)]
        took_s = time.perf_counter() - began_s
        check(http)
        again_s = time.perf_counter()
        http.post("/v1/models/scan", params={"wait": 60}, timeout=90).raise_for_status()
        again_s = time.perf_counter() - again_s
    quiet_ms, busy_ms = (1000 * percentile(seconds, 0.99) for seconds in (quiet, busy))
    for name, value in {
        "scan_s": took_s,
        "second_scan_s": again_s,
        "scanner_peak_mib": peak[0] / 1024,
        "submit_p99_ms": quiet_ms,
        "submit_p99_during_scan_ms": busy_ms,
        "submit_p99_ratio": busy_ms / quiet_ms,
    }.items():
        figures.setdefault(name, []).append(value)


def submit(http: httpx.Client, job: bytes) -> float:
    """Submit a job. Returns: the seconds until its answer."""
    time.sleep(PAUSE_S)
    began_s = time.perf_counter()
    answer = http.post("/v1/jobs", content=job, headers={"Content-Type": "application/json"})
    if answer.status_code != 202:
        raise SystemExit(f"gate failed: {answer.status_code} {answer.text}")
    return time.perf_counter() - began_s


def check(http: httpx.Client) -> None:
    """The correctness gate. Raises: SystemExit."""
    scan = http.get("/v1/models/scan").json()
    if (scan["added"], scan["unusable"], scan["error"]) != (FILES, 0, None):
        raise SystemExit(f"gate failed: {FILES} files, and the scan says {scan}")


@contextmanager
def peak_of_scanner(running: Running) -> Iterator[list[int]]:
    """The largest peak of a child of the Manager that is a worker, in KiB, looked at every 50 ms."""
    found, is_over = [0], threading.Event()

    def look() -> None:
        while not is_over.wait(0.05):
            for child in _children(running.manager.pid):
                found[0] = max(found[0], _peak_kib(child))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def _peak_kib(pid: int) -> int:
    """That of a worker; 0 for other processes, and for one that has ended."""
    try:
        if b"engine_worker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return 0
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(one.split()[1]) for one in lines if one.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    main()
